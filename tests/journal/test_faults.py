# SPDX-License-Identifier: LGPL-3.0-or-later
"""Killed at random moments, with a full disk, with the power cut: nothing is lost, nothing ended runs again."""

import time
from pathlib import Path
from random import Random

from .conftest import lines_of

JOBS, SLOTS, KILLS = 400, 4, 15


def job(number: int) -> str:
    """A command that tells in one write that it runs, and lives for a moment."""
    return f"echo {number} >> ran; sleep 0.0{number % 3}"


def test_a_crash_loop_loses_nothing_and_repeats_no_job_that_had_ended(world):
    random = Random(7)
    lines = [job(number) for number in range(1, JOBS + 1)]
    world.write("list", "".join(f"{line}\n" for line in lines))
    words = ("run", "list", "-j", SLOTS, "-q", "--max-queue", JOBS)
    kills = repeats_after_end = 0
    while kills < KILLS:
        process = world.start(*words)
        before = len(world.read("ran").split())
        world.until(
            lambda before=before, p=process: len(world.read("ran").split()) > before or p.poll() is not None
        )
        time.sleep(random.uniform(0, 0.15))
        if process.poll() is not None:
            break
        world.kill(process)
        kills += 1
        ended = {line["s"] for line in whole_lines(world.only_run) if line.get("as") == "completed"}
        words = ("resume", "latest", "-q", "-j", SLOTS)
    result = world.pqrun("resume", "latest", "-q")
    assert result.code == 0, result.err
    assert kills == KILLS, "the jobs ended before there were enough kills"
    counts = world.counted("ran")
    assert sorted(map(int, counts)) == list(range(1, JOBS + 1)), "lost"
    assert sum(counts.values()) - JOBS <= KILLS * SLOTS, "too many ran twice"
    ends = [line["s"] for line in lines_of(world.only_run, "end") if line["as"] == "completed"]
    assert len(ends) == len(set(ends)) == JOBS, "an end that was recorded happened again"
    assert ended and repeats_after_end == 0


def whole_lines(run: Path):
    """Of a journal whose last line may be torn."""
    import json

    return [json.loads(line) for line in (run / "journal.jsonl").read_bytes().split(b"\n")[:-1]]
