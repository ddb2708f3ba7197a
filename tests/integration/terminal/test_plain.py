# SPDX-License-Identifier: LGPL-3.0-or-later
"""The log for where nobody watches, told what an earlier process has left."""

import os
import re
from types import SimpleNamespace

import pytest

from pqrun.core import events as ev
from pqrun.core.job import (
    NO_REPORT,
    Command,
    CountedAs,
    ExitedWith,
    JobSpec,
    Outcome,
    RetryPolicy,
    Usage,
)
from pqrun.core.job_table import JobTable
from pqrun.engine.dispatcher import Observers
from pqrun.output.writer import StreamWriter
from pqrun.testing import FakeClock
from pqrun.ui.plain_log import COUNTER_INTERVAL_SECONDS, PlainLog
from pqrun.ui.terminal import Style


@pytest.mark.parametrize(
    "event",
    [
        ev.JobWaiting(2.0, 1, 2, 5.0),
        ev.AttemptRefused(2.0, 1, 1, "no room"),
        ev.AttemptStarted(2.0, 1, 1, "slot 1"),
    ],
    ids=lambda event: type(event).__name__,
)
def test_an_attempt_whose_start_is_not_known_is_no_mistake(event, tmp_path):
    fd = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
    table = JobTable()
    log = PlainLog(table, StreamWriter(fd, "log"), FakeClock(), Style(on=False))
    observers = Observers(table, [log])
    observers.replay([ev.JobAdded(1.0, 1, JobSpec("job", work="job", retry=RetryPolicy(max=2))), event])
    observers.deliver([ev.JobWaiting(3.0, 1, 2, 5.0)])
    observers.close()
    os.close(fd)
    assert "retry   job" in (tmp_path / "log").read_text()


def test_a_job_that_waits_for_its_time_has_a_line(tmp_path):
    fd = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
    table = JobTable()
    log = PlainLog(table, StreamWriter(fd, "log"), FakeClock(), Style(on=False))
    observers = Observers(table, [log])
    late = JobSpec("late", work="job", not_before=65.0)
    observers.deliver([ev.JobAdded(1.0, 1, late), ev.JobDelayed(1.0, 1, 1, 65.0)])
    log.list_running()
    observers.tick()
    observers.close()
    os.close(fd)
    said = (tmp_path / "log").read_text()
    assert re.search(r"later   late +not before 19.*, in 1m04s\n", said), said
    assert "pqrun: 1 waiting, 0 running, 0 queued, 0 ended" in said


def test_a_quiet_log_is_called_for_no_job(tmp_path):
    fd = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
    log = PlainLog(JobTable(), StreamWriter(fd, "log"), FakeClock(), Style(on=False), quiet=True)
    os.close(fd)
    assert set(log.handlers) == {ev.InputEnded, ev.SlotsChanged, ev.RunStopping}


def test_the_line_now_and_then_calls_each_state_by_its_name(tmp_path):
    fd = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
    clock, table = FakeClock(), JobTable()
    log = PlainLog(table, StreamWriter(fd, "log"), clock, Style(on=False))
    observers = Observers(table, [log])
    specs = [JobSpec(f"job{n}", work=Command("true"), retry=RetryPolicy(max=2)) for n in range(1, 6)]
    observers.deliver([ev.JobAdded(0.0, n, spec) for n, spec in enumerate(specs, 1)])
    observers.deliver([ev.JobQueued(0.0, n, 1, specs[0].priority) for n in range(1, 5)])
    observers.deliver([ev.AttemptSubmitted(0.0, 1, 1, 0.0), ev.JobWaiting(0.0, 2, 2, 60.0)])
    observers.tick()
    clock.time += COUNTER_INTERVAL_SECONDS
    observers.tick()
    log.list_running()
    observers.tick()
    observers.close()
    os.close(fd)
    lines = (tmp_path / "log").read_text().split("\n")
    counts = "1 waiting to retry, 1 running, 2 queued, 1 pending"
    assert any(line.endswith(f" [0/-] {counts}") for line in lines), lines
    assert f"pqrun: {counts}, 0 ended" in lines


@pytest.mark.parametrize(
    ("more", "eta"),
    [
        ([], "3m00s"),  # the retry is due in 3 minutes
        ([ev.RunPaused(21.0, True, "key")], None),
        ([ev.RunStopping(21.0, "key q", drain=True)], None),
    ],
    ids=["retry", "paused", "stopping"],
)
def test_the_time_to_go_counts_the_wait_for_a_retry(tmp_path, more, eta):
    fd = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
    clock, table = FakeClock(), JobTable()
    log = PlainLog(table, StreamWriter(fd, "log"), clock, Style(on=False))
    observers = Observers(table, [log])
    spec = JobSpec("job", work=Command("true"), retry=RetryPolicy(max=2))
    began = clock.time
    observers.tick()
    observers.deliver([ev.JobAdded(began, n, spec) for n in range(1, 22)])
    for n in range(1, 22):
        at = began + n
        failed = n == 21
        counted, exit = (CountedAs.RETRIED, ExitedWith(7)) if failed else (CountedAs.COMPLETED, ExitedWith(0))
        ended = ev.AttemptEnded(at, n, 1, counted, exit, None, at - 5, at, Usage(), NO_REPORT, None)
        last = (
            ev.JobWaiting(at, n, 2, began + 30 + 180) if failed else ev.JobEnded(at, n, Outcome.OK, 1, False)
        )
        observers.deliver(
            [ev.JobQueued(began, n, 1, spec.priority), ev.AttemptSubmitted(began, n, 1, 0.0), ended, last]
        )
    observers.deliver([ev.InputEnded(began + 21, 21, complete=True), *more])
    clock.time = began + COUNTER_INTERVAL_SECONDS
    observers.tick()
    observers.close()
    os.close(fd)
    (line,) = [line for line in (tmp_path / "log").read_text().split("\n") if "20 ok" in line]
    assert line.rpartition("ETA ")[2] == eta if eta else "ETA" not in line


def test_the_first_counter_line_has_the_time_to_go_by_earlier_runs(tmp_path):
    fd = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
    clock, table = FakeClock(), JobTable()
    asked = []
    table.rate.expected = lambda now, left: asked.append((now, left)) or 90.0
    log = PlainLog(table, StreamWriter(fd, "log"), clock, Style(on=False))
    observers = Observers(table, [log])
    began = clock.time
    observers.tick()
    spec = JobSpec("job", work=Command("true"))
    observers.deliver([
        ev.JobAdded(began, 1, spec), ev.JobQueued(began, 1, 1, spec.priority), ev.InputEnded(began, 1, complete=True),
    ])  # fmt: skip
    observers.tick()
    assert asked == []  # only a line that is shown asks
    clock.time = began + COUNTER_INTERVAL_SECONDS
    observers.tick()
    observers.close()
    os.close(fd)
    assert asked == [(clock.time, 1)]
    assert "1 queued, ETA 1m30s" in (tmp_path / "log").read_text()


def test_the_last_line_of_a_retry_is_quoted_also_where_output_is_printed(tmp_path):
    fd = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
    table = JobTable()
    log = PlainLog(table, StreamWriter(fd, "log"), FakeClock(), Style(on=False), quotes_failures=False)
    observers = Observers(table, [log])
    spec = JobSpec("job", work=Command("false"), retry=RetryPolicy(max=1))
    silent, said = (
        SimpleNamespace(size=len(text), place=None, path=None, tail=lambda limit=0, text=text: text)
        for text in (b"", b"no luck\n")
    )
    output = SimpleNamespace(out=silent, err=said)

    def ended(attempt, counted):
        return ev.AttemptEnded(
            1.0, 1, attempt, counted, ExitedWith(1), None, 0.0, 1.0, Usage(), NO_REPORT, output
        )

    observers.deliver([
        ev.JobAdded(0.0, 1, spec), ev.JobQueued(0.0, 1, 1, spec.priority), ev.AttemptSubmitted(0.0, 1, 1, 0.0),
        ended(1, CountedAs.RETRIED), ev.JobWaiting(1.0, 1, 2, 1.0), ev.JobQueued(1.0, 1, 2, spec.priority),
        ev.AttemptSubmitted(1.0, 1, 2, 0.0), ended(2, CountedAs.FAILED), ev.JobEnded(1.0, 1, Outcome.FAILED, 2),
    ])  # fmt: skip
    observers.close()
    os.close(fd)
    lines = (tmp_path / "log").read_text().splitlines()
    assert ["retry   job" in lines[0], lines[1], "FAILED  job" in lines[2], lines[3:]] == [
        True,
        "    no luck",
        True,
        [],
    ]
