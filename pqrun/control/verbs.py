# SPDX-License-Identifier: LGPL-3.0-or-later
"""What can be asked of a live run, each as a function of the scheduler and the moment.

They run inside a turn, under the engine's lock: none of them waits for anybody.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pqrun import lifecycle as life
from pqrun.control.protocol import Rejected, checked_spec
from pqrun.control.selectors import Subject, chosen
from pqrun.control.why import why
from pqrun.graph import UnknownNeed
from pqrun.model import JobSpec, Outcome, Pool, Priority, shown_command
from pqrun.scheduler import Scheduler
from pqrun.task import Task

FULL = 75
Answer = dict[str, Any]
Verb = Callable[[dict[str, Any], Scheduler, float], Answer]


def subject(task: Task) -> Subject:
    """The job, for a selector."""
    return Subject(task.spec.id, state_of(task), task.spec.priority.name.lower(), task.spec.tags)


def state_of(task: Task) -> str:
    """One of the ten words."""
    match task.state:
        case life.Pending():
            return "pending"
        case life.Queued():
            return "queued"
        case life.Waiting():
            return "waiting"
        case life.Finished(outcome):
            return str(outcome)
        case _:
            return "running"


def selected(request: dict[str, Any], scheduler: Scheduler) -> list[Task]:
    """The unfinished jobs that a request means."""
    selectors = request.get("jobs")
    if not isinstance(selectors, list) or not all(isinstance(selector, str) for selector in selectors):
        raise Rejected("`jobs` is a list of selectors")
    if len(selectors) == 1 and (task := scheduler.find(selectors[0])) is not None:
        return [task]
    seqs = chosen(((task.seq, subject(task)) for task in scheduler.tasks.values()), selectors)
    return [scheduler.tasks[seq] for seq in seqs]


def add(request: dict[str, Any], scheduler: Scheduler, now: float) -> Answer:
    """New jobs, all or none; their ids. `if_absent`: those that are known already are left out."""
    jobs = request.get("add")
    if not isinstance(jobs, list) or not jobs:
        raise Rejected("`add` is a list of jobs")
    if scheduler.stopping is not None:
        raise Rejected("the run is stopping: it takes no more jobs", 6)
    specs = [checked_spec(facts) for facts in jobs]
    if request.get("if_absent") is True:
        specs = [spec for spec in specs if not (spec.named and scheduler.knows(spec.id))]
    if scheduler.waiting + len(specs) > scheduler.max_queue:
        raise Rejected(f"the queue is full ({scheduler.waiting} of {scheduler.max_queue})", FULL)
    numbered = [_named(spec, number) for number, spec in enumerate(specs, scheduler.jobs + 1)]
    _check_together(numbered, scheduler)
    try:
        scheduler.add(numbered, now)
    except UnknownNeed as error:
        raise Rejected(str(error)) from None
    return {"ids": [spec.id for spec in numbered]}


def _named(spec: JobSpec, number: int) -> JobSpec:
    return spec if spec.named and spec.id else spec._replace(id=str(number), named=False)


def _check_together(specs: list[JobSpec], scheduler: Scheduler) -> None:
    seen: set[str] = set()
    for spec in specs:
        if spec.id in seen or scheduler.knows(spec.id):
            raise Rejected(f"there is a job `{spec.id}` already")
        seen.add(spec.id)
        for name, count in spec.pools:
            size = scheduler.ready.pools.sizes.get(name, 0)
            if count > size:
                raise Rejected(f"job `{spec.id}` wants {count} of pool `{name}`, which has {size}")


def ps(request: dict[str, Any], scheduler: Scheduler, now: float) -> Answer:
    """The unfinished jobs, the running ones first, then in starting order."""
    tasks = selected(request, scheduler) if request.get("jobs") else list(scheduler.tasks.values())
    rank = {"running": 0, "queued": 1, "waiting": 2, "pending": 3}
    ordered = sorted(tasks, key=lambda task: (rank.get(state_of(task), 4), task.entry or (0, 0, task.seq)))
    answer: Answer = {"jobs": [_entry(task, now) for task in ordered], "paused": scheduler.paused}
    if request.get("why") is True:
        answer["why"] = {task.spec.id: why(task, scheduler, now) for task in tasks[:100]}
    return answer


def _entry(task: Task, now: float) -> Answer:
    state, spec = task.state, task.spec
    since: float | None = None
    match state:
        case life.Running(started=started):
            since = now - started
        case life.Queued(since=queued):
            since = now - queued
        case life.Waiting(until=until):
            since = until - now
        case _:
            pass
    return {
        "id": spec.id,
        "seq": task.seq,
        "state": state_of(task),
        "priority": spec.priority.name.lower(),
        "attempts": task.attempts,
        "max_attempts": max(task.attempts, 1) - task.retries + spec.retry.max,
        "run": shown_command(spec.work),
        "tags": list(spec.tags),
        "timeout": spec.timeout,
        "seconds": None if since is None else round(since, 3),
    }


def cancel(request: dict[str, Any], scheduler: Scheduler, now: float) -> Answer:
    """Ends jobs: at once if they don't run, else after their grace."""
    tasks = selected(request, scheduler)
    for task in tasks:
        if task.seq in scheduler.tasks:
            scheduler.cancel(task, now)
    return {"count": len(tasks)}


def change(request: dict[str, Any], scheduler: Scheduler, now: float) -> Answer:
    """Sets fields of jobs that have not started."""
    tasks = [task for task in selected(request, scheduler) if not isinstance(task.state, life.Finished)]
    changes = request.get("change")
    if not isinstance(changes, dict):
        raise Rejected("`change` is an object of fields")
    front = request.get("front") is True
    by = str(request.get("by", ""))[:100]
    done = 0
    for task in tasks:
        if isinstance(task.state, life.Pending | life.Queued | life.Waiting):
            spec = _changed(task.spec, changes)
            try:
                scheduler.change(task, spec, now, by, front=front)
            except UnknownNeed as error:
                raise Rejected(str(error)) from None
            done += 1
    return {"count": done}


def _changed(spec: JobSpec, changes: dict[str, Any]) -> JobSpec:
    from pqrun.journal.codec import spec_facts

    facts = spec_facts(spec)
    for name, value in changes.items():
        if name == "retries":
            facts["retry"] = {**facts.get("retry", {}), "max": value}
        elif name in ("priority", "timeout", "idle_timeout", "grace", "needs"):
            facts[name] = None if name in ("timeout", "idle_timeout") and value == 0 else value
        else:
            raise Rejected(f"`{name}` of a job can't be changed")
    return checked_spec(facts)


def pause(request: dict[str, Any], scheduler: Scheduler, now: float) -> Answer:
    """Holds back starts, or no longer."""
    scheduler.pause(paused=request["verb"] == "pause", now=now, by=str(request.get("by", ""))[:100])
    return {"paused": scheduler.paused}


def stop(request: dict[str, Any], scheduler: Scheduler, now: float) -> Answer:
    """Lets running jobs finish and ends the run; `now`: stops them."""
    at_once = request.get("now") is True
    already = scheduler.stopping is not None and not scheduler.stopping.drain
    scheduler.stop("stop", now, drain=not at_once, force=at_once and already)
    return {"running": len(scheduler.running())}


def set_pool(request: dict[str, Any], scheduler: Scheduler, now: float) -> Answer:
    """A new pool, or a new size for a counted one."""
    name, size = request.get("pool"), request.get("size")
    if not isinstance(name, str) or not name or not isinstance(size, int) or not 1 <= size <= 10**6:
        raise Rejected("a pool has a name and a size of at least 1")
    if scheduler.ready.pools.is_indexed(name):
        raise Rejected(f"pool `{name}` is indexed: its size can't be changed")
    scheduler.resize_pool(Pool(name, size), now, str(request.get("by", ""))[:100])
    return {}


def outcomes(request: dict[str, Any], scheduler: Scheduler) -> tuple[list[str], dict[str, Outcome | None]]:
    """The jobs that a request names: which are unfinished, and how the others ended."""
    selectors = request.get("jobs") or ["all"]
    unfinished = [task.spec.id for task in selected({**request, "jobs": selectors}, scheduler)]
    ended: dict[str, Outcome | None] = {}
    for selector in selectors:
        if selector not in unfinished and scheduler.knows(selector):
            ended[selector] = scheduler.graph.outcome_of(selector)
        elif selector.isdecimal() and 0 < int(selector) <= scheduler.jobs and selector not in unfinished:
            ended[selector] = scheduler.graph.outcome_of(selector) or Outcome.OK
    return unfinished, ended


def urgency(word: Any) -> Priority:
    """A priority by its name."""
    try:
        return Priority[str(word).upper()]
    except KeyError:
        raise Rejected("a priority is critical, high, normal or low") from None


VERBS: dict[str, Verb] = {
    "add": add,
    "ps": ps,
    "cancel": cancel,
    "set": change,
    "pool": set_pool,
    "pause": pause,
    "unpause": pause,
    "stop": stop,
}
