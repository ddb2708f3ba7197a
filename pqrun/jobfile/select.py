# SPDX-License-Identifier: LGPL-3.0-or-later
"""Part of the jobs by selectors: an id, a pattern, `all`, `priority:low`, `tag:x`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import translate

from pqrun.errors import UserError
from pqrun.jobfile.values import Unfit, priority, quoted
from pqrun.model import JobSpec


def is_glob(text: str) -> bool:
    """Whether it is a pattern."""
    return any(sign in text for sign in "*?[")


def matching(pattern: str, ids: Iterable[str]) -> list[str]:
    """The ids that a pattern stands for. `[` may also mean itself: the ids of matrix jobs hold it."""
    match = re.compile(f"{translate(pattern)}|{translate(pattern.replace('[', '[[]'))}").match
    return [id for id in ids if match(id)]


def select(jobs: Sequence[JobSpec], only: Sequence[str] = (), skip: Sequence[str] = ()) -> list[JobSpec]:
    """The jobs that are left, in their order.

    What a chosen job needs comes along; what needs a skipped job is skipped too.
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
            close = (
                []
                if len(selector) > 200
                else get_close_matches(selector, [job.id for job in jobs[:10_000]], 1)
            )
            meant = f" (did you mean `{close[0]}`?)" if close else ""
            raise UserError(f"{option}: no job is {quoted(selector)}{meant}")
        chosen.update(found)
    return chosen


def _selected(jobs: Sequence[JobSpec], selector: str, option: str) -> list[str]:
    ids = [job.id for job in jobs]
    if selector in ids:
        return [selector]
    kind, colon, word = selector.partition(":")
    if colon and kind == "tag":
        return [job.id for job in jobs if word in job.tags]
    if colon and kind == "priority":
        try:
            level = priority(word)
        except Unfit as wrong:
            raise UserError(f"{option}: {wrong}") from None
        return [job.id for job in jobs if job.priority == level]
    if selector == "all":
        return ids
    if combinations := [id for id in ids if id.startswith(f"{selector}[") and id.endswith("]")]:
        return combinations
    return matching(selector, ids) if is_glob(selector) else []


def _with_needs(jobs: Sequence[JobSpec], chosen: set[str]) -> set[str]:
    return _closure(chosen, {job.id: [need.job for need in job.needs] for job in jobs if job.needs})


def _with_dependents(jobs: Sequence[JobSpec], chosen: set[str]) -> set[str]:
    dependents: dict[str, list[str]] = {}
    for job in jobs:
        for need in job.needs:
            dependents.setdefault(need.job, []).append(job.id)
    return _closure(chosen, dependents)


def _closure(start: set[str], edges: dict[str, list[str]]) -> set[str]:
    reached = set(start)
    todo = list(start)
    while todo:
        for id in edges.get(todo.pop(), ()):
            if id not in reached:
                reached.add(id)
                todo.append(id)
    return reached
