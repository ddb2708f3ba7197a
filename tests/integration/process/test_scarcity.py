# SPDX-License-Identifier: LGPL-3.0-or-later
"""When descriptors, processes or room on the disk run out, nothing is lost and nothing is silent."""

import subprocess
from pathlib import Path

import pytest
from world import AS_SOMEBODY, World

pytestmark = pytest.mark.slow

FEW_DESCRIPTORS = ("sh", "-c", 'ulimit -n 64; exec "$@"', "sh")


@pytest.mark.parametrize("job", ["sleep 0.02", "head -c 200000 /dev/zero"], ids=["quiet", "loud"])
def test_with_few_descriptors_fewer_run_at_a_time(world: World, job: str) -> None:
    facts = world.run(f"{job}\n" * 200, "-j100", "--json", "-q", wrap=FEW_DESCRIPTORS)

    assert (facts.code, facts.states) == (0, ["ok"] * 200)
    assert {job["attempts"] for job in facts.document["jobs"]} == {1}
    assert facts.err.count("running at most") == 1


def test_with_few_processes_fewer_run_at_a_time(somebodys_world: World) -> None:
    world = somebodys_world
    limited = ("prlimit", "--nproc=30", *AS_SOMEBODY)

    facts = world.run("exec sleep 0.05\n" * 100, "-j50", "--json", "-q", wrap=limited)

    assert (facts.code, facts.states) == (0, ["ok"] * 100)
    assert {job["attempts"] for job in facts.document["jobs"]} == {1}
    assert facts.err.count("running at most") == 1


@pytest.mark.parametrize("room", range(9))
def test_with_hardly_any_processes_one_runs_at_a_time_or_the_run_ends_and_says_why(
    somebodys_world: World, room: int
) -> None:
    """pqrun itself is one; with its two watchdogs, a thread that tells, a slot and a job there are six."""
    world = somebodys_world
    limited = ("prlimit", f"--nproc={1 + room}", *AS_SOMEBODY)

    facts = world.run("exec sleep 0.01\n" * 5, "-j3", "--run-dir", "here", wrap=limited)

    assert "Traceback" not in facts.err
    if room > 5:
        assert facts.code == 0, facts.err
    elif room in (4, 5) and facts.code == 0:
        pass  # enough for one at a time, if a watchdog or a thread was refused first
    else:
        assert facts.code == 4
        assert "Resource temporarily unavailable" in facts.err
        assert "ulimit -u" in facts.err
        begun = (world.directory / "here" / "journal.jsonl").exists()
        again = ("resume", "here") if begun else ("run", "--run-dir", "here", "jobs-0.lines")
        done = world.command(*again, wrap=AS_SOMEBODY)
        assert done.code == 0, done.err


@pytest.mark.parametrize("limit", [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 20, 28])
def test_with_too_few_descriptors_for_any_job_the_run_ends_and_says_why(world: World, limit: int) -> None:
    few = ("sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh")

    facts = world.run("true\n" * 5, "-j3", wrap=few)

    assert facts.code == 4
    assert "Too many open files" in facts.err
    assert "ulimit -n" in facts.err
    assert "Traceback" not in facts.err


@pytest.fixture
def small_disk(world: World):
    """A file system with room for four megabytes."""
    disk = world.directory / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4M", "none", disk], capture_output=True)
    if mount.returncode != 0:
        pytest.skip("nothing can be mounted here")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_job_whose_log_fills_the_disk_fails_and_says_so(world: World, small_disk: Path) -> None:
    (world.directory / "elsewhere").mkdir()
    jobs = "echo before\nhead -c 100000000 /dev/zero\necho after\n"

    facts = world.run(jobs, "-j1", "--json", "--no-journal", env={"TMPDIR": str(small_disk)})

    assert world.alive() == []
    assert facts.states == ["ok", "failed", "ok"]
    assert facts.code == 1
    assert "No space left on device" in facts.document["jobs"][1]["message"]


def test_a_log_that_can_not_be_created_ends_the_run_and_leaves_nobody(world: World) -> None:
    loud = f"{world.script('stay')} & {world.wait_at_the_gate}; head -c 200000 /dev/zero; {world.forever}\n"
    quiet = f"exec {world.script('stay')}\n"

    run = world.start(loud + quiet, "-j2", "--run-dir", "here")
    world.told(2)
    logs = world.directory / "here" / "logs"
    logs.rename(world.directory / "here" / "moved")
    logs.write_text("in the way")
    world.let_through()
    facts = run.end()

    assert world.alive() == []
    assert facts.code == 4
    assert f"cannot create {logs}" in facts.err
    assert "Traceback" not in facts.err
