# SPDX-License-Identifier: LGPL-3.0-or-later
"""The log for where nobody watches, told what an earlier process has left."""

import os
import re

import pytest

from pqrun.core import events as ev
from pqrun.core.job import Command, JobSpec, RetryPolicy
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
