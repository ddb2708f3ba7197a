# SPDX-License-Identifier: LGPL-3.0-or-later
"""The tree of a YAML or JSON file: small nodes that know their place; every scalar stays a text.

The tree is built from libyaml's events. libyaml's composer is not used, because it crashes on deep nesting.
Depth and the expansion of aliases are limited while reading. The entries of the top-level key `jobs` are
handed over one by one as they end, and not kept: 100,000 of them never exist as nodes at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn

import yaml

from pqrun.core.text import quoted, shorten
from pqrun.input.jobfile.problems import Problem, Problems
from pqrun.input.jobfile.source_text import Node, SourceText
from pqrun.input.jobfile.yaml_errors import translated

try:
    from yaml import _yaml
except ImportError:  # PyYAML was built without libyaml: its own parser works too, but slowly
    _yaml = None  # type: ignore[assignment]


def events(file: SourceText) -> Iterator[Any]:
    """Yield the parser's events. Raises yaml.YAMLError where the text can't be parsed."""
    data = file.readable()
    if _yaml is None:
        if file.is_json:  # unlike libyaml, this parser rejects tabs between JSON's tokens
            data = re.sub(rb"(?m)^[\t ]+", lambda found: b" " * len(found.group()), data)
        return _checked(yaml.parse(data, yaml.Loader))
    return iter(_yaml.CParser(data).get_event, None)


def _checked(found: Iterator[Any]) -> Iterator[Any]:
    """Yield the same events, but reject halves of surrogate pairs, as libyaml does."""
    for event in found:
        value = getattr(event, "value", "")
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            message = "found invalid Unicode character escape code"
            raise yaml.scanner.ScannerError(None, None, message, event.start_mark)
        yield event


MAX_DEPTH: Final = 40
MAX_EXPANDED_NODES: Final = 1_000_000  # for aliases, in addition to 20 for each node of the file


Visit = Callable[[Node | None, Node], None]


class _Stop(Exception):
    """Signal that reading can't continue; the problem has been added."""


class _Frame:
    """A list or a map that has not ended."""

    __slots__ = ("anchor", "before", "is_map", "key", "merges", "node", "visited")

    def __init__(self, node: Node, anchor: str | None, before: int, visited: bool) -> None:
        self.node = node
        self.is_map = isinstance(node.value, dict)
        self.key: Any = None  # the event of a key whose value has not been read yet
        self.anchor = anchor
        self.before = before  # the number of nodes before this list or map
        self.visited = visited  # whether its entries are handed over instead of kept
        self.merges: list[Node] = []


class YamlTree:
    """Reader of one document: `read` returns its top node, or None if the text can't be read.

    `visit` is called with the key and the node of each entry of `jobs`.
    """

    def __init__(self, file: SourceText, problems: Problems, visit: Visit) -> None:
        self._file = file
        self._problems = problems
        self._visit = visit
        self._stack: list[_Frame] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._nodes = 0  # the number of nodes, including those that aliases stand for
        self._expanded = 0  # the number of nodes that aliases stand for
        self._top: Node | None = None
        self._suspects: list[Problem] = []  # added at the end, unless a worse mistake ends the reading
        self.jobs: Node | None = None  # the value of `jobs` whose entries were handed over

    def read(self) -> Node | None:
        """Return the top node, or None if the text is not YAML; the problem is added then."""
        try:
            self._read()
        except yaml.YAMLError as wrong:
            self._problems.add(translated(wrong, self._file))
            return None
        except _Stop:
            return None
        for problem in self._suspects:
            self._problems.add(problem)
        return self._top or Node("", True, None)

    def _read(self) -> None:
        stack, frame, scalar = self._stack, None, yaml.ScalarEvent
        for event in events(self._file):
            kind = type(event)
            if kind is scalar:  # nearly all events, so this path has to be fast
                self._nodes += 1
                mark, plain = event.start_mark, not event.style
                odd = event.tag is not None or event.anchor or (plain and event.end_mark.line > mark.line)
                if odd or frame is None or not frame.is_map:
                    node = Node(event.value, plain, mark)
                    if odd:
                        self._look_at(event, node)
                    self._add(node, event)
                elif frame.key is None:
                    frame.key = event
                else:
                    node = Node(event.value, plain, mark)
                    node.named, frame.key = frame.key, None
                    self._put(frame, node)
                continue
            if kind is yaml.MappingStartEvent:
                self._open(event, {})
            elif kind is yaml.SequenceStartEvent:
                self._open(event, [])
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self._close()
            elif kind is yaml.AliasEvent:
                self._alias(event)
            elif kind is yaml.DocumentStartEvent and self._top is not None:
                hint = "a file has one document: remove the `---`, or split the file"
                self._stop(event, "several documents", hint)
            frame = stack[-1] if stack else None

    def _look_at(self, event: Any, node: Node) -> None:
        """Check a scalar that has a tag, an anchor or several lines."""
        self._refuse_tag(event, node)
        if event.anchor:
            self._anchors[event.anchor] = node, 1
        if node.plain:
            self._look_at_lines(node, event.end_mark.line + 1)

    def _open(self, event: Any, value: list[Node] | dict[str, Node]) -> None:
        node = Node(value, False, event.start_mark)
        self._refuse_tag(event, node)
        if len(self._stack) >= MAX_DEPTH:
            self._stop(
                event,
                f"nesting deeper than {MAX_DEPTH} levels",
                "put strings that contain brackets in quotes",
            )
        visited = False
        if len(self._stack) == 1 and not event.anchor:
            top = self._stack[0]
            visited = top.key is not None and top.key.value == "jobs" and "jobs" not in top.node.value
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
        name = event.anchor
        if name not in self._anchors:
            if any(frame.anchor == name for frame in self._stack):
                self._stop(event, f"the alias {quoted('*' + name)} contains itself", "remove it")
            hint = f"define it first with `&{shorten(name)}`; a string that begins with `*` needs quotes"
            self._stop(event, f"the alias {quoted('*' + name)} is not defined", hint)
        target, size = self._anchors[name]
        node = Node(target.value, target.plain, event.start_mark)
        node.merged = target.merged
        self._nodes += size
        self._expanded += size
        if self._expanded > MAX_EXPANDED_NODES + 20 * (self._nodes - self._expanded):
            self._stop(
                event, f"aliases that expand to more than {MAX_EXPANDED_NODES:,} values", "write them out"
            )
        self._add(node)

    def _add(self, node: Node, event: Any = None) -> None:
        """Put a complete node into its list or map. `event` is given for a text, which may be a key."""
        if not self._stack:
            self._top = node
            return
        frame = self._stack[-1]
        value = frame.node.value
        if type(value) is list:
            if frame.visited:
                value[:] = (node,)  # one node is enough to know that the list is not empty
                self._visit(None, node)
            else:
                value.append(node)
        elif frame.key is not None:
            node.named, frame.key = frame.key, None
            self._put(frame, node)
        elif event is not None:
            frame.key = event
        else:
            what = "an alias" if isinstance(node.value, str) else node.what
            hint = "keys are strings; put strings that begin with `[`, `{` or `*` in quotes"
            self._stop(node, f"{what} as a key", hint)

    def _put(self, frame: _Frame, node: Node) -> None:
        name = node.named.value
        entries: dict[str, Node] = frame.node.value  # type: ignore[assignment]
        if name == "<<" and not node.named.style:
            frame.merges.append(node)
        elif name in entries:
            line = entries[name].place_of_key.line
            self._problem(
                node.place_of_key, f"duplicate key {quoted(name)}", f"the other one is on line {line}"
            )
        elif frame.visited:
            entries[name] = Node("", True, node.named.start_mark)  # keeps the place for a duplicate key
            self._visit(node.key, node)
        else:
            entries[name] = node

    def _merge(self, frame: _Frame) -> None:
        node = frame.node
        assert isinstance(node.value, dict)
        if len(frame.merges) > 1:
            hint = "name several maps in a list: `<<: [*a, *b]`"
            self._problem(frame.merges[1].place_of_key, "duplicate key `<<`", hint)
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
            tag = quoted(event.tag.replace("tag:yaml.org,2002:", "!!"))
            self._problem(node, f"a tag: {tag}", "remove it; a command that begins with `!` needs quotes")

    def _look_at_lines(self, node: Node, last: int) -> None:
        """Find lines that were meant as entries but became part of the text above them."""
        for number in range(node.line + 1, last + 1):
            line = self._file.line(number)
            text = line.lstrip(" ")
            column = len(line) - len(text) + 1
            if text.startswith("\t"):
                self._suspect(number, column, "a tab as indentation", "indent with spaces")
            elif text.startswith("- ") or text.rstrip() == "-":
                hint = f"align it with its list, or, if it belongs to the string on line {node.line}, quote this string"
                self._suspect(number, column, "a list item that is indented too far", hint)

    def _suspect(self, line: int, column: int, message: str, hint: str) -> None:
        self._suspects.append(Problem(self._file.rank, line, column, message, hint))

    def _problem(self, node: Node, message: str, hint: str) -> None:
        self._problems.add(Problem(self._file.rank, node.line, node.column, message, hint))

    def _stop(self, at: Any, message: str, hint: str) -> NoReturn:
        """Add a problem at a node or an event, and raise _Stop."""
        node = at if isinstance(at, Node) else Node("", True, at.start_mark)
        self._problem(node, message, hint)
        raise _Stop
