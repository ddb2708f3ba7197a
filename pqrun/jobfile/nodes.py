# SPDX-License-Identifier: LGPL-3.0-or-later
"""YAML and JSON to small nodes that know their place; every scalar stays the text that it is.

Built from libyaml's events, never by its composer, which crashes on deep nesting. Depth and what
aliases stand for are limited while reading. The entries of the top-level key `jobs` are handed
over one by one as they end and not kept: 100,000 of them never exist as nodes at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import yaml

from pqrun.jobfile.mistakes import translated
from pqrun.jobfile.node import Node
from pqrun.jobfile.problems import Problem, Problems
from pqrun.jobfile.text import Text
from pqrun.jobfile.values import quoted
from pqrun.jobfile.yamlevents import events

DEEPEST: Final = 40
MOST_EXPANDED: Final = 1_000_000  # nodes that aliases stand for, beside 20 for each node of the file


Visit = Callable[[Node | None, Node], None]


class _Stop(Exception):
    """Reading can't go on; the problem has been added."""


class _Frame:
    """A list or map that has not ended."""

    __slots__ = ("anchor", "before", "is_map", "key", "merges", "node", "visited")

    def __init__(self, node: Node, anchor: str | None, before: int, visited: bool) -> None:
        self.node = node
        self.is_map = isinstance(node.value, dict)
        self.key: Node | None = None
        self.anchor = anchor
        self.before = before  # how many nodes there were
        self.visited = visited  # whether its entries are handed over
        self.merges: list[Node] = []


class Tree:
    """Reads one document: `read` gives its top node, or None if it can't be had."""

    def __init__(self, file: Text, problems: Problems, visit: Visit) -> None:
        self._file = file
        self._problems = problems
        self._visit = visit
        self._stack: list[_Frame] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._nodes = 0  # with what aliases stand for
        self._expanded = 0  # that part of it
        self._top: Node | None = None
        self._suspects: list[Problem] = []  # to be told unless a worse mistake explains them
        self.jobs: Node | None = None  # the value of `jobs` whose entries were handed over

    def read(self) -> Node | None:
        """The top node; None if the text is not YAML, and the problem says why."""
        try:
            self._read()
        except yaml.YAMLError as wrong:
            self._problems.add(translated(wrong, self._file))
            return None
        except _Stop:
            return None
        for problem in self._suspects:
            self._problems.add(problem)
        return self._top or Node("", True, 0, 0)

    def _read(self) -> None:
        add, stack, scalar = self._add, self._stack, yaml.ScalarEvent
        for event in events(self._file):
            kind = type(event)
            if kind is scalar:
                mark = event.start_mark
                node = Node(event.value, not event.style, mark.line + 1, mark.column + 1)
                self._nodes += 1
                if event.tag is not None or event.anchor or event.end_mark.line > mark.line:
                    self._look_at(event, node)
                if stack and stack[-1].key is None and stack[-1].is_map:
                    stack[-1].key = node
                else:
                    add(node)
            elif kind is yaml.MappingStartEvent:
                self._open(event, {})
            elif kind is yaml.SequenceStartEvent:
                self._open(event, [])
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self._close()
            elif kind is yaml.AliasEvent:
                self._alias(event)
            elif kind is yaml.DocumentStartEvent and self._top is not None:
                hint = "one file holds one document: take out the `---`, or make it two files"
                self._stop(event.start_mark.line + 1, event.start_mark.column + 1, "several documents", hint)

    def _look_at(self, event: Any, node: Node) -> None:
        """A scalar with a tag, with an anchor, or of several lines."""
        self._refuse_tag(event, node)
        if event.anchor:
            self._anchors[event.anchor] = node, 1
        if node.plain:
            self._look_at_lines(node, event.end_mark.line + 1)

    def _open(self, event: Any, value: list[Node] | dict[str, Node]) -> None:
        mark = event.start_mark
        node = Node(value, False, mark.line + 1, mark.column + 1)
        self._refuse_tag(event, node)
        if len(self._stack) >= DEEPEST:
            hint = "put text that holds brackets in quotes"
            self._stop(node.line, node.column, f"nesting deeper than {DEEPEST} levels", hint)
        frame = self._stack[-1] if self._stack else None
        visited = (
            len(self._stack) == 1
            and frame is not None
            and frame.key is not None
            and frame.key.value == "jobs"
            and "jobs" not in frame.node.value
            and not event.anchor
        )
        self._stack.append(_Frame(node, event.anchor, self._nodes, visited))
        self._nodes += 1

    def _close(self) -> None:
        frame = self._stack.pop()
        node = frame.node
        if frame.merges:
            self._merge(frame)
        if frame.anchor:
            self._anchors[frame.anchor] = node, self._nodes - frame.before
        if frame.visited:
            self.jobs = node
        self._add(node)

    def _alias(self, event: Any) -> None:
        mark = event.start_mark
        line, column = mark.line + 1, mark.column + 1
        if event.anchor not in self._anchors:
            inside = any(frame.anchor == event.anchor for frame in self._stack)
            what = f"the alias `*{event.anchor}` " + ("contains itself" if inside else "stands for nothing")
            known = f"name it before by `&{event.anchor}`; a text that begins with `*` needs quotes"
            self._stop(line, column, what, "take it out" if inside else known)
        target, size = self._anchors[event.anchor]
        node = Node(target.value, target.plain, line, column)
        node.merged = target.merged
        self._nodes += size
        self._expanded += size
        if self._expanded > MOST_EXPANDED + 20 * (self._nodes - self._expanded):
            self._stop(line, column, f"aliases that expand to more than {MOST_EXPANDED:,} values", "write them out")
        self._add(node)

    def _add(self, node: Node) -> None:
        if not self._stack:
            self._top = node
            return
        frame = self._stack[-1]
        value = frame.node.value
        if type(value) is list:
            if frame.visited:
                value[:] = (node,)  # enough to know that there was one
                self._visit(None, node)
            else:
                value.append(node)
        elif frame.key is None:
            if type(node.value) is not str:
                hint = "keys are texts; put text that begins with `[` or `{` in quotes"
                self._stop(node.line, node.column, f"{node.what} as a key", hint)
            frame.key = node
        else:
            node.key, frame.key = frame.key, None
            self._put(frame, value, node, node.key)  # type: ignore[arg-type]

    def _put(self, frame: _Frame, value: dict[str, Node], node: Node, key: Node) -> None:
        name = key.value
        assert isinstance(name, str)
        if name == "<<" and key.plain:
            frame.merges.append(node)
        elif name in value:
            first = value[name].key
            assert first is not None
            self._problem(key, f"duplicate key {quoted(name)}", f"it is on line {first.line} already")
        elif frame.visited:
            value[name] = key.key = key  # enough to find it again
            self._visit(key, node)
        else:
            value[name] = node

    def _merge(self, frame: _Frame) -> None:
        node = frame.node
        assert isinstance(node.value, dict)
        if len(frame.merges) > 1:
            self._problem(
                frame.merges[1].key, "duplicate key `<<`", "name several maps in a list: `<<: [*a, *b]`"
            )
        merged: dict[str, Node] = {}
        given = frame.merges[0]
        for source in given.value if isinstance(given.value, list) else [given]:
            if not isinstance(source.value, dict):
                self._problem(source, f"`<<` expects a map, found {source.what}", "write `<<: *name`")
                continue
            for below in (source.value, source.merged or {}):
                for name, entry in below.items():
                    if name not in node.value:
                        merged.setdefault(name, entry)
        if frame.visited:
            for name, entry in merged.items():
                node.value[name] = entry
                self._visit(entry.key, entry)
        else:
            node.merged = merged

    def _refuse_tag(self, event: Any, node: Node) -> None:
        if event.tag is not None:
            shown = event.tag if len(event.tag) < 60 else event.tag[:59] + "…"
            short = shown.replace("tag:yaml.org,2002:", "!!")
            self._problem(
                node, f"a tag: `{short}`", "take it out; a command that begins with `!` needs quotes"
            )

    def _look_at_lines(self, node: Node, last: int) -> None:
        """Finds lines that were meant to be entries and became part of the text above them."""
        for number in range(node.line + 1, last + 1):
            line = self._file.line(number)
            text = line.lstrip(" ")
            column = len(line) - len(text) + 1
            if text.startswith("\t"):
                self._suspect(number, column, "a tab as indentation", "indent with spaces")
            elif text.startswith("- ") or text.rstrip() == "-":
                hint = (
                    f"align it with its list, or, if it belongs to the text on line {node.line}, quote that"
                )
                self._suspect(number, column, "a list item that is indented too far", hint)

    def _suspect(self, line: int, column: int, message: str, hint: str) -> None:
        self._suspects.append(Problem(self._file.rank, line, column, message, hint))

    def _problem(self, node: Node | None, message: str, hint: str) -> None:
        assert node is not None
        self._problems.add(Problem(self._file.rank, node.line, node.column, message, hint))

    def _stop(self, line: int, column: int, message: str, hint: str) -> None:
        self._problems.add(Problem(self._file.rank, line, column, message, hint))
        raise _Stop
