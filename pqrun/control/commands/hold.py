# SPDX-License-Identifier: LGPL-3.0-or-later
"""The verbs `hold` and `release`: keep jobs from starting, and let them start, in slices if they are many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pqrun.control.protocol import JOBS_PER_TURN, ClientRequest, origin_of
from pqrun.core.scheduler import Scheduler
from pqrun.core.selectors import selected, selectors_of

if TYPE_CHECKING:
    from pqrun.control.protocol import IncrementalAnswer


def hold(request: ClientRequest, scheduler: Scheduler, now: float) -> IncrementalAnswer:
    """Hold the selected jobs that hold no slot, or let held jobs start (`release`)."""
    by = origin_of(request)
    change = scheduler.admission.hold if request["verb"] == "hold" else scheduler.admission.release
    count = 0
    for number, task in enumerate(selected(selectors_of(request), scheduler), 1):
        count += change(task, now, by)  # False for a job that has ended since
        if number % JOBS_PER_TURN == 0:
            now = yield
    return {"count": count}
