# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which jobs somebody means: an id, a glob, `all`, `state:failed`, `priority:low`, `tag:x`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import translate

from pqrun import lifecycle as life
from pqrun.control.protocol import Rejected, Request
from pqrun.scheduler import Scheduler
from pqrun.task import Task

MOST_PATTERNS = 100
_KINDS = ("state", "priority", "tag")


def state_of(state: life.State) -> str:
    """One of the ten words."""
    match state:
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


def selectors_of(request: Request) -> list[str]:
    """What a request says of which jobs it means."""
    selectors = request.get("jobs")
    if not isinstance(selectors, list) or not all(isinstance(selector, str) for selector in selectors):
        raise Rejected("`jobs` is a list of selectors")
    return selectors


def selected(selectors: Sequence[str], scheduler: Scheduler) -> list[Task]:
    """The unfinished jobs that any of these means, each once. An exact id wins over a pattern."""
    found: dict[int, Task] = {}
    others = []
    for selector in selectors:
        if (task := scheduler.find(selector)) is not None:
            found[task.seq] = task
        elif not (is_an_id(selector) or scheduler.knows(selector)):
            others.append(selector)
    if others:
        means = _meaning(others)
        found |= {seq: task for seq, task in scheduler.tasks.items() if means(task)}
    return list(found.values())


def is_an_id(selector: str) -> bool:
    """Whether it can mean nothing but the job of that id."""
    kind, colon, _ = selector.partition(":")
    return selector != "all" and not (colon and kind in _KINDS) and not any(c in selector for c in "*?[")


def ids_like(selectors: Iterable[str]) -> Callable[[str], object] | None:
    """Whether an id is like one of these globs, if there is any; what is none is left out."""
    globs = [s for s in selectors if not is_an_id(s) and s != "all" and s.partition(":")[0] not in _KINDS]
    return re.compile("|".join(map(translate, globs))).match if globs else None


def _meaning(patterns: Sequence[str]) -> Callable[[Task], object]:
    if len(patterns) > MOST_PATTERNS:
        raise Rejected(f"more than {MOST_PATTERNS} patterns at once")
    if "all" in patterns:
        return lambda _task: True
    words = {kind: [s[len(kind) + 1 :] for s in patterns if s.startswith(f"{kind}:")] for kind in _KINDS}
    like = ids_like(patterns)
    states, priorities, tags = words["state"], words["priority"], frozenset(words["tag"])

    def means(task: Task) -> object:
        spec = task.spec
        return (
            (like and like(spec.id))
            or (states and state_of(task.state) in states)
            or (priorities and spec.priority.name.lower() in priorities)
            or (tags and not tags.isdisjoint(spec.tags))
        )

    return means
