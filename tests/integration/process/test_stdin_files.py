# SPDX-License-Identifier: LGPL-3.0-or-later
"""A job's stdin that does not open: limits and signals hold all the same."""

import json
import os
import signal
import time
from pathlib import Path
from threading import Event

import pytest
from world import World, until

from pqrun.executors.local.user_paths import Abandoned, interruptible


@pytest.fixture
def fifo(world: World) -> Path:
    path = world.directory / "no-writer"
    os.mkfifo(path)
    return path


def job(**fields: object) -> str:
    return json.dumps({"jobs": [fields]})


RUNS = ["cat", ["cat"], ": ; cat"]


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS, ids=["direct", "words", "shell"])
def test_a_time_limit_ends_a_job_whose_fifo_has_no_writer(world: World, fifo: Path, run: object) -> None:
    facts = world.run(job(run=run, stdin=str(fifo), timeout=0.3), "--json", kind="yaml")

    assert (facts.code, facts.states) == (1, ["timeout"])


@pytest.mark.slow
@pytest.mark.parametrize("numbers", [[signal.SIGTERM], [signal.SIGINT, signal.SIGINT], [signal.SIGHUP]])
def test_a_signal_ends_a_run_whose_job_waits_for_a_writer(
    world: World, fifo: Path, numbers: list[int]
) -> None:
    jobs = json.dumps({"jobs": [{"run": "cat", "stdin": str(fifo)}, world.tell("beside")]})
    run = world.start(jobs, "-j2", kind="yaml")
    world.told()

    def waits() -> bool:
        return any(proc.parent == run.pid and str(fifo) in proc.command for proc in world.alive())

    until(waits)
    for number in numbers:
        run.signal(number)
        time.sleep(0.05)  # so that two are not taken for one

    assert run.end().code == -numbers[0]


@pytest.mark.slow
def test_a_fifo_is_read_as_soon_as_it_has_a_writer(world: World, fifo: Path) -> None:
    run = world.start(job(run=["tr", "a", "b"], stdin=str(fifo)), kind="yaml")
    with fifo.open("w") as writer:  # waits for a reader, and must not be let go by a mere look at the file
        writer.write("aaa\n")

    assert run.end().out == "bbb\n"


def test_a_file_is_read_and_a_missing_one_is_told_as_before(world: World) -> None:
    file = world.directory / "file"
    file.write_text("text\n")

    facts = world.run(
        json.dumps({"jobs": [{"run": "cat", "stdin": str(file)}, {"run": "cat", "stdin": "no-such-file"}]}),
        "--json",
        kind="yaml",
    )

    assert facts.states == ["ok", "failed"]
    job = facts.document["jobs"][1]
    assert job["exit"] == 126 and "cannot read its stdin no-such-file: No such file" in job["message"]


@pytest.mark.slow
def test_the_pipe_without_a_name_that_pqrun_reads_can_be_a_jobs_stdin(world: World) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"from the pipe\n")
    os.close(writing)

    run = world.start(job(run="cat", stdin="/dev/stdin"), kind="yaml", stdin=reading)
    os.close(reading)

    assert run.end().out == "from the pipe\n"


def test_a_call_that_never_returns_can_be_abandoned_and_what_it_returns_late_is_dropped() -> None:
    go, dropped, came = Event(), [], Event()

    def act() -> int:
        go.wait()
        return 7

    def drop(result: int) -> None:
        dropped.append(result)
        came.set()

    with pytest.raises(Abandoned):
        interruptible(act, lambda: True, drop)
    go.set()
    assert came.wait(30) and dropped == [7]


def test_nothing_is_stopped_while_its_directory_answers(world: World) -> None:
    facts = world.run(job(run="pwd", cwd=str(world.directory), creates="made"), kind="yaml")

    assert (facts.code, facts.out) == (0, f"{world.directory}\n")
