# SPDX-License-Identifier: LGPL-3.0-or-later
"""JSON to nodes in a fraction of the time that YAML's reader takes for it.

Only for files without a mistake: its nodes know no place but the line of a job. Whatever is odd, if
only a duplicate key, is `Unplain`: then YAML's reader has to say what it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from json import JSONDecoder, decoder
from typing import Any, Final, NamedTuple, NoReturn

from pqrun.input.jobfile.source_text import Node, SourceText

_SPACE = re.compile(r"[ \t\n\r]*")
_HALVES = re.compile(rb"\\u[dD][89a-fA-F]")
_scan_text: Callable[[str, int, bool], tuple[str, int]] = vars(decoder)["scanstring"]
_WORDS: Final = {True: "true", False: "false", None: "null"}


class Unplain(Exception):
    """Not for this reader."""


class _Line(NamedTuple):
    """The place of a job, counted from 0 like libyaml's."""

    line: int
    column: int = 0


_NOWHERE: Final = _Line(0)


class _Number(str):
    """A number as it was written."""


class JsonTree:
    """As `nodes.Tree`: hands over the entries of `jobs` one by one, and gives the top node."""

    def __init__(self, file: SourceText, visit: Callable[[Node | None, Node], None]) -> None:
        self.jobs: Node | None = None
        self._file = file
        self._visit = visit
        self._line = 0
        self._counted = 0
        self._text = ""
        reader: Any = JSONDecoder(
            object_pairs_hook=_map, parse_int=_Number, parse_float=_Number, parse_constant=_unplain
        )
        self._scan: Callable[[str, int], tuple[Any, int]] = reader.scan_once

    def read(self) -> Node:
        """The top node; Unplain if it can't be had this way."""
        if _HALVES.search(self._file.data):
            raise Unplain
        self._text = self._file.data.decode()
        entries: dict[str, Node] = {}
        try:
            at = self._entries(self._skip(0), lambda name, at: self._top(entries, name, at))
        except (ValueError, StopIteration, RecursionError, IndexError):
            raise Unplain from None
        if self._skip(at) != len(self._text):
            raise Unplain
        return Node(entries, False, _NOWHERE)

    def _top(self, entries: dict[str, Node], name: str, at: int) -> int:
        """One entry of the file; where it ends."""
        if name in entries or name.startswith("x-"):
            raise Unplain
        if name != "jobs":
            value, at = self._scan(self._text, at)
            entries[name] = _node(value)
            return at
        one = Node("", True, _NOWHERE)  # enough to know that there was one
        if self._text[at] == "{":
            names: dict[str, Node] = {}
            at = self._entries(at, lambda name, at: self._job(names, name, at))
            self.jobs = entries[name] = Node(names, False, _NOWHERE)
            return at
        count = 0
        at = self._open(at, "[")
        while self._text[at] != "]":
            if count:
                at = self._skip(self._after(at, ","))
            line = self._line_of(at)
            value, at = self._scan(self._text, at)
            node = _node(value)
            node.mark = line
            self._visit(None, node)
            count += 1
            at = self._skip(at)
        self.jobs = entries[name] = Node([one] if count else [], False, _NOWHERE)
        return at + 1

    def _job(self, names: dict[str, Node], name: str, at: int) -> int:
        """One job of a map of them."""
        if name in names:
            raise Unplain
        line = self._line_of(at)
        value, at = self._scan(self._text, at)
        node = _node(value)
        node.mark = line
        names[name] = node
        self._visit(Node(name, False, line), node)
        return at

    def _entries(self, at: int, entry: Callable[[str, int], int]) -> int:
        """Goes through a map; where it ends."""
        at = self._open(at, "{")
        first = True
        while self._text[at] != "}":
            if not first:
                at = self._skip(self._after(at, ","))
            name, at = _scan_text(self._text, self._after(at, '"'), True)
            at = self._skip(entry(name, self._skip(self._after(self._skip(at), ":"))))
            first = False
        return at + 1

    def _open(self, at: int, sign: str) -> int:
        return self._skip(self._after(at, sign))

    def _after(self, at: int, sign: str) -> int:
        if self._text[at] != sign:
            raise Unplain
        return at + 1

    def _skip(self, at: int) -> int:
        found = _SPACE.match(self._text, at)
        assert found is not None
        return found.end()

    def _line_of(self, at: int) -> _Line:
        self._line += self._text.count("\n", self._counted, at)
        self._counted = at
        return _Line(self._line)


def _map(pairs: list[tuple[str, Any]]) -> Node:
    entries = {name: _node(value) for name, value in pairs}
    if len(entries) < len(pairs):
        raise Unplain
    return Node(entries, False, _NOWHERE)


def _node(value: Any) -> Node:
    kind = type(value)
    if kind is str:
        return Node(value, False, _NOWHERE)
    if kind is Node:
        return value  # type: ignore[no-any-return]
    if kind is list:
        return Node([_node(item) for item in value], False, _NOWHERE)
    return Node(str(value) if kind is _Number else _WORDS[value], True, _NOWHERE)


def _unplain(_word: str) -> NoReturn:
    raise Unplain
