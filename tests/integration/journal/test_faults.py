# SPDX-License-Identifier: LGPL-3.0-or-later
"""Killed at random moments, with a full disk, with the power cut: nothing is lost; no end happens twice."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from .conftest import lines_of

JOBS, SLOTS, KILLS = 400, 4, 15


def job(number: int | str) -> str:
    """A command that tells in one write that it runs, and lives for a moment."""
    return f"echo {number} >> ran; sleep 0.0{number % 3 if isinstance(number, int) else 1}"


PAIRS = ("each", "-n2", job("{}"), ":::", *range(1, 2 * JOBS + 1))
"""A job for each two arguments."""


@pytest.mark.slow
@pytest.mark.parametrize("words", [("run", "jobs.json"), PAIRS], ids=["run", "each -n"])
def test_a_crash_loop_loses_nothing_and_repeats_no_job_that_had_ended(world, words):
    random = Random(7)
    world.write("jobs.json", json.dumps({"jobs": [job(number) for number in range(1, JOBS + 1)]}))
    expected = range(1, JOBS + 1)
    if words is PAIRS:
        expected = [f"{number} {number + 1}" for number in range(1, 2 * JOBS, 2)]
    for _ in range(KILLS):
        process = world.start(words[0], "-j", SLOTS, "-q", *words[1:])
        size = len(world.read("ran"))
        world.until(lambda size=size, p=process: len(world.read("ran")) > size or p.poll() is not None)
        time.sleep(random.uniform(0, 0.15))
        assert process.poll() is None, "it ended before there were enough kills"
        world.kill(process)
        words = ("resume", "latest")
    result = world.pqrun("resume", "latest", "-q")
    assert result.code == 0, result.err
    counts = world.counted("ran")
    assert sorted(counts) == sorted(map(str, expected)), "lost"
    assert sum(counts.values()) - JOBS <= KILLS * SLOTS, "too many ran twice"
    ended: set[int] = set()
    for line in lines_of(world.only_run, "start", "end"):
        assert line["s"] not in ended, "what was recorded as ended ran again"
        if line.get("as") == "completed":
            ended.add(line["s"])
    assert len(ended) == JOBS


def mounted(where: Path, *words: str):
    """Mounts that there, or skips the test."""
    where.mkdir(exist_ok=True)
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("only root can mount, and only here")
    done = subprocess.run(["mount", *words, where], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounts are not allowed here: {done.stderr.strip()}")
    return where


@pytest.fixture
def unmount():
    """Takes away at the end what a test has mounted."""
    places: list[Path] = []
    yield places.append
    for place in reversed(places):
        subprocess.run(["umount", "-l", place], check=False, capture_output=True)


def fill(place: Path, *, but: int) -> Path:
    """Leaves so many bytes on that disk."""
    filler = place / "filler"
    room = shutil.disk_usage(place).free
    filler.write_bytes(b"x" * (room - but))
    return filler


@pytest.mark.slow
def test_a_full_disk_under_the_journal_stops_the_run_and_it_goes_on_when_there_is_room(world, unmount):
    disk = mounted(world.here / "disk", "-t", "tmpfs", "-o", "size=256k", "none")
    unmount(disk)
    filler = fill(disk, but=64 * 1024)
    lines = [f"echo {number} >> {world.here}/ran" for number in range(300)]
    result = world.pqrun("run", "--run-dir", "disk/rd", "-j2", "--max-queue", "5", lines=lines)
    assert result.code == 4
    assert "No space left on device" in result.err and "disk/rd/journal.jsonl" in result.err
    first = sum(world.counted("ran").values())
    assert 0 < first < 300
    shown = world.look("show", "disk/rd", "--json")
    assert shown.code == 0 and first <= len(shown.document["jobs"]) < 300
    filler.unlink()
    assert world.pqrun("resume", "disk/rd").code == 3, "the list was not read completely"
    counts = world.counted("ran")
    assert set(counts) >= {job["run"].split()[1] for job in shown.document["jobs"]}
    assert sum(counts.values()) - len(counts) <= 2


@pytest.mark.slow
def test_a_full_disk_under_a_log_is_told_of_and_the_run_goes_on_when_there_is_room(world, unmount):
    disk = mounted(world.here / "disk", "-t", "tmpfs", "-o", "size=256k", "none")
    unmount(disk)
    filler = fill(disk, but=100 * 1024)
    jobs = '{"jobs": {"a": "head -c 60000 /dev/zero", "b": "head -c 60000 /dev/zero", "c": "echo c >> ran"}}'
    world.write("jobs.json", jobs)
    result = world.pqrun("run", "jobs.json", "--run-dir", "disk/rd", "-j1")
    assert result.code == 4
    assert "No space left on device" in result.err and "disk/rd/logs" in result.err
    filler.unlink()
    assert world.pqrun("resume", "disk/rd", "--failed").code == 0
    assert world.look("logs", "disk/rd", "b").stdout == b"\0" * 60000


@pytest.mark.slow
def test_after_a_power_cut_the_last_second_is_lost_at_most(world, unmount):
    """A file system in an image; a copy of the image is what the disk has at that moment."""
    image, copy = world.here / "image", world.here / "copy"
    with image.open("wb") as file:
        file.truncate(32 * 1024 * 1024)
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("there is no mkfs.ext4")
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    disk = mounted(world.here / "disk", "-o", "loop", str(image))
    unmount(disk)
    lines = [f"echo {number} >> {world.here}/ran; sleep 0.02" for number in range(200)]
    process = world.start("run", "--run-dir", "disk/rd", "-j2", "-q", "--max-queue", "1000", lines=lines)
    journal = disk / "rd" / "journal.jsonl"
    world.until(lambda: journal.exists() and journal.read_bytes().count(b'"e":"end"') > 120)
    ended = [line for line in whole_lines(journal) if line.get("e") == "end"]
    cut = time.time()
    shutil.copyfile(image, copy)
    world.kill(process)
    after = mounted(world.here / "after", "-o", "loop", str(copy))
    unmount(after)
    kept = {line["s"] for line in whole_lines(after / "rd" / "journal.jsonl") if line.get("e") == "end"}
    lost = [line for line in ended if line["s"] not in kept]
    assert all(line["t"] > cut - 1.5 for line in lost), f"{len(lost)} ends were lost, the oldest too old"
    result = world.pqrun("resume", "after/rd", "-q")
    assert result.code == 0, result.err
    assert sorted(map(int, world.counted("ran"))) == list(range(200))


def whole_lines(journal: Path) -> list[dict]:
    """Of a journal whose last line may be torn, or being written."""
    return [json.loads(line) for line in journal.read_bytes().split(b"\n")[:-1] if line.strip(b"\0")]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["directory", "moved", "journal"])
@pytest.mark.parametrize("busy", [True, False], ids=["busy", "idle"])
def test_a_run_directory_that_disappears_ends_the_run_at_once_and_is_said(world, what, busy):
    lines = [*(["echo >> ran; sleep 0.01"] * 2000 if busy else ()), "echo >> ran; exec sleep 300"]
    with open(world.here / "said", "wb") as said:
        process = world.start("run", "-j2", "-q", "--grace", "60", lines=lines, stderr=said)
    world.until(lambda: world.runs and world.read("ran"))
    run = world.only_run
    if what == "directory":
        while run.exists():
            shutil.rmtree(run, ignore_errors=True)  # the run may just make a file in it
    elif what == "moved":
        run.rename(run.with_name("elsewhere"))
    else:
        (run / "journal.jsonl").unlink()
    assert process.wait(60) == 4
    said = world.read("said")
    assert " ".join((f"{run}/journal.jsonl" if what == "journal" else str(run), "was removed")) in said
    assert "Traceback" not in said


def test_a_run_directory_that_disappears_at_the_very_end_is_told_too(world):
    result = world.pqrun("run", "--run-dir", "rd", lines=["while [ -e rd ]; do rm -r rd 2> /dev/null; done"])
    assert result.code == 4
    assert f"the run directory {world.here}/rd was removed" in result.err
