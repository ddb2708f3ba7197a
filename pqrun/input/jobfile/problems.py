# SPDX-License-Identifier: LGPL-3.0-or-later
"""What is wrong with a job file: all of it, each thing with its place and its cure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

from pqrun.core.errors import UserError
from pqrun.core.values import printable

SHOWN: Final = 20
_MAX_KEPT: Final = 1000  # a file with more is not one that anybody mends line by line
_MAX_WIDTH: Final = 160


class Problem(NamedTuple):
    """`line` and `column` count from 1; line 0 is the file as a whole. `rank` is the file's."""

    rank: int
    line: int
    column: int
    message: str
    hint: str = ""
    kind: str = "error"


class HasLines(Protocol):
    """What a problem's place is shown from."""

    name: str

    def line(self, number: int) -> str:
        """The text of a line, counted from 1."""


class JobFileError(UserError):
    """Carries all `problems`; as a text it is complete: to be shown as it is, without a prefix."""

    def __init__(self, problems: tuple[Problem, ...], text: str) -> None:
        super().__init__(text)
        self.problems = problems


class Problems:
    """Collects problems and warnings of one or more files, each known by its rank."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}  # an anchored mistake is one, however often it is used
        self.count = 0
        self._warnings: dict[Problem, None] = {}

    def add(self, problem: Problem) -> None:
        """One more; a repeated one is the same."""
        if problem not in self._found:
            self.count += 1
            if len(self._found) < _MAX_KEPT:
                self._found[problem] = None

    def warn(self, problem: Problem) -> None:
        """Something that is no error but may not be meant."""
        if len(self._warnings) < SHOWN:
            self._warnings[problem._replace(kind="warning")] = None

    @property
    def any(self) -> bool:
        """Whether there is anything to be said."""
        return bool(self._found or self._warnings)

    @property
    def many(self) -> bool:
        """Whether there are so many that the cost of a hint is wasted."""
        return len(self._found) >= _MAX_KEPT

    def warnings(self, sources: Mapping[int, HasLines]) -> tuple[str, ...]:
        """Each warning as it is to be shown."""
        return tuple(rendered(problem, sources[problem.rank]) for problem in self._warnings)

    def error(self, sources: Mapping[int, HasLines]) -> JobFileError:
        """All problems in the order of their places, the first twenty of them shown."""
        found = sorted(self._found)
        shown = [rendered(problem, sources[problem.rank]) for problem in found[:SHOWN]]
        if self.count > SHOWN:
            shown.append(f"and {self.count - SHOWN} more")
        return JobFileError(tuple(found), "\n".join(shown))


def rendered(problem: Problem, source: HasLines) -> str:
    """The problem with the line it is about, a caret, and the hint."""
    name, message = printable(source.name), printable(problem.message)
    if not problem.line:
        lines = [f"{name}: {problem.kind}: {message}"]
    else:
        text, caret = _window(source.line(problem.line), problem.column - 1)
        lines = [
            f"{name}:{problem.line}:{problem.column}: {problem.kind}: {message}",
            f"{problem.line:5} | {text}".rstrip(),
            f"{'':{max(5, len(str(problem.line)))}} | {caret}^",
        ]
    if problem.hint:
        lines.append(f"  hint: {printable(problem.hint)}")
    return "\n".join(lines)


def _window(line: str, column: int) -> tuple[str, str]:
    """The part of a line around a column, fit for a terminal, and what stands below it up to there."""
    begin = max(0, column - _MAX_WIDTH // 2) if len(line) > _MAX_WIDTH else 0
    part = line[begin : begin + _MAX_WIDTH]
    text = "".join(c if c.isprintable() or c == "\t" else "�" for c in part)
    below = "".join(_blank(c) for c in text[: column - begin])
    if begin:
        text, below = "…" + text, " " + below
    return text + ("…" if begin + _MAX_WIDTH < len(line) else ""), below


def _blank(character: str) -> str:
    if character == "\t":
        return "\t"
    from unicodedata import east_asian_width

    return "  " if east_asian_width(character) in "WF" else " "
