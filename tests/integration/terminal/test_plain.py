# SPDX-License-Identifier: LGPL-3.0-or-later
"""The log for where nobody watches, told what an earlier process has left."""

import os

import pytest

from pqrun.core import events as ev
from pqrun.core.job import JobSpec, RetryPolicy
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
    log = PlainLog(StreamWriter(fd, "log"), FakeClock(), Style(on=False))
    log.replay([ev.JobAdded(1.0, 1, JobSpec("job", work="job", retry=RetryPolicy(max=2))), event])
    log.on_events([ev.JobWaiting(3.0, 1, 2, 5.0)])
    log.close()
    os.close(fd)
    assert "retry   job" in (tmp_path / "log").read_text()
