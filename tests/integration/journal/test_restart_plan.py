# SPDX-License-Identifier: LGPL-3.0-or-later
"""What `resume` plans for a job that was interrupted."""

import pytest

from pqrun.core import events as ev
from pqrun.core.job import (
    Command,
    CountedAs,
    ExitedWith,
    JobSpec,
    KilledBySignal,
    Outcome,
    Priority,
    RetryPolicy,
    SelfReport,
    StopReason,
    Usage,
)
from pqrun.journal.recovery import recover
from pqrun.journal.restart_plan import plan_restart

from .records import Record


def ended(attempt, counted, exit, asked=None):
    return ev.AttemptEnded(1.0, 1, attempt, counted, exit, asked, 0.0, 1.0, Usage(), SelfReport())


@pytest.mark.parametrize(("failed", "retries"), [(False, 1), (True, 0)])
def test_an_interrupted_job_gets_its_used_retries_back_only_with_failed(tmp_path, failed, retries):
    record = Record(tmp_path / "run", listed=1)
    spec = JobSpec("a", Command("true"), retry=RetryPolicy(max=1))
    record.tell(
        ev.JobAdded(0.0, 1, spec),
        ev.JobQueued(0.0, 1, 1, Priority.NORMAL),
        ev.AttemptSubmitted(0.0, 1, 1, 0.0),
        ended(1, CountedAs.RETRIED, ExitedWith(1)),
        ev.JobWaiting(1.0, 1, 2, 1.0),
        ev.JobQueued(1.0, 1, 2, Priority.NORMAL),
        ev.AttemptSubmitted(1.0, 1, 2, 0.0),
        ended(2, CountedAs.STOPPED, KilledBySignal("SIGINT"), StopReason.INTERRUPTED),
        ev.JobEnded(1.0, 1, Outcome.INTERRUPTED, 2, False),
    )
    (task,) = plan_restart(recover(record.run), 9.0, failed=failed).tasks
    assert (task.attempts, task.retries) == (2, retries)
