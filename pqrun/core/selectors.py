# SPDX-License-Identifier: LGPL-3.0-or-later
"""Selectors of jobs: an id, a glob, `all`, `state:failed`, `priority:low`, `tag:x`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import translate
from typing import Any, NamedTuple

from pqrun.core import states as life
from pqrun.core.dependencies import is_satisfied
from pqrun.core.errors import Rejected, UserError
from pqrun.core.job import JobSpec, Need, Outcome
from pqrun.core.job_row import JobRow
from pqrun.core.scheduler import Scheduler
from pqrun.core.task import Task
from pqrun.core.text import quoted
from pqrun.core.values import InvalidValue, priority

MAX_PATTERNS = 100
_KINDS = ("state", "priority", "tag")
_WORDS: dict[type, str] = {
    life.Pending: "pending",
    life.Held: "held",
    life.Queued: "queued",
    life.Waiting: "waiting",
    life.Delayed: "waiting",
}


def state_of(state: life.State) -> str:
    """Return the word for a state. A finished job has the word of its outcome."""
    return str(state.outcome) if isinstance(state, life.Finished) else _WORDS.get(type(state), "running")


def selectors_of(request: Mapping[str, Any]) -> list[str]:
    """Return the selectors of a request.

    Raises:
        Rejected: `jobs` is not a list of texts.
    """
    selectors = request.get("jobs")
    if not isinstance(selectors, list) or not all(isinstance(selector, str) for selector in selectors):
        raise Rejected("`jobs` is a list of selectors")
    return selectors


class SelectableJob(NamedTuple):
    """The facts of a job that selectors compare."""

    id: str
    state: str
    priority: str
    tags: tuple[str, ...]


def chosen(subjects: Iterable[tuple[int, SelectableJob]], selectors: Sequence[str]) -> list[int]:
    """Return the numbers of the jobs that any selector matches, in order. An exact id wins over a glob."""
    known = list(subjects)
    ids = {subject.id for _, subject in known}
    exact = ids.intersection(selectors)
    means = _meaning([selector for selector in selectors if selector not in exact])
    return [seq for seq, subject in known if subject.id in exact or means(*subject)]


def selected(selectors: Sequence[str], scheduler: Scheduler) -> list[Task]:
    """Return the unfinished jobs that any selector matches, each once. An exact id wins over a glob.

    Raises:
        Rejected: More than `MAX_PATTERNS` selectors are patterns.
    """
    found: dict[int, Task] = {}
    others = []
    for selector in selectors:
        if (task := scheduler.find(selector)) is not None:
            found[task.seq] = task
        elif (kind := kind_of(selector)) != "id" and not (kind == "glob" and scheduler.knows(selector)):
            others.append(selector)
    if len(others) > MAX_PATTERNS:
        raise Rejected(f"more than {MAX_PATTERNS} patterns at once")
    if others:
        means = _meaning(others)
        for seq, task in scheduler.tasks.items():
            spec = task.spec
            if means(spec.id, state_of(task.state), spec.priority.name.lower(), spec.tags):
                found[seq] = task
    return list(found.values())


def selected_ended(selectors: Sequence[str], scheduler: Scheduler) -> list[tuple[str, Outcome, bool]]:
    """Return the ended jobs that ids and globs match: id, outcome, and whether the failure was allowed."""
    graph = scheduler.graph
    found = [
        (selector, *(graph.outcome_of(selector) or (Outcome.OK, False)))
        for selector in selectors
        if scheduler.find(selector) is None and graph.may_be_needed(selector, scheduler.jobs + 1)
    ]
    if like := similar_ids(s for s in selectors if not scheduler.knows(s)):
        found += [ended for ended in graph.ended() if like(ended[0])]
    return found


def ended_jobs(
    rows: Iterable[JobRow], selectors: Sequence[str], *, failed: bool
) -> tuple[list[JobRow], list[JobRow]]:
    """Return the ended jobs that any selector matches, and the skipped jobs that can run if these run again.

    Of jobs with the same id, only the last one counts. With `failed`, jobs that ended ok are left out, and
    no selector means all jobs.

    Raises:
        Rejected: More than `MAX_PATTERNS` selectors are patterns.
    """
    if sum(kind_of(selector) != "id" for selector in selectors) > MAX_PATTERNS:
        raise Rejected(f"more than {MAX_PATTERNS} patterns at once")
    latest = {row.spec.id: row for row in rows}
    subjects = [
        (row.seq, SelectableJob(row.spec.id, row.state, row.spec.priority.name.lower(), row.spec.tags))
        for row in latest.values()
        if row.outcome is not None and not (failed and row.outcome is Outcome.OK)
    ]
    numbers = {seq for seq, _ in subjects} if failed and not selectors else set(chosen(subjects, selectors))
    found = [row for row in latest.values() if row.seq in numbers]
    return found, skipped_dependents(latest, {row.spec.id for row in found})


def may_be_met(need: Need, latest: Mapping[str, JobRow], again: set[str]) -> bool:
    """Return whether a need is met, or can still be met if the jobs `again` run. `latest` are the jobs by id."""
    other = latest.get(need.job)
    if need.job in again or (other is not None and other.outcome is None):
        return True
    if other is None or other.outcome is None:  # its record was removed
        return need.when != "failed"
    return is_satisfied(need.when, other.outcome, other.allowed)


def skipped_dependents(latest: Mapping[str, JobRow], again: set[str]) -> list[JobRow]:
    """Return the skipped jobs whose needs can all be met if the jobs `again` run, and their dependents in turn.

    `latest` are the jobs by id.
    """
    by_need: dict[str, list[JobRow]] = {}
    for row in latest.values():
        if row.outcome is Outcome.SKIPPED and row.spec.id not in again:
            for need in row.spec.needs:
                by_need.setdefault(need.job, []).append(row)

    again, todo, found = set(again), list(again), []
    while todo:
        for row in by_need.get(todo.pop(), ()):
            if row.spec.id not in again and all(may_be_met(need, latest, again) for need in row.spec.needs):
                again.add(row.spec.id)
                todo.append(row.spec.id)
                found.append(row)
    return found


def kind_of(selector: str) -> str:
    """Return `all`, `state`, `priority`, `tag`, `glob`, or `id` for a selector that only that id can match."""
    kind, colon, _ = selector.partition(":")
    if colon and kind in _KINDS:
        return kind
    return "all" if selector == "all" else "glob" if has_wildcard(selector) else "id"


def similar_ids(selectors: Iterable[str]) -> Callable[[str], object] | None:
    """Return a function that tells whether an id matches one of the globs; None if no selector is a glob."""
    globs = [selector for selector in selectors if kind_of(selector) == "glob"]
    return re.compile("|".join(map(translate, globs))).match if globs else None


def _meaning(patterns: Sequence[str]) -> Callable[[str, str, str, tuple[str, ...]], object]:
    """Return a function that tells whether a job with this id, state, priority and tags is matched."""
    if "all" in patterns:
        return lambda *_subject: True
    words = {kind: {s[len(kind) + 1 :] for s in patterns if s.startswith(f"{kind}:")} for kind in _KINDS}
    like = similar_ids(patterns)
    states, priorities, all_tags = words["state"], words["priority"], words["tag"]

    def means(job_id: str, state: str, priority: str, tags: tuple[str, ...]) -> object:
        return (
            (like and like(job_id))
            or state in states
            or priority in priorities
            or (all_tags and not all_tags.isdisjoint(tags))
        )

    return means


def has_wildcard(text: str) -> bool:
    """Return whether the text is a glob, unless an id is exactly this text."""
    return any(sign in text for sign in "*?[")


def matching(pattern: str, ids: Iterable[str]) -> list[str]:
    """Return the ids that match the glob.

    `[` in the glob may also stand for itself, because the ids of matrix jobs contain it.
    """
    match = re.compile(f"{translate(pattern)}|{translate(pattern.replace('[', '[[]'))}").match
    return [id for id in ids if match(id)]


def select(jobs: Sequence[JobSpec], only: Sequence[str] = (), skip: Sequence[str] = ()) -> list[JobSpec]:
    """Return the jobs chosen by `only` and not excluded by `skip`, in order.

    `only` also takes what a chosen job needs, directly or not. `skip` also excludes jobs that need a skipped
    job, directly or not.

    Raises:
        UserError: A selector matches no job.
    """
    kept = {job.id for job in jobs}
    if only:
        kept = _with_needs(jobs, _chosen(jobs, only, "--only"))
    if skip:
        kept -= _with_dependents(jobs, _chosen(jobs, skip, "--skip"))
    return [job for job in jobs if job.id in kept]


def _chosen(jobs: Sequence[JobSpec], selectors: Sequence[str], option: str) -> set[str]:
    chosen: set[str] = set()
    for selector in selectors:
        found = _selected(jobs, selector, option)
        if not found:
            from difflib import get_close_matches  # loaded for an error only

            close = (
                []
                if len(selector) > 200
                else get_close_matches(selector, [job.id for job in jobs[:10_000]], 1)
            )
            meant = f" (did you mean `{close[0]}`?)" if close else ""
            raise UserError(f"{option}: no job matches {quoted(selector)}{meant}")
        chosen.update(found)
    return chosen


def _selected(jobs: Sequence[JobSpec], selector: str, option: str) -> list[str]:
    ids = [job.id for job in jobs]
    if selector in ids:
        return [selector]
    _, _, word = selector.partition(":")
    match kind_of(selector):
        case "tag":
            return [job.id for job in jobs if word in job.tags]
        case "priority":
            try:
                level = priority(word)
            except InvalidValue as wrong:
                raise UserError(f"{option}: {wrong}") from None
            return [job.id for job in jobs if job.priority == level]
        case "all":
            return ids
    if combinations := [id for id in ids if id.startswith(f"{selector}[") and id.endswith("]")]:
        return combinations
    return matching(selector, ids) if has_wildcard(selector) else []


def _with_needs(jobs: Sequence[JobSpec], chosen: set[str]) -> set[str]:
    return _closure(chosen, {job.id: [need.job for need in job.needs] for job in jobs if job.needs})


def _with_dependents(jobs: Sequence[JobSpec], chosen: set[str]) -> set[str]:
    dependents: dict[str, list[str]] = {}
    for job in jobs:
        for need in job.needs:
            dependents.setdefault(need.job, []).append(job.id)
    return _closure(chosen, dependents)


def _closure(start: set[str], edges: dict[str, list[str]]) -> set[str]:
    """Return the nodes that can be reached from `start` along the edges."""
    reached = set(start)
    todo = list(start)
    while todo:
        for id in edges.get(todo.pop(), ()):
            if id not in reached:
                reached.add(id)
                todo.append(id)
    return reached
