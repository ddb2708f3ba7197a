# SPDX-License-Identifier: LGPL-3.0-or-later
"""The problems of job files, collected so that all are reported at once, each with its place and cure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

from pqrun.core.errors import UserError
from pqrun.core.values import printable

SHOWN: Final = 20
_MAX_KEPT: Final = 1000  # more problems are never fixed line by line
_MAX_WIDTH: Final = 160


class Problem(NamedTuple):
    """A problem and its place: `line` and `column` count from 1, line 0 is the file as a whole.

    `rank` is the number of the file among the files that were given.
    """

    rank: int
    line: int
    column: int
    message: str
    hint: str = ""
    kind: str = "error"


class HasLines(Protocol):
    """A source whose lines can be shown with a problem."""

    name: str

    def line(self, number: int) -> str:
        """Return the text of a line, counted from 1."""


class JobFileError(UserError):
    """Error that carries all `problems`. Show its text as it is, without a prefix."""

    def __init__(self, problems: tuple[Problem, ...], text: str) -> None:
        super().__init__(text)
        self.problems = problems


class Problems:
    """Collection of the problems and warnings of one or more files, each file known by its rank."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}  # a mistake at an anchor counts once, despite its aliases
        self.count = 0
        self._warnings: dict[Problem, None] = {}

    def add(self, problem: Problem) -> None:
        """Add a problem. Equal problems count once."""
        if problem not in self._found:
            self.count += 1
            if len(self._found) < _MAX_KEPT:
                self._found[problem] = None

    def warn(self, problem: Problem) -> None:
        """Add a warning about text that is valid but may not be intended."""
        if len(self._warnings) < SHOWN:
            self._warnings[problem._replace(kind="warning")] = None

    @property
    def any(self) -> bool:
        """Whether there is a problem or a warning."""
        return bool(self._found or self._warnings)

    @property
    def many(self) -> bool:
        """Whether there are too many problems for another hint to be worth its cost."""
        return len(self._found) >= _MAX_KEPT

    def warnings(self, sources: Mapping[int, HasLines]) -> tuple[str, ...]:
        """Return each warning as text to show."""
        return tuple(rendered(problem, sources[problem.rank]) for problem in self._warnings)

    def error(self, sources: Mapping[int, HasLines]) -> JobFileError:
        """Return an error with all problems, sorted by place; its text shows the first twenty."""
        found = sorted(self._found)
        shown = [rendered(problem, sources[problem.rank]) for problem in found[:SHOWN]]
        if self.count > SHOWN:
            shown.append(f"and {self.count - SHOWN} more")
        return JobFileError(tuple(found), "\n".join(shown))


def rendered(problem: Problem, source: HasLines) -> str:
    """Return a problem as text: the message, the line with a caret, and the hint."""
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
    """Return the part of a line around a column that fits a terminal, and the blanks up to the caret."""
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
