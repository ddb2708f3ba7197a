# SPDX-License-Identifier: LGPL-3.0-or-later
"""The verbs `cancel` and `signal`: end jobs, in slices if they are many, or send running jobs a signal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pqrun.control.protocol import JOBS_PER_TURN, Answer, ClientRequest, origin_of
from pqrun.core.errors import Rejected
from pqrun.core.job import AttemptId
from pqrun.core.scheduler import Scheduler
from pqrun.core.selectors import selected, selectors_of
from pqrun.core.values import InvalidValue, signal_name

if TYPE_CHECKING:
    from pqrun.control.protocol import IncrementalAnswer
    from pqrun.engine.live_run import LiveRun


def cancel(request: ClientRequest, scheduler: Scheduler, now: float) -> IncrementalAnswer:
    """Cancel jobs: at once if they do not run, else after their grace."""
    by = origin_of(request)
    # In reverse order: cancelling a job skips its dependents, which would then end as skipped.
    tasks = selected(selectors_of(request), scheduler)[::-1]
    for number, task in enumerate(tasks, 1):
        if task.seq in scheduler.tasks:
            scheduler.cancel(task, now, by)
        if number % JOBS_PER_TURN == 0:
            now = yield
    return {"count": len(tasks)}


def signal(run: LiveRun, request: ClientRequest, scheduler: Scheduler, now: float) -> Answer:
    """Send a signal to the selected jobs that run as processes of this machine. Nothing else is done to them."""
    try:
        name = signal_name(str(request.get("signal", "")))
    except InvalidValue as error:
        raise Rejected(str(error)) from None
    leaders = run.pids()
    tasks = [
        task
        for task in selected(selectors_of(request), scheduler)
        if AttemptId(task.seq, task.attempts) in leaders
    ]
    for task in tasks:
        scheduler.signal(task, name)
    return {"count": len(tasks)}
