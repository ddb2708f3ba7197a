# SPDX-License-Identifier: LGPL-3.0-or-later
"""The needs of jobs: read as expressions, resolved among all jobs, and checked for cycles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Final, NamedTuple

from pqrun.core.field_types import NEEDED
from pqrun.core.job import Need
from pqrun.core.job_fields import FieldSpec
from pqrun.core.selectors import has_wildcard, matching
from pqrun.core.text import quoted
from pqrun.input.jobfile.node_reader import NodeReader
from pqrun.input.jobfile.source_text import Mark, Node

MAX_PATTERNS: Final = 1_000
MAX_MATCHES: Final = 1_000_000
_SHOWN: Final = 20


class NeedExpr(NamedTuple):
    """A need as its file describes it: an id or a pattern, the condition, and the place."""

    what: str
    when: str
    at: Mark


def need_expr(reader: NodeReader, key: FieldSpec, node: Node) -> tuple[NeedExpr, ...]:
    """Read the value of a `needs`."""
    if not isinstance(node.value, dict):
        return tuple(NeedExpr(text, "ok", item.mark) for item, text in reader.texts(node))
    found: list[NeedExpr] = []
    for when, items in ((node.merged or {}) | node.value).items():
        if when not in NEEDED:
            hint = "write `{ended: [a]}`, `{failed: [a]}` or just `[a]`"
            reader.report(items.key or items, f"unknown key {quoted(when)}", hint)
        else:
            found += [NeedExpr(text, when, item.mark) for item, text in reader.texts(items)]
    return tuple(found)


Say = Callable[[Mark, str, str], None]


class NeedResolver:
    """Resolver of needs among `ids`; `bases` lists the jobs into which a job was expanded."""

    def __init__(self, ids: Sequence[str], bases: Mapping[str, Sequence[str]]) -> None:
        self._ids = ids
        self._known = frozenset(ids)
        self._bases = bases
        self._patterns: dict[str, list[str]] = {}
        self._room = MAX_MATCHES
        self._hints = _SHOWN

    def found(self, wanted: Sequence[NeedExpr], by: str, say: Say) -> tuple[Need, ...]:
        """Return the needs of the job `by`, each once. Problems are passed to `say`."""
        if len(wanted) == 1 and wanted[0].what in self._known:  # most jobs
            return (Need(wanted[0].what, wanted[0].when),)
        needs: dict[Need, None] = {}
        for one in wanted:
            for id in self._named(one, by, say):
                needs[Need(id, one.when)] = None
        return tuple(needs)

    def _named(self, one: NeedExpr, by: str, say: Say) -> Sequence[str]:
        if one.what in self._known:
            return (one.what,)
        if one.what in self._bases:
            return self._counted(self._bases[one.what], one, say)
        if has_wildcard(one.what):
            if one.what not in self._patterns and len(self._patterns) == MAX_PATTERNS:
                say(one.at, f"more than {MAX_PATTERNS:,} patterns in `needs`", "name the jobs")
                return ()
            if one.what not in self._patterns:
                self._patterns[one.what] = matching(one.what, self._ids)
            found = [id for id in self._patterns[one.what] if id != by] if self._room > 0 else []
            if found or self._room <= 0:
                return self._counted(found, one, say)
            say(
                one.at,
                f"no job matches the need {quoted(one.what)}",
                "it is a pattern: `*` matches any characters",
            )
            return ()
        say(one.at, f"unknown need {quoted(one.what)}", self._meant(one.what))
        return ()

    def _meant(self, what: str) -> str:
        self._hints -= 1  # a search through all ids is slow, and only a few hints are shown
        close: list[str] = []
        if self._hints >= 0 and len(what) <= 200:
            close = get_close_matches(what, (*self._bases, *self._ids[:10_000]), 1)
        return f"did you mean {quoted(close[0])}?" if close else "no job has this id"

    def _counted(self, found: Sequence[str], one: NeedExpr, say: Say) -> Sequence[str]:
        self._room -= len(found)
        if self._room > 0:
            return found
        say(
            one.at,
            f"patterns in `needs` that match more than {MAX_MATCHES:,} jobs",
            "put a job in between",
        )
        return ()


def cycles(needs: Mapping[str, Sequence[Need]]) -> list[list[str]]:
    """Return the cycles of needs, each from its first job round to that job again.

    `graphlib` would find one cycle only, and would take twice the time for 100,000 jobs without a cycle.
    """
    found: list[list[str]] = []
    state: dict[str, int] = {}  # 1: on the current path, 2: done
    for start in needs:
        if start in state:
            continue
        path = [start]
        state[start] = 1
        todo = [iter(needs[start])]
        while todo:
            need = next(todo[-1], None)
            if need is None:
                todo.pop()
                state[path.pop()] = 2
            elif state.get(need.job) == 1:
                found.append([*path[path.index(need.job) :], need.job])
                if len(found) == _SHOWN:
                    return found
            elif need.job not in state and need.job in needs:
                state[need.job] = 1
                path.append(need.job)
                todo.append(iter(needs[need.job]))
    return found


def format_cycle(ids: Sequence[str]) -> str:
    """Format a cycle as one line, `a -> c -> b -> a`, without the middle of a long cycle."""
    if len(ids) > _SHOWN:
        ids = [*ids[: _SHOWN // 2], f"… {len(ids) - _SHOWN} more …", *ids[-_SHOWN // 2 :]]
    return " -> ".join(ids)
