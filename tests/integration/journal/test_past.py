# SPDX-License-Identifier: LGPL-3.0-or-later
"""A look back at earlier runs: which are read, and that none of them can disturb a new one."""

import os
import sqlite3
import time
from contextlib import closing

import pytest

from pqrun.core import events as ev
from pqrun.core.job import NO_REPORT, Command, CountedAs, ExitedWith, JobSpec, Outcome, RetryPolicy, Usage
from pqrun.core.job_row import FullRow, JobRow
from pqrun.core.past import FlakyRate
from pqrun.engine.threads import NoThread
from pqrun.journal import past
from pqrun.journal.index import query_index
from pqrun.journal.past import BackgroundLook, flaky_rates, look_back, read_past

from .records import BEGAN, Record

A, B = JobSpec("a", Command("do a")), JobSpec("b", Command(("do", "b")))


@pytest.fixture
def record(world):
    """`record(NAME, (SPEC, SECONDS, CODES)…)`: a run in the state directory, with the exit codes of the attempts of each job.

    Each run ends a minute after the one before.
    """
    (world.state / "runs").mkdir(mode=0o700, exist_ok=True)
    count = 0

    def make(name, *jobs, files=("jobs.yaml",), cwd="/"):
        nonlocal count
        count += 1
        run = Record(world.state / "runs" / name, files=list(files), cwd=cwd)
        for seq, (spec, seconds, codes) in enumerate(jobs, 1):
            spec = spec._replace(retry=RetryPolicy(max=len(codes) - 1))
            run.tell(ev.JobAdded(BEGAN, seq, spec, ""))
            for number, code in enumerate(codes, 1):
                last = number == len(codes)
                good = code == 0
                counted = CountedAs.COMPLETED if good else CountedAs.FAILED if last else CountedAs.RETRIED
                at = BEGAN + seconds
                end = ev.AttemptEnded(
                    at, seq, number, counted, ExitedWith(code), None, BEGAN, at, Usage(), NO_REPORT, None
                )
                outcome = Outcome.OK if good else Outcome.FAILED
                after = (
                    ev.JobEnded(at, seq, outcome, number, False)
                    if last
                    else ev.JobWaiting(at, seq, number + 1, at)
                )
                run.tell(
                    ev.JobQueued(BEGAN, seq, number, spec.priority), ev.AttemptSubmitted(BEGAN, seq, number, 0.0),
                    end, after,
                )  # fmt: skip
        os.utime(run.journal, (BEGAN + 60 * count,) * 2)
        return run

    return make


def failed(spec):
    row = FullRow(JobRow(1, spec))
    row.state, row.exit = "failed", ExitedWith(1)
    return row


def test_times_and_results_are_those_of_the_runs_of_the_same_source_before_it(record):
    record("first", (A, 4.0, [0]), (B, 1.0, [1]))
    record("other", (A, 400.0, [1]), files=["other.yaml"])
    record("elsewhere", (A, 400.0, [1]), cwd="/tmp")
    record("second", (A, 6.0, [1, 0]), (B, 1.0, [0]))
    here = record("third", (A, 9.0, [1]), (B, 1.0, [1]))
    record("later", (A, 400.0, [1]))
    found = look_back(here.run, [A, B])
    assert (found.durations.known(A), found.durations.known(B)) == (5.0, 1.0)
    rows = query_index(here.run, lambda index: index.jobs())
    assert flaky_rates(here.run, rows) == {1: FlakyRate(3, 2, True), 2: FlakyRate(3, 2, True)}
    assert flaky_rates(record("new", files=["new.yaml"]).run, [failed(A)]) == {}


def test_a_job_is_the_same_with_its_id_and_command_only_and_equal_lines_count_together(record):
    line = JobSpec("1", Command("make it"), named=False)
    record("first", (A, 4.0, [0]), (line, 1.0, [0]), (line._replace(id="2"), 3.0, [1]))
    here = record("second").run
    changed = JobSpec("a", Command("do it otherwise"))
    assert look_back(here, [changed]).durations.known(changed) is None
    assert flaky_rates(here, [failed(changed)]) == {}
    assert flaky_rates(here, [failed(line._replace(id="7"))]) == {1: FlakyRate(2, 2, True)}


@pytest.mark.parametrize("many", [False, True], ids=["few", "many"])
def test_only_some_jobs_are_looked_for(record, many, monkeypatch):
    if many:
        monkeypatch.setattr(past, "MAX_CHOSEN_COMMANDS", 0)
    record("first", (A, 4.0, [0]), (B, 1.0, [0]))
    found = look_back(record("second").run, [B])
    assert (found.durations.known(A), found.durations.known(B)) == (None, 1.0)


def test_damaged_locked_and_strange_runs_are_left_out(record, world):
    record("good", (A, 4.0, [0]))
    damaged, headless, locked, _ = (
        record(name, (A, 400.0, [0])) for name in ("damaged", "headless", "locked", "rubbish")
    )
    text = damaged.journal.read_bytes()
    damaged.journal.write_bytes(text.replace(b'"ok"', b'"OK"'))
    headless.journal.write_bytes(b"{}\n" + text)
    query_index(locked.run, lambda index: index.count("1"))
    (world.state / "runs" / "rubbish" / "index.db").write_bytes(b"no database" * 100)
    (world.state / "runs" / "empty").mkdir()
    (world.state / "runs" / "file").write_text("")
    here = record("new").run
    with closing(sqlite3.connect(locked.run.index, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        rates = flaky_rates(here, [failed(A)], seconds=60.0)
        assert time.monotonic() - began < 8, "it must not wait for the lock of an index"
    assert rates == {1: FlakyRate(4, 1, True)}  # good, and from their journals locked and rubbish
    assert read_past().known(A) == 400.0


def test_a_run_that_is_in_use_is_no_past(record, world):
    record("first", (A, 4.0, [0]))
    live = record("live", (A, 400.0, [0])).run
    live.lock()
    try:
        assert look_back(record("new").run, [A]).durations.known(A) == 4.0
        assert look_back(live, [A]).durations.known(A) == 4.0  # not itself
    finally:
        live.unlock()


def test_the_look_is_bounded_by_time_bytes_and_runs(record, monkeypatch):
    for number in range(past.MAX_RUNS_OF_SOURCE + 2):
        record(f"run{number}", (A, float(number), [0]))
    here = record("new").run
    with monkeypatch.context() as patch:
        patch.setattr(past, "MAX_DURATIONS", 100)
        assert look_back(here, [A]).durations.known(A) == 6.5  # the median of 2 to 11
        assert look_back(here, [A], seconds=0.0).durations.known(A) is None
        patch.setattr(past, "MAX_JOURNAL_BYTES", 10)
        assert look_back(here, [A]).durations.known(A) is None
    monkeypatch.setattr(past, "JOURNAL_BYTES_PER_SECOND", 10)  # an index that has to be built takes too long
    record("other", (B, 1.0, [0]))
    found = look_back(record("newest").run, [A, B])
    assert (found.durations.known(A), found.durations.known(B)) == (9.0, None)


def test_a_look_beside_a_live_run_is_taken_once(record):
    record("first", (A, 4.0, [0]))
    look = BackgroundLook(record("new").run)
    found = look.durations(lambda: [A])
    while found is None:
        found = look.durations(lambda: pytest.fail("the jobs are asked for once"))
    assert found.known(A) == 4.0


def test_without_room_for_a_thread_there_is_no_look(record, monkeypatch):
    def refuse(_thread):
        tried.append(1)
        raise NoThread("no room")

    tried = []
    record("first", (A, 4.0, [0]))
    look = BackgroundLook(record("new").run)
    monkeypatch.setattr(past, "start_thread", refuse)
    assert [look.durations(lambda: [A]) for _ in range(3)] == [None] * 3
    assert tried == [1]
