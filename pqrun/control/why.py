# SPDX-License-Identifier: LGPL-3.0-or-later
"""Says what a job waits for, in words."""

from __future__ import annotations

from pqrun import lifecycle as life
from pqrun.control.selectors import state_of
from pqrun.scheduler import Scheduler
from pqrun.task import Task
from pqrun.words import duration_text

FEW = 5


def why(task: Task, scheduler: Scheduler, now: float) -> str:
    """Why it does not run; or since when it does."""
    match task.state:
        case life.Pending():
            return _why_pending(task, scheduler)
        case life.Waiting(attempt, until):
            return f"waits {duration_text(max(0.0, until - now))} for its attempt {attempt}"
        case life.Queued():
            return _why_queued(task, scheduler)
        case life.Running(attempt, started):
            return f"runs for {duration_text(now - started)}, attempt {attempt}"
        case life.Stopping(reason=reason):
            return f"is being stopped ({reason})"
        case life.Unsettled():
            return "has ended by a signal; will be settled when pqrun has not been stopped within a second"
        case _:
            return "is about to start"


def _why_pending(task: Task, scheduler: Scheduler) -> str:
    found = [scheduler.find(need.job) for need in task.spec.needs]
    unmet = [f"{other.spec.id} ({state_of(other.state)})" for other in found if other is not None]
    if not unmet:
        return "needs a job that was interrupted"
    more = f" and {len(unmet) - FEW} more" if len(unmet) > FEW else ""
    return f"waits for {', '.join(unmet[:FEW])}{more}"


def _why_queued(task: Task, scheduler: Scheduler) -> str:
    if scheduler.stopping is not None:
        return "the run is stopping"
    if scheduler.holding:
        return scheduler.holding
    for name, count in task.spec.pools:
        free = scheduler.ready.pools.free.get(name, 0)
        if free < count:
            return f"the pool `{name}` has {max(free, 0)} free, it wants {count}"
    mine = task.entry or (0, 0, 0)
    before = sum(1 for t in scheduler.tasks.values() if t.entry is not None and t.entry < mine)
    busy = f"{_jobs(len(scheduler.running()))} running, {_jobs(before)} before it in the queue"
    return f"wants {task.spec.slots} slots at a time: {busy}" if task.spec.slots > 1 else busy


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"
