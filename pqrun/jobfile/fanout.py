# SPDX-License-Identifier: LGPL-3.0-or-later
"""One job of a file that becomes many: a matrix's combinations, and `for` each file, line or value."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

from pqrun.characters import escaped, exact
from pqrun.jobfile.fields import Fields
from pqrun.jobfile.keys import LOOP, Key, by_spelling
from pqrun.jobfile.matrix import MOST_IN_FILE, Combination, label
from pqrun.jobfile.node import Mark, Node
from pqrun.jobfile.problems import Problem, Problems
from pqrun.jobfile.text import Text
from pqrun.jobfile.values import quoted

_NAMES: Final = {"glob": "FILE", "lines": "LINE", "values": "VALUE"}
_LOOP: Final = by_spelling(LOOP)
_PATHS: Final = ("creates", "stdin", "cwd")
_LONGEST_ID: Final = 200
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?:(%%?|##?)([^{}]*))?\})")


class Loop(NamedTuple):
    """Once for each of some values, which become the variable `name`."""

    kind: str
    what: str | tuple[str, ...]
    name: str
    at: Mark


def loop(fields: Fields, key: Key, node: Node) -> Loop | None:
    """What a `for` asks for."""
    if not isinstance(node.value, dict):
        fields.unexpected(key, node)
        return None
    found = fields.layer(node, _LOOP)
    kinds = [kind for kind in _NAMES if kind in found]
    if len(kinds) != 1:
        if kinds or not fields.problems.count:
            fields.say_of(
                node, "expected one of `glob`, `lines` and `values`", f"write `{key.name}: {key.example}`"
            )
        return None
    kind = kinds[0]
    return Loop(kind, found[kind], found.get("as", _NAMES[kind]), node.mark)


class FanOut:
    """Which combinations the jobs of all files stand for; each file and pattern is looked at once."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._known: dict[tuple[str, str, str], tuple[str, ...]] = {}

    @property
    def reads(self) -> tuple[str, ...]:
        """The files whose lines were read."""
        return tuple(
            os.path.join(directory, what) for kind, what, directory in self._known if kind == "lines"
        )

    def combinations(
        self, matrix: Sequence[Combination] | None, loop: Loop | None, directory: str, file: Text
    ) -> Sequence[Combination | None]:
        """Of one job that starts in `directory`; only `None`: it is just itself."""
        if loop is None:
            return matrix or (None,)
        values = self._values(loop, directory, file)
        return [(*one, (loop.name, value)) for one in matrix or ((),) for value in values]

    def _values(self, loop: Loop, directory: str, file: Text) -> Sequence[str]:
        if isinstance(loop.what, tuple):
            return loop.what
        if "$" in directory:  # it depends on the value
            directory = ""
        key = loop.kind, loop.what, directory
        if key not in self._known:
            found = self._matching if loop.kind == "glob" else self._lines
            self._known[key] = found(loop, directory, file)
        return self._known[key]

    def _matching(self, loop: Loop, directory: str, file: Text) -> tuple[str, ...]:
        from glob import iglob

        assert isinstance(loop.what, str)
        found = sorted(iglob(loop.what, root_dir=directory or None, recursive=True))
        if not found:
            self._warn(loop, file, f"no file for the pattern {quoted(loop.what)}")
        return self._bounded(found, loop, file)

    def _lines(self, loop: Loop, directory: str, file: Text) -> tuple[str, ...]:
        assert isinstance(loop.what, str)
        try:
            with open(os.path.join(directory, loop.what), "rb") as lines:
                data = lines.read()
        except OSError as error:
            self._say(
                loop, file, f"cannot read {quoted(loop.what)}: {(error.strerror or str(error)).lower()}"
            )
            return ()
        if b"\0" in data:
            self._say(loop, file, f"{quoted(loop.what)} holds a NUL character")
            return ()
        texts = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape").split("\n")
        found = [text for line in texts if (text := line.removesuffix("\r")).strip()]
        if not found:
            self._warn(loop, file, f"no line in {quoted(loop.what)}")
        return self._bounded(found, loop, file)

    def _bounded(self, found: Sequence[str], loop: Loop, file: Text) -> tuple[str, ...]:
        """Each value once, if they aren't too many."""
        if len(found) > MOST_IN_FILE:
            hint = "a list of commands, or `pqrun each`, may be of any length"
            self._say(loop, file, f"{len(found):,} values; at most {MOST_IN_FILE:,}", hint)
            return ()
        return tuple(dict.fromkeys(found))

    def _say(self, loop: Loop, file: Text, what: str, hint: str = "") -> None:
        self._problems.add(_problem(loop, file, what, hint))

    def _warn(self, loop: Loop, file: Text, what: str) -> None:
        self._problems.warn(_problem(loop, file, what, "so the job does not run"))


def _problem(loop: Loop, file: Text, what: str, hint: str) -> Problem:
    node = Node("", True, loop.at)
    return Problem(file.rank, node.line, node.column, f"`for`: {what}", hint)


def derived_id(base: str, combination: Combination, taken: Container[str]) -> str:
    """The id of a job for one combination, whatever its values are: printable, and not too long.

    Where it is cut short, or different values would look alike, a digest tells them apart.
    """
    text = escaped(base + label(combination))
    if len(text) <= _LONGEST_ID and text not in taken:
        return text
    from hashlib import sha256

    digest = sha256(exact("\0".join((base, *(part for pair in combination for part in pair))))).hexdigest()[
        :8
    ]
    return f"{text[:-1][: _LONGEST_ID - 10]}…{digest}]"


def with_paths(own: Mapping[str, Any], below: Mapping[str, Any], combination: Combination) -> dict[str, Any]:
    """A job's own values with its combination's variables put into its paths."""
    found = dict(own)
    values = dict(combination)
    for key in _PATHS:
        path = own.get(key, below.get(key))
        if path is not None and "$" in path:
            found[key] = _VARIABLE.sub(lambda at: _filled(at, values), path)
    return found


def _filled(found: re.Match[str], values: Mapping[str, str]) -> str:
    """As a shell would: `$NAME`, `${NAME}`, `${NAME%.*}`, `${NAME##*/}`; others are left alone."""
    value = values.get(found[1] or found[2])
    if value is None:
        return found.group()
    cut, pattern = found[3], found[4]
    places = range(len(value) + 1)
    match cut:
        case "%" | "%%":
            ends = places if cut == "%%" else reversed(places)
            return next((value[:at] for at in ends if fnmatchcase(value[at:], pattern)), value)
        case "#" | "##":
            begins = reversed(places) if cut == "##" else places
            return next((value[at:] for at in begins if fnmatchcase(value[:at], pattern)), value)
        case _:
            return value
