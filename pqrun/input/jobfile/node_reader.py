# SPDX-License-Identifier: LGPL-3.0-or-later
"""The reading of texts and map entries from nodes, with the problems that any node can have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Final, TypeVar

from pqrun.core import values
from pqrun.core.job_fields import (
    FOREIGN_NAMES,
    HOOK_FIELDS,
    JOB_FIELDS,
    RETRY_FIELDS,
    TOP_LEVEL_FIELDS,
    FieldSpec,
    by_spelling,
)
from pqrun.core.text import quoted
from pqrun.core.values import InvalidValue
from pqrun.input.jobfile.problems import Problem, Problems
from pqrun.input.jobfile.source_text import Node, SourceText

T = TypeVar("T")

_OF_JOBS: Final = by_spelling(JOB_FIELDS)
_OF_TOP: Final = by_spelling(TOP_LEVEL_FIELDS)
_OF_HOOKS: Final = by_spelling(HOOK_FIELDS)
_OF_RETRIES: Final = {name: field for field in RETRY_FIELDS[1:] for name in (field.flat_name, field.name)}
_TEXTS: Final = ("run", "path", "id", "shell")


class NodeReader:
    """Reader of one file's nodes. A wrong value becomes None, and the problem is added."""

    def __init__(self, file: SourceText, problems: Problems) -> None:
        self.file = file
        self.problems = problems

    def report(self, node: Node, message: str, hint: str = "") -> None:
        """Add a problem with a node's place."""
        self.problems.add(Problem(self.file.rank, node.line, node.column, message, hint))

    def report_of(self, node: Node, what: str, cure: str = "") -> None:
        """Add a problem with a value, and name its key as it was written."""
        self.report(node, f"{quoted(written(node))}: {what}" if node.key else what, cure)

    def warn(self, node: Node, message: str, hint: str) -> None:
        """Add a warning with a node's place."""
        self.problems.warn(Problem(self.file.rank, node.line, node.column, message, hint))

    def unexpected(self, key: FieldSpec, node: Node) -> None:
        """Add the problem that a value is empty or of the wrong kind."""
        cure = f"write `{example(key, node)}`"
        if is_null(node):
            self.report_of(
                node, _nothing(node), cure if key.type.name == "run" else f"{cure}, or leave it out"
            )
            return
        if key.type.name in _TEXTS and isinstance(node.value, dict) and self.text_at(node).startswith("{"):
            cure = "a string that begins with `{` needs quotes"
        self.report_of(node, f"expected {key.type.expected}, found {node.what}", cure)

    def text_at(self, node: Node) -> str:
        """Return the rest of a node's line, from the node on."""
        return self.file.line(node.line)[node.column - 1 :]

    def text(self, key: FieldSpec | None, node: Node) -> str | None:
        """Return a node's text as it was written. `key` is None where any text is allowed."""
        text = node.value
        if isinstance(text, str) and not is_null(node):
            if "\0" not in text:
                return text
            self.report_of(node, "a NUL character", "remove it")
        elif key:
            self.unexpected(key, node)
        elif isinstance(text, str):
            self.report_of(node, _nothing(node), 'write `""` for an empty string')
        else:
            self.report_of(
                node, f"expected a string, found {node.what}", "put it in quotes if it is a string"
            )
        return None

    def texts(self, node: Node) -> list[tuple[Node, str]]:
        """Return a list of texts with their nodes; a single text counts as a list of one."""
        items = node.value if isinstance(node.value, list) else [node]
        return [(item, text) for item in items if (text := self.text(None, item)) is not None]

    def converted(self, node: Node, convert: Callable[[str], T], text: str) -> T | None:
        """Return the text as converted by `convert`, or add a problem and return None."""
        try:
            return convert(text)
        except InvalidValue as wrong:
            self.report_of(node, wrong.what, wrong.hint)
        return None

    def entries(self, node: Node, known: Mapping[str, FieldSpec]) -> Iterator[tuple[FieldSpec, Node]]:
        """Yield the keys and values of a map, each key once; add a problem for unknown and repeated keys."""
        assert isinstance(node.value, dict)
        seen: dict[str, Node] = {}
        for name, value in node.value.items():
            key = known.get(name)
            if key is None:
                self.unknown(value, known)
            elif key.name in seen:
                first = quoted(written(seen[key.name]))
                self.report(
                    value.place_of_key,
                    f"{quoted(name)} and {first} are two spellings of one key",
                    "keep one of them",
                )
            else:
                seen[key.name] = value
                yield key, value
        for name, value in (node.merged or {}).items():
            key = known.get(name)
            if key is None:
                self.unknown(value, known)
            elif key.name not in seen:
                seen[key.name] = value
                yield key, value

    def unknown(self, value: Node, known: Mapping[str, FieldSpec]) -> None:
        """Add the problem that a key is unknown, and suggest a known key."""
        if "jobs" in known and written(value).startswith("x-"):
            return
        name = written(value)
        self.report(
            value.place_of_key,
            f"unknown key {quoted(name)}",
            "" if self.problems.many else _meant(name, known),
        )


def is_null(node: Node) -> bool:
    """Return whether a node is empty, or is one of YAML's words for null."""
    return node.plain and node.value in values.NULL_WORDS


def _nothing(node: Node) -> str:
    return f"nothing (unquoted `{node.value}`)" if node.value else "nothing"


def written(value: Node) -> str:
    """Return the key of an entry's value as it was written."""
    return str(value.place_of_key.value)


def example(key: FieldSpec, node: Node) -> str:
    """Return a correct form of the entry, for a hint."""
    return f"{written(node) if node.key else key.name}: {key.example}"


def _meant(name: str, known: Mapping[str, FieldSpec]) -> str:
    lower = name.lower().replace("-", "_").strip()
    if lower in known:
        return f"did you mean `{lower}`?"
    other = FOREIGN_NAMES.get(name.lower(), FOREIGN_NAMES.get(lower, ""))
    if other in known:
        return f"pqrun calls it `{other}`"
    if "run" in known and name in _OF_JOBS:
        return "each job needs its own id"
    if "jobs" in known and name in _OF_JOBS:
        return "this is a key of jobs: to set it for all jobs, put it under `defaults:`"
    if "run" in known and name in _OF_TOP:
        return "this key is for the whole file: put it at the top level, without indentation"
    if "jobs" in known and lower in _OF_HOOKS:
        return f"put it under `hooks:`, as in `hooks: {{{lower}: {_OF_HOOKS[lower].example}}}`"
    if "retries" in known and (part := _OF_RETRIES.get(lower)):
        return f"it is a part of `retries`: `retries: {{max: 2, {part.name}: {part.example}}}`"
    close = get_close_matches(lower, known, 1) if len(lower) <= 100 else []
    if close:
        return f"did you mean `{close[0]}`?"
    return f"known keys: {', '.join(dict.fromkeys(key.name for key in known.values()))}"
