# SPDX-License-Identifier: LGPL-3.0-or-later
"""The log for where nobody watches, told what an earlier process has left."""

import os

import pytest

from pqrun.core import events as ev
from pqrun.core.job import JobSpec, RetryPolicy
from pqrun.core.job_table import JobTable
from pqrun.engine.dispatcher import Observers
from pqrun.output.writer import StreamWriter
from pqrun.testing import FakeClock
from pqrun.ui.plain_log import PlainLog
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


def test_a_quiet_log_is_called_for_no_job(tmp_path):
    fd = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
    log = PlainLog(JobTable(), StreamWriter(fd, "log"), FakeClock(), Style(on=False), quiet=True)
    os.close(fd)
    assert set(log.handlers) == {ev.InputEnded, ev.SlotsChanged, ev.RunStopping}
