# SPDX-License-Identifier: LGPL-3.0-or-later
"""Signals that reach pqrun and its jobs alike: a terminal, `systemctl stop`, a shutdown.

`FAULTS_REPEAT=50` repeats what depends on chance as often as that.
"""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from itertools import permutations
from pathlib import Path

import pytest
from world import Facts, World, look, until

pytestmark = pytest.mark.slow

STOPPING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]
REPEAT = int(os.environ.get("FAULTS_REPEAT", "2"))


def resume(world: World, run: Path) -> Facts:
    """Goes on with a run, to its end."""
    command = [sys.executable, "-m", "pqrun", "resume", str(run), "--json"]
    done = subprocess.run(
        command, env=world.environment(), cwd=world.directory, capture_output=True, timeout=60, check=False
    )
    return Facts(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.mark.timeout(60 + 20 * REPEAT)
@pytest.mark.parametrize("number", STOPPING, ids=lambda number: number.name)
def test_a_signal_to_the_group_of_pqrun_makes_no_short_job_fail(world: World, number: int) -> None:
    # A child is in pqrun's own group until it has executed setsid(2).
    jobs = json.dumps({"jobs": [world.tell(str(n)) if n % 10 == 0 else "true" for n in range(200)]})

    for n in range(REPEAT):
        directory = world.directory / f"run-{n}"
        run = world.start(jobs, "-j4", "--retries", "1", "--json", "--run-dir", str(directory), kind="json")
        world.told(1 + n % 15)
        run.signal(number, group=True)
        stopped = run.end()
        until(world.none_alive)
        world.forget()
        assert stopped.code == -number, stopped.err
        assert set(stopped.states) <= {"ok", "interrupted", "queued"}, Counter(stopped.states)
        assert stopped.document["metrics"]["jobs_retried"] == 0

        finished = resume(world, directory)
        world.forget()
        assert (finished.code, Counter(finished.states)) == (0, {"ok": 200}), finished.err


@pytest.mark.timeout(60 + 20 * REPEAT)
@pytest.mark.parametrize("number", STOPPING, ids=lambda number: number.name)
def test_a_signal_to_each_process_in_any_order_interrupts_and_resume_completes(
    world: World, number: int
) -> None:
    orders = list(permutations(["leader", "child", "pqrun", "watchdog"]))
    stay = world.script("stay", "child")
    job = f"[ -e go ] && exit; echo leader $$ > {world.fifo}; {stay} & wait $!"
    jobs = json.dumps({"jobs": [{"run": job}]})  # unlike a list, read whole before the job starts

    for order in orders if REPEAT > 2 else orders[::7]:
        directory = world.directory / "-".join(order)
        run = world.start(jobs, "-r1", "--json", "--run-dir", str(directory), kind="json")
        pids = world.told_pids(2) | {"pqrun": run.pid, "watchdog": run.watchdogs()[0]}
        for name in order:
            try:
                os.kill(pids[name], number)
            except ProcessLookupError:
                pass  # the end of another one has ended it
        stopped = run.end()
        assert (stopped.code, stopped.states) == (-number, ["interrupted"]), (order, stopped.err)
        assert [job["attempts"] for job in stopped.document["jobs"]] == [1]

        (world.directory / "go").touch()
        finished = resume(world, directory)
        (world.directory / "go").unlink()
        assert (finished.code, finished.states) == (0, ["ok"]), finished.err
        assert [(j["attempts"], j["max_attempts"]) for j in finished.document["jobs"]] == [(2, 3)]


@pytest.mark.parametrize("first", ["jobs", "pqrun"])
def test_many_jobs_that_are_signalled_with_pqrun_are_all_interrupted(world: World, first: str) -> None:
    count = 64
    directory = world.directory / "run"
    jobs = "".join(f"[ -e go ] || exec {world.script('stay', f'job{n}')}\n" for n in range(count))
    run = world.start(jobs, f"-j{count}", "--json", "--run-dir", str(directory))
    pids = [*world.told_pids(count).values()]
    run.signal(signal.SIGSTOP)  # so that pqrun notices nothing before all of them have died
    for pid in [*pids, run.pid] if first == "jobs" else [run.pid, *pids]:
        os.kill(pid, signal.SIGTERM)
    until(lambda: not any(map(look, pids)))
    run.signal(signal.SIGCONT)
    stopped = run.end()
    assert (stopped.code, Counter(stopped.states)) == (-signal.SIGTERM, {"interrupted": count})

    (world.directory / "go").touch()
    finished = resume(world, directory)
    assert (finished.code, Counter(finished.states)) == (0, {"ok": count})


def test_a_job_that_somebody_ends_while_nothing_stops_pqrun_fails_by_its_signal(world: World) -> None:
    run = world.start(f"exec {world.script('stay')}\n{world.tell('next')}\n", "-j1", "--json")
    os.kill(world.told_pids()["stay"], signal.SIGTERM)
    facts = run.end()

    assert facts.code == 1
    assert [(job["state"], job["signal"]) for job in facts.document["jobs"]] == [
        ("failed", "SIGTERM"), ("ok", None),
    ]  # fmt: skip
