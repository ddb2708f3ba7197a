# SPDX-License-Identifier: LGPL-3.0-or-later
"""When pqrun itself is killed, its jobs die too; and who sees to that can't be killed for good."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from world import Proc, Run, World, look, processes, until

pytestmark = pytest.mark.slow

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


def kill_all_that_is_called_pqrun(world: World) -> None:
    """What `pkill -9 -f pqrun` does, for the processes of this test alone."""
    for proc in world.alive():
        if "pqrun" in proc.command:
            with suppress(ProcessLookupError):
                os.kill(proc.pid, signal.SIGKILL)


@pytest.mark.parametrize("job", ["deaf", "stay"])
def test_who_kills_all_that_is_called_so_leaves_no_job(world: World, job: str) -> None:
    world.start(f"exec {world.script(job)}\nsetsid -w {world.script(job)}\n", "-j2", "--grace", "200ms")
    world.told(2)
    kill_all_that_is_called_pqrun(world)

    until(world.none_alive, within=5.0)


def test_a_replaced_watchdog_has_a_name_of_its_own_too(world: World) -> None:
    run = world.start(f"exec env -i {world.script('deaf')}\n", "--grace", "200ms")
    run.noted(world.pids_told())
    first = run.watchdogs()
    for watchdog in first:
        os.kill(watchdog, signal.SIGKILL)
    run.new_watchdogs(first)
    kill_all_that_is_called_pqrun(world)

    until(world.none_alive, within=5.0)


@pytest.mark.parametrize("pause", [0.0, 0.001, 0.005])
@pytest.mark.parametrize("order", ["watchdog first", "pqrun first"])
@pytest.mark.parametrize("which", [0, 1])
def test_a_watchdog_and_pqrun_killed_together_leave_nothing(
    world: World, order: str, which: int, pause: float
) -> None:
    # Without an environment the jobs can be found only by what the other watchdog knows.
    run = world.start(f"exec env -i {world.script('deaf')}\n" * 2, "-j2", "--grace", "200ms")
    run.noted(world.pids_told(2))
    victims = [run.watchdogs()[which], run.pid]
    for victim in victims if order == "watchdog first" else reversed(victims):
        os.kill(victim, signal.SIGKILL)
        time.sleep(pause)

    until(world.none_alive, within=5.0)


def test_a_job_is_asked_once_to_end_though_two_watchdogs_see_to_it(world: World) -> None:
    run = world.start(f"exec {world.script('asked', 'job')} 2> /dev/null\n", "--grace", "1s")
    world.told()
    run.signal(signal.SIGKILL)

    assert world.told()[0].startswith("asked")
    until(world.none_alive, within=5.0)
    with pytest.raises(AssertionError, match="0 of 1 announced"):
        world.told(within=0)


def test_watchdogs_that_were_killed_are_replaced_and_know_what_runs(world: World) -> None:
    # Without an environment the job can be found only by what the new watchdogs have been told.
    run = world.start(f"exec env -i {world.script('stay')}\n" * 2, "-j2")
    run.noted(world.pids_told(2))
    for _ in range(2):
        watchdogs = run.watchdogs()
        for watchdog in watchdogs:
            os.kill(watchdog, signal.SIGKILL)
        last = run.new_watchdogs(watchdogs)
    run.signal(signal.SIGKILL)

    until(world.none_alive, within=5.0)
    until(lambda: not any(map(look, last)))


def test_watchdogs_that_were_stopped_are_replaced(world: World) -> None:
    run = world.start(f"exec {world.script('deaf')}\n", "--grace", "200ms")
    world.told()
    watchdogs = run.watchdogs()
    for watchdog in watchdogs:
        os.kill(watchdog, signal.SIGSTOP)
    run.new_watchdogs(watchdogs)
    run.signal(signal.SIGKILL)

    until(world.none_alive, within=5.0)


@pytest.mark.parametrize("which", [0, 1])
def test_one_stopped_watchdog_holds_up_nothing(world: World, which: int) -> None:
    run = world.start(f"exec {world.script('deaf')}\n", "--grace", "200ms", "--run-dir", "run")
    world.told()
    watchdogs = run.watchdogs()
    os.kill(watchdogs[which], signal.SIGSTOP)
    run.signal(signal.SIGKILL)

    until(world.none_alive, within=5.0)
    until(lambda: not any(map(look, watchdogs)))


def lose_watchdogs(run: Run) -> None:
    """Kills each as soon as it is there, until none comes any more for a while."""
    seen: set[int] = set()
    quiet_since = time.monotonic()
    while time.monotonic() < quiet_since + 0.7 or len(seen) < 5:
        for proc in processes():
            if (
                proc.parent == run.pid
                and proc.pid == proc.session
                and proc.pid not in seen
                and is_watchdog(proc)
            ):
                seen.add(proc.pid)
                quiet_since = time.monotonic()
                with suppress(ProcessLookupError):
                    os.kill(proc.pid, signal.SIGKILL)
        time.sleep(0.002)


def is_watchdog(proc: Proc) -> bool:
    return proc.command == "pq-warden" or "exec(os.read(" in proc.command


def test_a_run_that_lost_its_watchdogs_says_so_at_once_and_at_its_end(world: World) -> None:
    run = world.start(f"{world.tell('job')}; {world.wait_at_the_gate}\n", "--json", "--run-dir", "run")
    world.told()
    lose_watchdogs(run)
    assert run.process.stderr is not None
    said = run.process.stderr.readline()
    assert said == b"pqrun: jobs would survive a kill -9 of this pqrun: its watchdogs keep dying\n"
    world.let_through()
    facts = run.end()

    assert (facts.code, facts.states) == (0, ["ok"])
    assert facts.document["run"]["guarded"] is False
    assert "a kill -9 of this pqrun: its watchdogs keep dying" in facts.err
    shown = subprocess.run(
        [sys.executable, "-m", "pqrun", "show", "./run", "--json"],
        cwd=world.directory, env=world.environment(), stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    assert json.loads(shown.stdout)["run"]["guarded"] is False


def test_a_run_that_was_guarded_says_so(world: World) -> None:
    assert world.run("true\n", "--json").document["run"]["guarded"] is True


def test_watchdogs_come_back_once_they_are_let_live(world: World) -> None:
    run = world.start(f"exec {world.script('deaf')}\n", "--grace", "200ms")
    world.told()
    lose_watchdogs(run)
    assert run.process.stderr is not None
    assert b"jobs would survive" in run.process.stderr.readline()
    run.watchdogs()
    assert b"a watchdog runs again" in run.process.stderr.readline()
    run.signal(signal.SIGKILL)

    until(world.none_alive, within=5.0)


def test_a_run_that_must_have_a_watchdog_ends_without_one(world: World) -> None:
    run = world.start(f"exec {world.script('deaf')}\n", "--grace", "200ms", "--require-watchdog")
    world.told()
    lose_watchdogs(run)
    facts = run.end()

    assert facts.code == 4
    assert "pqrun: --require-watchdog: jobs would survive a kill -9 of this pqrun" in facts.err
    assert world.alive() == []


NO_FORK = (
    "import os; os.fork = lambda: (_ for _ in ()).throw(OSError(11, 'Resource temporarily unavailable'))"
)


def test_a_run_that_must_have_a_watchdog_does_not_begin_without_one(world: World) -> None:
    jobs = f"{world.tell('job')}\n"
    facts = world.run(jobs, "--require-watchdog", "--run-dir", "run", without=NO_FORK)

    assert (facts.code, facts.out) == (4, "")
    assert facts.err == (
        "pqrun: --require-watchdog: jobs would survive a kill -9 of this pqrun: Resource temporarily unavailable\n"
    )
    assert not (world.directory / "run").exists()


def test_a_watchdog_that_could_not_be_had_at_first_is_had_later(world: World) -> None:
    run = world.start(f"exec {world.script('deaf')}\n", "--grace", "200ms", without=NO_FORK)
    world.told()
    assert run.process.stderr is not None
    assert b"jobs would survive a kill -9 of this pqrun: Resource" in run.process.stderr.readline()
    assert b"a watchdog runs again" in run.process.stderr.readline()
    run.signal(signal.SIGKILL)

    until(world.none_alive, within=5.0)


def test_who_goes_on_says_for_what_it_waits_and_how_to_end_that(world: World) -> None:
    run = world.start(f"exec {world.script('stay')}\n", "--run-dir", "run")
    world.told()
    watchdogs = run.watchdogs()
    for watchdog in watchdogs:
        os.kill(watchdog, signal.SIGSTOP)
    run.signal(signal.SIGKILL)
    run.process.wait()
    (world.directory / "stay.sh").write_text("")
    again = subprocess.Popen(
        [sys.executable, "-m", "pqrun", "resume", "./run"],
        cwd=world.directory, env=world.environment(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert again.stderr is not None
    pids = [str(pid) for pid in sorted(watchdogs)]
    said, hint = again.stderr.readline().decode(), again.stderr.readline().decode()
    for watchdog in watchdogs:
        os.kill(watchdog, signal.SIGCONT)

    assert said == (
        f"pqrun: waiting for {world.directory}/run: its pqrun (process {run.pid}) was killed, "
        f"and its watchdog (process {', '.join(pids)}) is stopped\n"
    )
    assert f"hint: `kill -CONT {' '.join(pids)}` continues it; `kill -9 {' '.join(pids)}` ends" in hint
    again.communicate(timeout=20)
    assert again.returncode == 0


def test_no_watchdog_outlives_its_run(world: World) -> None:
    run = world.start(f"{world.tell('job')}; {world.wait_at_the_gate}\n")
    world.told()
    watchdogs = run.watchdogs()
    world.let_through()
    run.end()

    assert not any(map(look, watchdogs))


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
