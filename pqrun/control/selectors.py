# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which jobs somebody means: an id, a glob, `all`, `state:failed`, `priority:low`, `tag:x`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import translate
from typing import NamedTuple

from pqrun import lifecycle as life
from pqrun.control.protocol import Rejected, Request
from pqrun.scheduler import Scheduler
from pqrun.task import Task

MOST_PATTERNS = 100
_KINDS = ("state", "priority", "tag")


_WORDS: dict[type, str] = {life.Pending: "pending", life.Queued: "queued", life.Waiting: "waiting"}


def state_of(state: life.State) -> str:
    """One of the ten words."""
    return str(state.outcome) if isinstance(state, life.Finished) else _WORDS.get(type(state), "running")


def selectors_of(request: Request) -> list[str]:
    """What a request says of which jobs it means."""
    selectors = request.get("jobs")
    if not isinstance(selectors, list) or not all(isinstance(selector, str) for selector in selectors):
        raise Rejected("`jobs` is a list of selectors")
    return selectors


class Subject(NamedTuple):
    """What a selector looks at."""

    id: str
    state: str
    priority: str
    tags: tuple[str, ...]


def chosen(subjects: Iterable[tuple[int, Subject]], selectors: Sequence[str]) -> list[int]:
    """The numbers of those that any selector means, in their order. An exact id wins over a pattern."""
    known = list(subjects)
    ids = {subject.id for _, subject in known}
    exact = ids.intersection(selectors)
    means = _meaning([selector for selector in selectors if selector not in exact])
    return [seq for seq, subject in known if subject.id in exact or means(*subject)]


def selected(selectors: Sequence[str], scheduler: Scheduler) -> list[Task]:
    """The unfinished jobs that any of these means, each once. An exact id wins over a pattern."""
    found: dict[int, Task] = {}
    others = []
    for selector in selectors:
        if (task := scheduler.find(selector)) is not None:
            found[task.seq] = task
        elif not is_an_id(selector) and not (is_a_glob(selector) and scheduler.knows(selector)):
            others.append(selector)
    if len(others) > MOST_PATTERNS:
        raise Rejected(f"more than {MOST_PATTERNS} patterns at once")
    if others:
        means = _meaning(others)
        for seq, task in scheduler.tasks.items():
            spec = task.spec
            if means(spec.id, state_of(task.state), spec.priority.name.lower(), spec.tags):
                found[seq] = task
    return list(found.values())


def is_an_id(selector: str) -> bool:
    """Whether it can mean nothing but the job of that id."""
    kind, colon, _ = selector.partition(":")
    return selector != "all" and not (colon and kind in _KINDS) and not any(c in selector for c in "*?[")


def is_a_glob(selector: str) -> bool:
    """Whether it stands for ids that are like it, if none is it."""
    return selector.partition(":")[0] not in _KINDS and any(c in selector for c in "*?[")


def ids_like(selectors: Iterable[str]) -> Callable[[str], object] | None:
    """Whether an id is like one of these globs, if there is any; what is none is left out."""
    globs = [selector for selector in selectors if is_a_glob(selector)]
    return re.compile("|".join(map(translate, globs))).match if globs else None


def _meaning(patterns: Sequence[str]) -> Callable[[str, str, str, tuple[str, ...]], object]:
    """Whether a job of such id, state, priority and tags is meant by one of them."""
    if "all" in patterns:
        return lambda *_subject: True
    words = {kind: {s[len(kind) + 1 :] for s in patterns if s.startswith(f"{kind}:")} for kind in _KINDS}
    like = ids_like(patterns)
    states, priorities, all_tags = words["state"], words["priority"], words["tag"]

    def means(job_id: str, state: str, priority: str, tags: tuple[str, ...]) -> object:
        return (
            (like and like(job_id))
            or state in states
            or priority in priorities
            or (all_tags and not all_tags.isdisjoint(tags))
        )

    return means
