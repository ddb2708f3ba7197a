# SPDX-License-Identifier: LGPL-3.0-or-later
"""When pqrun itself is killed, its jobs die too; and who sees to that can't be killed for good."""

import os
import signal
import sys

import pytest
from world import World, look, until

PQRUN = f"{sys.executable} -m pqrun run"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGALRM, signal.SIGUSR2])
def test_whatever_ends_pqrun_ends_its_jobs(world: World, number: int) -> None:
    run = world.start(f"exec {world.script('stay')}\n" * 3, "-j3")
    world.told(3)
    run.signal(number)

    until(world.none_alive, within=5.0)


def test_a_kill_of_the_whole_group_ends_its_jobs(world: World) -> None:
    run = world.start(f"exec {world.script('stay')}\n" * 3, "-j3")
    world.told(3)
    run.signal(signal.SIGKILL, group=True)

    until(world.none_alive, within=5.0)


def test_a_grace_of_an_hour_is_three_seconds_then(world: World) -> None:
    job = f"exec {world.script('asked', 'job')} 2> /dev/null\n"  # its stderr has no reader any more

    run = world.start(job, "--grace", "1h")
    world.told()
    run.signal(signal.SIGKILL)

    assert world.told()[0].startswith("asked")
    until(world.none_alive, within=5.0)


@pytest.mark.parametrize("seen", range(1, 6))
def test_a_kill_in_the_midst_of_starting_jobs_ends_them_all(world: World, seen: int) -> None:
    run = world.start(f"echo $$ > {world.fifo}; exec {world.script('stay')}\n" * 40, "-j40")
    world.told(seen * 13)
    run.signal(signal.SIGKILL)

    until(world.none_alive, within=5.0)


def test_a_warden_that_was_killed_is_replaced_and_knows_what_runs(world: World) -> None:
    # Without an environment the job can be found only by what the new warden has been told.
    run = world.start(f"exec env -i {world.script('stay')}\n" * 2, "-j2")
    world.told(2)
    first = run.warden()
    os.kill(first, signal.SIGKILL)
    second = until(lambda: run.warden() != first and run.warden())
    os.kill(second, signal.SIGKILL)
    third = until(lambda: run.warden() != second and run.warden())
    run.signal(signal.SIGKILL)

    until(world.none_alive, within=5.0)
    until(lambda: look(third) is None)


def test_the_run_goes_on_without_a_warden_if_there_can_be_none(world: World) -> None:
    run = world.start(f"{world.tell('job')}; {world.wait_at_the_gate}\n", "--json")
    world.told()
    killed: set[int] = set()

    def next_one() -> int:
        return next((p.pid for p in world.alive() if p.parent == run.pid and "vigil" in p.command), 0)

    first = run.warden()
    os.kill(first, signal.SIGKILL)
    while len(killed) < 3:
        warden = until(next_one)
        killed.add(warden)
        os.kill(warden, signal.SIGKILL)
        until(lambda warden=warden: look(warden) is None)
    world.let_through()
    facts = run.end()

    assert (facts.code, facts.states) == (0, ["ok"])
    assert "jobs would outlive a kill -9 of this pqrun: it dies again and again" in facts.err


def test_a_warden_does_not_outlive_its_run(world: World) -> None:
    run = world.start(f"{world.tell('job')}; {world.wait_at_the_gate}\n")
    world.told()
    warden = run.warden()
    world.let_through()
    run.end()

    assert look(warden) is None


@pytest.mark.parametrize("killed", ["outer", "inner"])
def test_a_pqrun_within_a_job_is_no_way_to_escape(world: World, killed: str) -> None:
    (world.directory / "inner").write_text(
        f"exec {world.script('deaf')}\nenv -i setsid -w {world.script('deaf')}\n"
    )
    inner = f"cd {world.directory} && echo inner $$ > {world.fifo} && exec {PQRUN} -j2 --no-journal inner"

    run = world.start(f"{inner}\n", "--grace", "200ms")
    inner_pid = world.told_pids()["inner"]
    world.told(2)
    os.kill(run.pid if killed == "outer" else inner_pid, signal.SIGKILL)

    until(world.none_alive, within=5.0)


def test_a_job_that_is_a_pqrun_is_stopped_with_all_its_jobs(world: World) -> None:
    (world.directory / "inner").write_text(f"exec {world.script('deaf')}\nsetsid -w {world.script('deaf')}\n")
    inner = f"cd {world.directory} && exec {PQRUN} -j2 --no-journal inner"

    run = world.start(f"{inner}\n", "--grace", "300ms", "--json")
    world.told(2)
    run.signal(signal.SIGTERM)
    facts = run.end()

    assert world.alive() == []
    assert (facts.code, facts.states) == (-signal.SIGTERM, ["interrupted"])
