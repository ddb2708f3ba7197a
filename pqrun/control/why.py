# SPDX-License-Identifier: LGPL-3.0-or-later
"""Says what a job waits for, in words."""

from __future__ import annotations

from pqrun import lifecycle as life
from pqrun.scheduler import Scheduler
from pqrun.task import Task
from pqrun.words import duration_text


def why(task: Task, scheduler: Scheduler, now: float) -> str:
    """Why it does not run; or since when it does."""
    match task.state:
        case life.Pending():
            unmet = [need.job for need in task.spec.needs if scheduler.find(need.job) is not None]
            return f"waits for {', '.join(unmet[:5])}" + (
                f" and {len(unmet) - 5} more" if len(unmet) > 5 else ""
            )
        case life.Waiting(attempt, until):
            return f"waits {duration_text(max(0.0, until - now))} for its attempt {attempt}"
        case life.Queued():
            return _why_queued(task, scheduler)
        case life.Running(attempt, started):
            return f"runs for {duration_text(now - started)}, attempt {attempt}"
        case life.Stopping(reason=reason):
            return f"is being stopped ({reason})"
        case _:
            return "is about to start"


def _why_queued(task: Task, scheduler: Scheduler) -> str:
    if scheduler.stopping is not None:
        return "the run is stopping"
    if scheduler.holding:
        return scheduler.holding
    for name, count in task.spec.pools:
        free = scheduler.ready.pools.free.get(name, 0)
        if free < count:
            return f"pool `{name}` has {free} free, it wants {count}"
    before = sum(
        1
        for other in scheduler.tasks.values()
        if other.entry is not None and other.entry < (task.entry or ())
    )
    if task.spec.slots > 1:
        return f"wants {task.spec.slots} slots at a time; {before} jobs are before it"
    return f"no slot is free; {before} jobs are before it"
