# SPDX-License-Identifier: LGPL-3.0-or-later
"""What can be asked of a live run, each as a function of the scheduler and the moment.

They run inside a turn, under the engine's lock: none of them waits for anybody, and what is to be
done to many jobs is done in steps, a turn each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pqrun import lifecycle as life
from pqrun.control.incoming import checked, plain
from pqrun.control.listing import Listing
from pqrun.control.protocol import Answer, Rejected, Request, Steps, by_of, flag, is_whole
from pqrun.control.selectors import selected, selectors_of
from pqrun.control.why import why
from pqrun.graph import UnknownNeed
from pqrun.jobfile.kinds import MOST_SLOTS, pool_name
from pqrun.model import JobSpec, Pool
from pqrun.scheduler import Scheduler
from pqrun.task import Task

SLICE = 250
MOST_REASONS = 100
CHANGEABLE = ("priority", "timeout", "idle_timeout", "grace", "retries", "needs")
Verb = Callable[[Request, Scheduler, float], Answer | Listing | Steps]


def ps(request: Request, scheduler: Scheduler, now: float) -> Answer | Listing:
    """The unfinished jobs, or those of them that are meant; with `why` also what they wait for."""
    chosen = selected(selectors_of(request), scheduler) if request.get("jobs") else scheduler.tasks.values()
    facts: Answer = {"paused": scheduler.paused, "stopping": scheduler.stopping is not None}
    if flag(request, "why"):
        some = list(chosen)[:MOST_REASONS]
        facts["why"] = {task.spec.id: why(task, scheduler, now) for task in some}
    return Listing(chosen, now, facts)


def cancel(request: Request, scheduler: Scheduler, now: float) -> Steps:
    """Ends jobs: at once if they don't run, else after their grace."""
    tasks, by = selected(selectors_of(request), scheduler), by_of(request)

    def each(task: Task, now: float) -> bool:
        if task.seq in scheduler.tasks:
            scheduler.cancel(task, now, by)
        return True

    # The last ones first, because what needs a cancelled job is skipped.
    return _in_steps(tasks[::-1], each, now)


def change(request: Request, scheduler: Scheduler, now: float) -> Steps:
    """Sets fields of jobs that have no slot; of all that are meant, or of none."""
    changes, front, by = request.get("change", {}), flag(request, "front"), by_of(request)
    if not isinstance(changes, dict) or not (changes or front):
        raise Rejected("`change` is an object of fields")
    for name in changes:
        if name not in CHANGEABLE:
            raise Rejected(f"`{name:.40}` of a job can't be changed")
    wanted = checked({**plain(changes), "id": "", "run": "true"})
    tasks = [task for task in selected(selectors_of(request), scheduler) if _may_change(task, changes)]
    try:
        scheduler.graph.check_anew(tasks, wanted.needs, scheduler.jobs)
    except UnknownNeed as error:
        raise Rejected(str(error)) from None

    def each(task: Task, now: float) -> bool:
        if task.seq not in scheduler.tasks or not _may_change(task, changes):
            return False
        spec = _changed(task.spec, changes, wanted)
        if spec != task.spec or front:
            scheduler.change(task, spec, now, by, front=front)
        return True

    return _in_steps(tasks[::-1] if front else tasks, each, now)


def _may_change(task: Task, changes: dict[str, Any]) -> bool:
    if "needs" in changes:  # those of a job that was tried have been met
        return isinstance(task.state, life.Pending | life.Queued)
    return isinstance(task.state, life.Pending | life.Queued | life.Waiting)


def _changed(spec: JobSpec, changes: dict[str, Any], wanted: JobSpec) -> JobSpec:
    new = {name: getattr(wanted, name) for name in changes if name != "retries"}
    if "retries" in changes:
        new["retry"] = spec.retry._replace(max=wanted.retry.max)
    return spec._replace(**new)


def _in_steps(tasks: Sequence[Task], each: Callable[[Task, float], bool], now: float) -> Steps:
    done = 0
    for number, task in enumerate(tasks):
        if number % SLICE == SLICE - 1:
            now = yield
        done += each(task, now)
    return {"count": done}


def pause(request: Request, scheduler: Scheduler, now: float) -> Answer:
    """Holds back starts, or no longer."""
    scheduler.pause(paused=request["verb"] == "pause", now=now, by=by_of(request))
    return {"paused": scheduler.paused}


def stop(request: Request, scheduler: Scheduler, now: float) -> Answer:
    """Lets running jobs finish and ends the run; `now`: stops them, and kills them the second time."""
    before, at_once, by = scheduler.stopping, flag(request, "now"), by_of(request)
    if at_once:
        scheduler.stop("stop", now, force=before is not None and not before.drain, by=by)
    elif before is None:
        scheduler.stop("stop", now, drain=True, by=by)
    return {"running": len(scheduler.running()), "left": len(scheduler.tasks) - len(scheduler.running())}


def set_pool(request: Request, scheduler: Scheduler, now: float) -> Answer:
    """A new pool, or a new size for a counted one."""
    name, size = request.get("pool"), request.get("size")
    if not isinstance(name, str) or not isinstance(size, int) or not is_whole(size, 1, MOST_SLOTS):
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
            raise Rejected(f"job `{wants.spec.id}` wants more than {size} of the pool `{name}`")
    scheduler.resize_pool(Pool(name, size), now, by_of(request))
    return {}


VERBS: dict[str, Verb] = {
    "ps": ps,
    "cancel": cancel,
    "set": change,
    "pool": set_pool,
    "pause": pause,
    "unpause": pause,
    "stop": stop,
}
