# SPDX-License-Identifier: LGPL-3.0-or-later
"""Signals to pqrun: it stops, stops at once, waits with its jobs, or says what runs."""

import json
import re
import signal
import time
from datetime import datetime
from pathlib import Path

import pytest
from world import World, look, status, until

STOPPING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]
TARGETS = (False, True)  # whether the signal goes to the whole group


@pytest.mark.slow
@pytest.mark.parametrize("number", STOPPING, ids=lambda number: number.name)
def test_the_first_stop_signal_asks_every_job_to_end(world: World, number: int) -> None:
    jobs = f"exec {world.script('stay')}\n" * 2 + "never started\n"

    runs = [world.start(jobs, "-j2", "--json") for _ in TARGETS]
    world.told(4)
    for run, group in zip(runs, TARGETS, strict=True):
        run.signal(number, group=group)
    ends = [run.end() for run in runs]

    assert world.alive() == []
    for facts in ends:
        assert (facts.code, facts.states) == (-number, ["interrupted", "interrupted", "queued"])
        assert [job["signal"] for job in facts.document["jobs"]] == ["SIGTERM", "SIGTERM", None]


@pytest.mark.slow
@pytest.mark.parametrize("number", STOPPING, ids=lambda number: number.name)
def test_the_second_stop_signal_kills(world: World, number: int) -> None:
    runs = [world.start(f"exec {world.script('asked', 'job')}\n", "--grace", "1h", "--json") for _ in TARGETS]
    world.told(2)
    for run, group in zip(runs, TARGETS, strict=True):
        run.signal(number, group=group)
    assert all(line.startswith("asked") for line in world.told(2))
    for run, group in zip(runs, TARGETS, strict=True):
        run.signal(number, group=group)
    ends = [run.end() for run in runs]

    assert world.alive() == []
    for facts in ends:
        assert (facts.code, facts.states) == (-number, ["interrupted"])
        assert [job["signal"] for job in facts.document["jobs"]] == ["SIGKILL"]


def test_the_second_stop_signal_also_kills_what_a_job_has_left(world: World) -> None:
    job = f"setsid {world.script('asked', 'left')} & {world.forever}\n"

    run = world.start(job, "--grace", "1h", "--json")
    world.told()
    run.signal(signal.SIGINT)
    assert world.told()[0].startswith("asked")
    run.signal(signal.SIGINT)
    facts = run.end()

    assert world.alive() == []
    assert (facts.code, facts.states) == (-signal.SIGINT, ["interrupted"])


@pytest.mark.slow
def test_a_job_that_ended_before_the_signal_keeps_its_own_end(world: World) -> None:
    job = f"setsid {world.script('asked', 'left')} & {world.wait_at_the_gate}; exit 3\n"
    heard = world.directory / "stderr"

    with heard.open("wb") as err:
        run = world.start(job, "--grace", "1h", "--json", stderr=err)
        world.told()
        world.let_through()
        assert world.told()[0].startswith("asked")
        run.signal(signal.SIGINT)
        until(lambda: "SIGINT" in heard.read_text())
        run.signal(signal.SIGINT)
        facts = run.end()

    assert world.alive() == []
    assert [(job["state"], job["exit"]) for job in facts.document["jobs"]] == [("failed", 3)]


def test_a_job_gets_the_signal_that_was_chosen_for_it(world: World) -> None:
    job = f"trap 'echo got INT > {world.fifo}; exit 0' INT; echo job > {world.fifo}; while :; do sleep 0.1; done\n"

    run = world.start(job, "--signal", "INT", "--json")
    world.told()
    run.signal(signal.SIGTERM)

    assert world.told() == ["got INT"]
    assert run.end().states == ["interrupted"]


def test_a_stop_between_two_attempts_leaves_the_job_to_be_resumed(world: World) -> None:
    run = world.start(f"{world.tell('tried')}; exit 9\n", "-r1", "--retry-delay", "1h", "--json")
    world.told()
    run.signal(signal.SIGTERM)
    facts = run.end()

    assert world.alive() == []
    assert facts.code == -signal.SIGTERM
    assert facts.states[0] in ("waiting", "interrupted")


@pytest.mark.slow
def test_a_hangup_that_the_caller_ignores_stays_ignored(world: World) -> None:
    run = world.start(world.script("stay") + " & " + world.wait_at_the_gate, "--json", wrap=("nohup",))
    world.told()
    run.signal(signal.SIGHUP)
    world.let_through()
    facts = run.end()

    assert (facts.code, facts.states) == (0, ["ok"])


def test_an_interrupt_that_the_caller_ignores_stays_ignored(world: World) -> None:
    ignoring = ("sh", "-c", "trap '' INT; exec \"$@\"", "sh")

    run = world.start(f"{world.tell('job')}; {world.wait_at_the_gate}\n", "--json", wrap=ignoring)
    world.told()
    run.signal(signal.SIGINT)
    world.let_through()
    facts = run.end()

    assert (facts.code, facts.states) == (0, ["ok"])


def test_an_interrupt_before_there_are_jobs_just_ends_it(world: World) -> None:
    ignoring = ("sh", "-c", "trap '' USR2; exec \"$@\" -", "sh")  # to see in /proc how far it has come

    def reads_its_input() -> bool:
        caught = int(status(run.pid)["SigCgt"], 16)
        return caught >> (signal.SIGUSR2 - 1) & 1 == 1 and caught >> (signal.SIGINT - 1) & 1 == 0

    with Path(world.never).open("r+b", buffering=0) as silent:
        run = world.start("", wrap=ignoring, stdin=silent)
        until(reads_its_input)
        run.signal(signal.SIGINT)
        facts = run.end()

    assert facts.code == -signal.SIGINT
    assert "Traceback" not in facts.err


def test_quit_leaves_no_core(world: World) -> None:
    unlimited = ("sh", "-c", 'ulimit -c unlimited; exec "$@"', "sh")

    run = world.start(f"exec {world.script('stay')}\n", wrap=unlimited)
    world.told()
    run.signal(signal.SIGQUIT)

    assert run.end().code == -signal.SIGQUIT
    assert list(world.directory.glob("*core*")) == []


@pytest.mark.slow
def test_suspended_time_counts_against_no_limit(world: World) -> None:
    limits = ("-t", "2s", "--idle-timeout", "2s")
    job = f"echo job $$ > {world.fifo}; {world.wait_at_the_gate}\n"

    run = world.start(job, *limits, "--json")
    job_pid = world.told_pids()["job"]
    run.signal(signal.SIGTSTP)
    until(lambda: (look(run.pid).state, look(job_pid).state) == ("T", "T"))
    time.sleep(2.5)  # longer than both limits: nothing is awaited here, time has to pass
    run.signal(signal.SIGCONT)
    until(lambda: look(job_pid).state != "T")
    world.let_through()
    facts = run.end()

    assert (facts.code, facts.states) == (0, ["ok"])
    assert facts.document["jobs"][0]["run_s"] < 2


@pytest.mark.slow
def test_a_suspension_moves_no_time_before_it_in_any_record(world: World) -> None:
    reports = (
        "--joblog", "jobs.log", "--events", "events", "--results", "results", "--trace", "trace.json", "--html",
        "run.html",
    )  # fmt: skip
    jobs = f"echo early\necho long $$ > {world.fifo}; {world.wait_at_the_gate}\necho late\n"

    run = world.start(jobs, "-j1", "--json", *reports)
    long_pid = world.told_pids()["long"]
    run.signal(signal.SIGTSTP)
    until(lambda: (look(run.pid).state, look(long_pid).state) == ("T", "T"))
    suspended = time.time()
    time.sleep(1.5)  # nothing is awaited here: time has to pass
    run.signal(signal.SIGCONT)
    until(lambda: look(long_pid).state != "T")
    world.let_through()
    facts = run.end()

    early, long, late = facts.document["jobs"]
    times = ("queued_at", "started_at", "ended_at")
    assert all(datetime.fromisoformat(early[name]).timestamp() < suspended for name in times)
    assert datetime.fromisoformat(late["queued_at"]).timestamp() < suspended
    assert datetime.fromisoformat(late["started_at"]).timestamp() > suspended + 1.5
    assert facts.document["jobs"] == json.loads(world.command("show", "latest", "--json").out)["jobs"]
    for job in (early, long, late):
        (path,) = world.directory.glob(f"results/{job['seq']}-*/meta.json")
        meta = json.loads(path.read_text())
        assert [meta[name] for name in times] == [job[name] for name in times]
    events = [json.loads(line) for line in (world.directory / "events").read_text().splitlines()]
    ended = [event for event in events if event["event"] == "attempt_ended"]
    assert [event["started_at"] for event in ended] == [job["started_at"] for job in (early, long, late)]
    logged = [line.split("\t") for line in (world.directory / "jobs.log").read_text().splitlines()[1:]]
    assert [float(row[2]) for row in logged] == pytest.approx(
        [datetime.fromisoformat(job["started_at"]).timestamp() for job in (early, long, late)], abs=0.001
    )
    world.command("show", "latest", "--trace", "again.json", "--html", "again.html")
    assert _starts_in_trace(world, "trace.json") == _starts_in_trace(world, "again.json")
    assert _times_on_page(world, "run.html") == _times_on_page(world, "again.html")


def _starts_in_trace(world: World, name: str) -> list[tuple[str, int]]:
    found = json.loads((world.directory / name).read_text())["traceEvents"]
    return [(event["name"], event["ts"]) for event in found if event["ph"] in "Xbe"]


def _times_on_page(world: World, name: str) -> list[object]:
    """Return the times of all jobs and attempts on a page."""
    page = (world.directory / name).read_text()
    chunks = [
        json.loads(text) for text in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page)
    ]
    times = ("queued", "started", "submitted", "began", "ended")
    return [
        [chunk["kind"], *(chunk["columns"].get(name) for name in times)]
        for chunk in chunks
        if chunk.get("kind") in ("jobs", "attempts")
    ]


@pytest.mark.slow
def test_a_suspended_run_that_is_killed_leaves_nobody(world: World) -> None:
    run = world.start(f"exec {world.script('stay')}\n")
    job_pid = world.told_pids()["stay"]
    run.signal(signal.SIGTSTP)
    until(lambda: (look(run.pid).state, look(job_pid).state) == ("T", "T"))
    run.signal(signal.SIGKILL)

    until(world.none_alive, within=5.0)


def test_usr1_says_what_runs(world: World) -> None:
    heard = world.directory / "stderr"

    with heard.open("wb") as err:
        run = world.start(f"{world.tell('job')}; {world.wait_at_the_gate}\n", stderr=err)
        world.told()
        run.signal(signal.SIGUSR1)
        until(lambda: "1 running" in heard.read_text())
        world.let_through()
        run.end()

    assert "try 1" in heard.read_text()
