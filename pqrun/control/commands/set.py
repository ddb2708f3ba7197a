# SPDX-License-Identifier: LGPL-3.0-or-later
"""The verbs `set`, `pool`, `workers` and `limit`: change jobs that hold no slot, and how many jobs run at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pqrun.control.job_payload import CHANGEABLE, checked_changes
from pqrun.control.protocol import JOBS_PER_TURN, Answer, ClientRequest, flag, origin_of
from pqrun.core import states as life
from pqrun.core.dependencies import UnknownNeed
from pqrun.core.errors import Rejected
from pqrun.core.job import Pool
from pqrun.core.scheduler import Scheduler
from pqrun.core.selectors import selected, selectors_of
from pqrun.core.task import Task
from pqrun.core.values import MAX_SLOTS, is_whole, pool_name
from pqrun.core.values import tag as check_tag
from pqrun.input.defaults import replaced

if TYPE_CHECKING:
    from pqrun.control.protocol import IncrementalAnswer

MAX_WORKERS = 100_000
MAX_LIMITED_TAGS = 1000


def set_jobs(request: ClientRequest, scheduler: Scheduler, now: float) -> IncrementalAnswer:
    """Change fields of the selected jobs that hold no slot. The whole request is checked first."""
    changes, front, by = request.get("change", {}), flag(request, "front"), origin_of(request)
    if not isinstance(changes, dict) or not (changes or front):
        raise Rejected("`change` is an object of fields")
    for name in changes:
        if name not in CHANGEABLE:
            raise Rejected(f"`{name:.40}` of a job can't be changed")
    wanted, layer = checked_changes(changes)
    tasks = [task for task in selected(selectors_of(request), scheduler) if _may_change(task, changes)]
    try:
        scheduler.graph.recheck(tasks, wanted.needs, scheduler.jobs)
    except UnknownNeed as error:
        raise Rejected(str(error)) from None
    count = 0
    for number, task in enumerate(tasks[::-1] if front else tasks, 1):
        if task.seq in scheduler.tasks and _may_change(task, changes):
            count += 1
            spec = replaced(task.spec, layer)
            if spec != task.spec or front:
                scheduler.change(task, spec, now, by, front=front)
        if number % JOBS_PER_TURN == 0:
            now = yield
    return {"count": count}


def _may_change(task: Task, changes: dict[str, Any]) -> bool:
    if "needs" in changes:  # a job that was tried had its needs met, so a new need would come too late
        return isinstance(task.state, life.Pending | life.Queued)
    return isinstance(task.state, life.Pending | life.Queued | life.Waiting)


def set_workers(
    resize: Callable[[int], None], request: ClientRequest, scheduler: Scheduler, now: float
) -> Answer:
    """Change how many attempts run at a time, by `resize`."""
    workers = request.get("workers")
    if not is_whole(workers, 1, MAX_WORKERS):
        raise Rejected(f"`workers` is a number from 1 to {MAX_WORKERS:,}")
    resize(workers)
    scheduler.set_workers(workers, now, origin_of(request))
    return {"workers": workers}


def limit_tag(request: ClientRequest, scheduler: Scheduler, now: float) -> Answer:
    """Let at most `workers` jobs with the tag `tag` run at a time, now and later; with null, any number again."""
    tag, workers = request.get("tag"), request.get("workers")
    try:
        tag = check_tag(tag if isinstance(tag, str) else "")
    except ValueError as error:
        raise Rejected(str(error)) from None
    if workers is not None and not is_whole(workers, 1, MAX_WORKERS):
        raise Rejected(f"`workers` is a number from 1 to {MAX_WORKERS:,}, or null for no limit")
    if workers is not None and len(scheduler.ready.limited_tags | {tag}) > MAX_LIMITED_TAGS:
        raise Rejected(f"more than {MAX_LIMITED_TAGS:,} tags with a limit")
    count = scheduler.limit_tag(tag, workers or 0, now, origin_of(request))
    return {"workers": workers, "count": count}


def set_pool(request: ClientRequest, scheduler: Scheduler, now: float) -> Answer:
    """Add a pool, or resize a counted one."""
    name, size = request.get("pool"), request.get("size")
    if not isinstance(name, str) or not is_whole(size, 1, MAX_SLOTS):
        raise Rejected("a `pool` has a name and a `size` of at least 1")
    try:
        pool_name(name)
    except ValueError as error:
        raise Rejected(str(error)) from None
    if scheduler.ready.pools.is_indexed(name):
        raise Rejected(f"the pool `{name}` is indexed: its size can't be changed")
    if size < scheduler.ready.pools.sizes.get(name, 0):
        wants = next((t for t in scheduler.tasks.values() if dict(t.spec.pools).get(name, 0) > size), None)
        if wants is not None:
            raise Rejected(f"job `{wants.spec.id}` needs more than {size} units of the pool `{name}`")
    scheduler.resize_pool(Pool(name, size), now, origin_of(request))
    return {}
