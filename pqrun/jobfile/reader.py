# SPDX-License-Identifier: LGPL-3.0-or-later
"""Nodes to texts and entries, with what can be wrong with any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Final, TypeVar

from pqrun.jobfile import values
from pqrun.jobfile.keys import ELSEWHERE, JOB, TOP, Key, by_spelling
from pqrun.jobfile.node import Node
from pqrun.jobfile.problems import Problem, Problems
from pqrun.jobfile.text import Text
from pqrun.jobfile.values import Unfit, quoted

T = TypeVar("T")

_OF_JOBS: Final = by_spelling(JOB)
_OF_TOP: Final = by_spelling(TOP)
EXPECTED: Final = {
    "run": "a text or a list of texts", "env": "a map of variables", "needs": "ids", "duration": "a duration",
    "priority": "a priority", "signal": "a signal", "truth": "true or false", "slots": "a number",
    "retries": "a number", "policy": "a number or a map", "factor": "a number", "fraction": "a number",
    "max_queue": "a number", "wants": "pools", "tags": "a list of texts", "codes": "a list of codes",
    "exits": "a list of exit codes", "workers": "a number of workers", "pools": "a map of pools",
    "shell": "a text or a list of texts", "matrix": "a map of axes", "defaults": "a map",
}  # fmt: skip


class Reader:
    """Reads one file's nodes. What can't be had is `None`, and the problem is added."""

    def __init__(self, file: Text, problems: Problems) -> None:
        self.file = file
        self.problems = problems

    def say(self, node: Node, message: str, hint: str = "") -> None:
        """Adds a problem with a node's place."""
        self.problems.add(Problem(self.file.rank, node.line, node.column, message, hint))

    def say_of(self, node: Node, what: str, cure: str = "") -> None:
        """Adds a problem with a value; its key is named as it was written."""
        self.say(node, f"{quoted(written(node))}: {what}" if node.key else what, cure)

    def unexpected(self, key: Key, node: Node) -> None:
        """Adds that a value is of the wrong kind."""
        cure = f"write `{example(key, node)}`"
        if isinstance(node.value, dict) and self.file.line(node.line)[node.column - 1 :][:1] == "{":
            cure = "a text that begins with `{` needs quotes"
        self.say_of(node, f"expected {EXPECTED.get(key.kind, 'a text')}, found {node.what}", cure)

    def text(self, key: Key | None, node: Node) -> str | None:
        """A text as it was written; `key` is None where any text will do."""
        text = node.value
        if not isinstance(text, str):
            if key:
                self.unexpected(key, node)
            else:
                self.say_of(node, f"expected a text, found {node.what}", "put it in quotes if it is a text")
        elif node.plain and text in values.NULLS:
            cure = f"write `{example(key, node)}`, or leave it out" if key else 'write `""` for an empty text'
            self.say_of(node, f"nothing (unquoted `{text}`)" if text else "nothing", cure)
        elif "\0" in text:
            self.say_of(node, "a NUL character", "take it out")
        else:
            return text
        return None

    def texts(self, node: Node) -> list[tuple[Node, str]]:
        """A list of texts, or one for a list of one."""
        items = node.value if isinstance(node.value, list) else [node]
        return [(item, text) for item in items if (text := self.text(None, item)) is not None]

    def converted(self, node: Node, convert: Callable[[str], T], text: str) -> T | None:
        """What `convert` makes of the text."""
        try:
            return convert(text)
        except Unfit as wrong:
            self.say_of(node, wrong.what, wrong.cure)
        return None

    def entries(self, node: Node, known: Mapping[str, Key]) -> Iterator[tuple[Key, Node]]:
        """The entries of a map with their keys, each once; adds what is unknown or there twice."""
        assert isinstance(node.value, dict)
        seen: dict[str, Node] = {}
        for name, value in node.value.items():
            key = known.get(name)
            if key is None:
                self.unknown(value, known)
            elif key.name in seen:
                first = quoted(written(seen[key.name]))
                self.say(
                    key_of(value),
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

    def unknown(self, value: Node, known: Mapping[str, Key]) -> None:
        """Adds that a key is unknown, and what may have been meant."""
        if known is _OF_TOP and written(value).startswith("x-"):
            return
        name = written(value)
        self.say(
            key_of(value), f"unknown key {quoted(name)}", "" if self.problems.many else _meant(name, known)
        )


def key_of(value: Node) -> Node:
    """The key of an entry's value, or where there is none, the value."""
    return value.key or value


def written(value: Node) -> str:
    """The key of an entry's value as it was written."""
    return str(key_of(value).value)


def example(key: Key, node: Node) -> str:
    """How the entry would be right."""
    return f"{written(node) if node.key else key.name}: {key.example}"


def _meant(name: str, known: Mapping[str, Key]) -> str:
    lower = name.lower().replace("-", "_").strip()
    if lower in known:
        return f"did you mean `{lower}`?"
    other = ELSEWHERE.get(name.lower(), ELSEWHERE.get(lower, ""))
    if other in known:
        return f"here it is called `{other}`"
    if close := get_close_matches(lower, known, 1):
        return f"did you mean `{close[0]}`?"
    if known is not _OF_JOBS and name in _OF_JOBS and "jobs" in known:
        return "that is for a job; for every job, put it under `defaults:`"
    if known is _OF_JOBS and name in _OF_TOP:
        return "that is for the whole file: put it at the top, without indentation"
    return f"known here: {', '.join(dict.fromkeys(key.name for key in known.values()))}"
