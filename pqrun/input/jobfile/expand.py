# SPDX-License-Identifier: LGPL-3.0-or-later
"""The expansion of matrices and loops into combinations of environment variables.

A matrix stands for the product of its axes, less `exclude`, plus `include`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container, ItemsView, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import product
from math import prod
from typing import Any, Final, NamedTuple

from pqrun.core import values
from pqrun.core.job_fields import LOOP_FIELDS, FieldSpec, by_spelling
from pqrun.core.text import escape_unprintable, original_bytes, quoted
from pqrun.input.jobfile.fields import FieldReader
from pqrun.input.jobfile.node_reader import NodeReader
from pqrun.input.jobfile.problems import Problem, Problems
from pqrun.input.jobfile.source_text import Mark, Node, SourceText

MAX_COMBINATIONS: Final = 10_000
MAX_COMBINATIONS_IN_FILE: Final = 100_000
MAX_EXCLUDED: Final = 1_000

Combination = tuple[tuple[str, str], ...]


def label(combination: Combination) -> str:
    """Return the suffix of a job's id for one combination."""
    return "[" + ",".join(f"{name}={value}" for name, value in combination) + "]"


class MatrixExpander:
    """Reader of one file's matrices, which also limits the number of their combinations."""

    def __init__(self, reader: NodeReader) -> None:
        self._reader = reader
        self._count = 0

    def combinations(self, key: FieldSpec, node: Node) -> tuple[Combination, ...] | None:
        """Return each combination of a matrix once, or None if there are none."""
        say = self._reader.report_of
        if not isinstance(node.value, dict):
            self._reader.unexpected(key, node)
            return None
        parts = (node.merged or {}) | node.value
        axes = {
            name: self._values(axis) for name, axis in parts.items() if name not in ("include", "exclude")
        }
        exclude = self._maps(parts.get("exclude"))
        include = self._maps(parts.get("include"))
        for where, pairs in exclude:
            for name in pairs:
                if name not in axes:
                    say(where, f"unknown axis {quoted(name)}", f"axes are: {', '.join(axes) or 'none'}")
        size = (prod(map(len, axes.values())) if axes else 0) + len(include)
        if self._is_too_large(node, size, len(exclude)):
            return None
        found = [tuple(zip(axes, chosen, strict=True)) for chosen in product(*axes.values())] if axes else []
        unwanted = [pairs.items() for _, pairs in exclude]
        kept = [one for one in found if not _holds_any(dict(one), unwanted)]
        kept += [tuple(extra.items()) for _, extra in include]
        if not kept and not all(axes.values()):
            return None  # the problem was added above
        if not kept:
            say(node, "no combination", 'write `{PY: ["3.11", "3.12"]}`')
            return None
        return tuple(dict.fromkeys(kept))

    def _is_too_large(self, node: Node, size: int, excluded: int) -> bool:
        """Count the combinations of a matrix. Return whether they exceed a limit; if so, add a problem."""
        say = self._reader.report_of
        if excluded > MAX_EXCLUDED:
            hint = "use fewer maps, each with fewer axes"
            say(node, f"more than {MAX_EXCLUDED:,} maps under `exclude`", hint)
            return True
        if size > MAX_COMBINATIONS:
            hint = f"at most {MAX_COMBINATIONS:,}: remove values, or split the job"
            say(node, f"{size:,} combinations", hint)
            return True
        self._count += size
        if self._count > MAX_COMBINATIONS_IN_FILE:
            say(node, f"more than {MAX_COMBINATIONS_IN_FILE:,} combinations in the file", "split the file")
            return True
        return False

    def _values(self, axis: Node) -> list[str]:
        self._name(axis)
        if isinstance(axis.value, dict):
            self._reader.report_of(axis, "expected a list of values, found a map", "write `[a, b]`")
            return []
        found: dict[str, None] = {}
        for item, text in self._reader.texts(axis):
            if text in found:
                self._reader.report(
                    item, f"the value {quoted(text)} again", "list each value of an axis once"
                )
            found[text] = None
        if not found and not axis.value:
            self._reader.report_of(axis, "an axis without values", "write `[a, b]`")
        return list(found)

    def _maps(self, node: Node | None) -> list[tuple[Node, dict[str, str]]]:
        """Return the maps under `include` or `exclude`, with their nodes."""
        if node is None:
            return []
        found = []
        for item in node.value if isinstance(node.value, list) else [node]:
            if not isinstance(item.value, dict) or not item.value:
                self._reader.report_of(item, "expected a list of maps", 'write `[{PY: "3.11"}]`')
                continue
            pairs: dict[str, str] = {}
            for name, value in ((item.merged or {}) | item.value).items():
                self._name(value)
                text = self._reader.text(None, value)
                if text is not None:
                    pairs[name] = text
            found.append((item, pairs))
        return found

    def _name(self, value: Node) -> None:
        key = value.place_of_key
        self._reader.converted(key, values.variable, str(key.value))


def _holds_any(combination: dict[str, str], unwanted: Sequence[ItemsView[str, str]]) -> bool:
    pairs = combination.items()
    return any(one <= pairs for one in unwanted)


_NAMES: Final = {"glob": "FILE", "lines": "LINE", "values": "VALUE"}
_LOOP: Final = by_spelling(LOOP_FIELDS)
_PATHS: Final = ("creates", "stdin", "cwd")
_MAX_ID_LENGTH: Final = 200
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?:(%%?|##?)([^{}]*))?\})")


class LoopSpec(NamedTuple):
    """A loop as its file describes it: the job runs once per value, which becomes the variable `name`."""

    kind: str
    what: str | tuple[str, ...]
    name: str
    at: Mark


def loop(fields: FieldReader, key: FieldSpec, node: Node) -> LoopSpec | None:
    """Read the value of a `for`."""
    if not isinstance(node.value, dict):
        fields.unexpected(key, node)
        return None
    found = fields.layer(node, _LOOP)
    kinds = [kind for kind in _NAMES if kind in found]
    if len(kinds) != 1:
        if kinds or not fields.problems.count:
            fields.report_of(
                node, "expected one of `glob`, `lines` and `values`", f"write `{key.name}: {key.example}`"
            )
        return None
    kind = kinds[0]
    return LoopSpec(kind, found[kind], found.get("as", _NAMES[kind]), node.mark)


class LoopExpander:
    """Expander of the jobs of all files into combinations. Each file and each pattern is read once."""

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
        self, matrix: Sequence[Combination] | None, loop: LoopSpec | None, directory: str, file: SourceText
    ) -> Sequence[Combination | None]:
        """Return the combinations of a job that starts in `directory`; `(None,)` for a job without any."""
        if loop is None:
            return matrix or (None,)
        values = self._values(loop, directory, file)
        return [(*one, (loop.name, value)) for one in matrix or ((),) for value in values]

    def _values(self, loop: LoopSpec, directory: str, file: SourceText) -> Sequence[str]:
        if isinstance(loop.what, tuple):
            return loop.what
        if "$" in directory:  # the directory depends on the loop's value, so it is not known yet
            directory = ""
        key = loop.kind, loop.what, directory
        if key not in self._known:
            found = self._matching if loop.kind == "glob" else self._lines
            self._known[key] = found(loop, directory, file)
        return self._known[key]

    def _matching(self, loop: LoopSpec, directory: str, file: SourceText) -> tuple[str, ...]:
        from glob import iglob

        assert isinstance(loop.what, str)
        found = sorted(iglob(loop.what, root_dir=directory or None, recursive=True))
        if not found:
            self._warn(loop, file, f"no file matches the pattern {quoted(loop.what)}")
        return self._bounded(found, loop, file)

    def _lines(self, loop: LoopSpec, directory: str, file: SourceText) -> tuple[str, ...]:
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

    def _bounded(self, found: Sequence[str], loop: LoopSpec, file: SourceText) -> tuple[str, ...]:
        """Return each value once; add a problem if there are too many."""
        if len(found) > MAX_COMBINATIONS_IN_FILE:
            hint = "a list of commands, or `pqrun each`, may be of any length"
            self._say(loop, file, f"{len(found):,} values; at most {MAX_COMBINATIONS_IN_FILE:,}", hint)
            return ()
        return tuple(dict.fromkeys(found))

    def _say(self, loop: LoopSpec, file: SourceText, what: str, hint: str = "") -> None:
        self._problems.add(_problem(loop, file, what, hint))

    def _warn(self, loop: LoopSpec, file: SourceText, what: str) -> None:
        self._problems.warn(_problem(loop, file, what, "so this job runs zero times"))


def _problem(loop: LoopSpec, file: SourceText, what: str, hint: str) -> Problem:
    node = Node("", True, loop.at)
    return Problem(file.rank, node.line, node.column, f"`for`: {what}", hint)


def derived_id(base: str, combination: Combination, taken: Container[str]) -> str:
    """Return a job's id for one combination: printable and not too long, whatever the values are.

    A digest keeps ids apart that were cut short, or that look alike although the values differ.
    """
    text = escape_unprintable(base + label(combination))
    if len(text) <= _MAX_ID_LENGTH and text not in taken:
        return text
    from hashlib import sha256

    digest = sha256(
        original_bytes("\0".join((base, *(part for pair in combination for part in pair))))
    ).hexdigest()[:8]
    return f"{text[:-1][: _MAX_ID_LENGTH - 10]}…{digest}]"


def with_paths(own: Mapping[str, Any], below: Mapping[str, Any], combination: Combination) -> dict[str, Any]:
    """Return a job's own values with the combination's variables inserted into its paths."""
    found = dict(own)
    values = dict(combination)
    for key in _PATHS:
        path = own.get(key, below.get(key))
        if path is not None and "$" in path:
            found[key] = _VARIABLE.sub(lambda at: _filled(at, values), path)
    return found


def _filled(found: re.Match[str], values: Mapping[str, str]) -> str:
    """Expand `$NAME`, `${NAME}`, `${NAME%.*}` and `${NAME##*/}` as a shell does.

    Variables that the combination does not have stay as they are.
    """
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
