# SPDX-License-Identifier: LGPL-3.0-or-later
"""The verb `cancel`: end jobs, in slices if they are many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pqrun.control.protocol import JOBS_PER_TURN, ClientRequest, origin_of
from pqrun.core.scheduler import Scheduler
from pqrun.core.selectors import selected, selectors_of

if TYPE_CHECKING:
    from pqrun.control.protocol import IncrementalAnswer


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
