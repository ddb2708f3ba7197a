# SPDX-License-Identifier: LGPL-3.0-or-later
"""`nice`: a job's processes have the niceness that the job asks for, from the first instruction on."""

import os
from pathlib import Path

import pytest
from world import World, until

OURS = os.getpriority(os.PRIO_PROCESS, 0)
WITHOUT_PRIVILEGE = (
    ("setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice") if os.getuid() == 0 else ()
)
AUTOGROUP = Path("/proc/self/autogroup")
AUTOGROUPS = AUTOGROUP.exists() and AUTOGROUP.read_text().startswith("/autogroup")
SHOW = "nice; sh -c nice"


@pytest.mark.parametrize("output", ["group", "raw"])
def test_only_the_job_that_asks_for_a_niceness_has_it(world: World, output: str) -> None:
    lines = f"nice # pqrun: nice=7\nnice\n{SHOW} # pqrun: nice=9\nnice\n"

    facts = world.run(lines, "-j1", "--output", output)

    assert facts.out.split() == ["7", f"{OURS}", "9", "9", f"{OURS}"]


@pytest.mark.slow
@pytest.mark.skipif(not AUTOGROUPS, reason="this kernel has no autogroups")
def test_the_session_of_the_job_has_the_niceness_too(world: World) -> None:
    wait = "until grep -q 'nice 9$' /proc/self/autogroup; do sleep 0.02; done"

    facts = world.run(f"{wait}; echo seen # pqrun: nice=9 timeout=20s\ncat /proc/self/autogroup\n", "-j1")

    assert facts.out.startswith("seen\n")
    assert facts.out.endswith("nice 0\n")


@pytest.mark.slow
def test_a_job_overrides_the_command_line_and_the_command_line_the_file(world: World) -> None:
    jobs = "defaults: {nice: 3}\njobs:\n  - {run: nice, nice: 5}\n  - nice\n"

    assert world.run(jobs, "-k", kind="yaml").out.split() == ["5", "3"]
    assert world.run(jobs, "-k", "--nice", "9", kind="yaml").out.split() == ["5", "9"]


def test_a_niceness_that_needs_a_privilege_is_refused_with_the_cure(world: World) -> None:
    facts = world.run("nice # pqrun: nice=-3\nnice\n", "-j1", wrap=WITHOUT_PRIVILEGE)

    assert (facts.code, facts.out.split()) == (1, [f"{OURS}"])
    assert "exit 126" in facts.err
    assert "cannot be started with niceness -3: permission denied" in facts.err
    assert f"set `nice` to {OURS} or more, or run pqrun with the capability CAP_SYS_NICE" in facts.err


@pytest.mark.slow
def test_a_program_that_does_not_exist_is_told_as_without_a_niceness(world: World) -> None:
    facts = world.run("./no-such-program # pqrun: nice=5\n")

    assert facts.code == 1
    assert "exit 127" in facts.err


def test_a_dry_run_shows_the_niceness(world: World) -> None:
    facts = world.run("make # pqrun: nice=5 timeout=1m\nmake test\n", "--dry-run")

    assert facts.out == "make # pqrun: nice=5\nmake test\n"


@pytest.mark.slow
def test_a_value_out_of_range_is_refused(world: World) -> None:
    assert (
        "`nice`: out of range: `20` (write a number from -20 to 19)" in world.run("a # pqrun: nice=20\n").err
    )
    assert world.run("a\n", "--nice", "-21").code == 2
    assert "remove the quotes" in world.run("jobs: [{run: a, nice: '5'}]\n", kind="yaml").err


@pytest.mark.slow
def test_it_can_be_given_with_resume_and_to_a_live_run(world: World) -> None:
    first = world.run("[ -e again ] || exit 1; nice # pqrun: nice=2\n", "--run-dir", "run")
    (world.directory / "again").touch()

    assert (first.code, world.command("resume", "./run", "--failed", "--nice", "8").out) == (1, "8\n")

    queue = world.command("serve", "--detach")
    assert queue.code == 0, queue.err
    for words in (
        ["pause"],
        ["add", "--id", "x", "--nice", "4", "nice > niceness"],
        ["set", "x", "--nice", "6"],
    ):
        assert world.command(*words).code == 0
    for words in (["unpause"], ["wait", "x"], ["stop"]):
        assert world.command(*words).code == 0
    assert (world.directory / "niceness").read_text() == "6\n"
    until(world.none_alive)
