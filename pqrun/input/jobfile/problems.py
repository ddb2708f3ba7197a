# SPDX-License-Identifier: LGPL-3.0-or-later
"""The problems of job files, collected so that all are reported at once, each with its place and cure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from pqrun.core.errors import UserError
from pqrun.core.layout import Layout, cells, cells_of, cut_around, wrap
from pqrun.core.text import printable, shorten

SHOWN: Final = 20
_MAX_KEPT: Final = 1000  # more problems are never fixed line by line
_MAX_WIDTH: Final = 160
_TAB: Final = "    "
_QUOTED: Final = re.compile("`([^`]+)`")
_WORD: Final = re.compile(r"""'[^']*'?|"[^"]*"?|[^\s,:\[\]{}#'"]+""")


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
    """Error that carries all `problems`. Show its text as it is, without a prefix.

    `count`: the number of all problems, also of those that are not kept. `files`: the files that have them.
    """

    def __init__(
        self, problems: tuple[Problem, ...], text: str, count: int, sources: Mapping[int, HasLines]
    ) -> None:
        super().__init__(text)
        self.problems = problems
        self.count = count
        self.files = tuple(dict.fromkeys(printable(sources[one.rank].name) for one in problems))
        self._sources = sources

    def shown(self, layout: Layout | None) -> list[str]:
        """Return the first problems as lines: laid out for a terminal, or as they are."""
        if layout is None:
            return str(self).split("\n")
        lines: list[str] = []
        for problem in self.problems[:SHOWN]:
            lines += [*on_screen(problem, self._sources[problem.rank], layout), ""]
        return [*lines, f"and {self.count - SHOWN} more", ""] if self.count > SHOWN else lines


def closing(errors: Sequence[JobFileError], layout: Layout | None) -> list[str]:
    """Return the last line below all problems: their number, and that they kept all jobs from running."""
    count = sum(error.count for error in errors)
    files = list(dict.fromkeys(file for error in errors for file in error.files))
    where = files[0] if len(files) == 1 else f"{len(files)} files"
    number = f"{count} error{'' if count == 1 else 's'}"
    if layout is None:
        return [f"{number} in {where}; nothing was run"]
    lines = wrap(f"{number} in {where}; nothing was run", layout.width)
    return [lines[0].replace(number, layout.paint("bold red", number), 1), *lines[1:]]


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
        return JobFileError(tuple(found), "\n".join(shown), self.count, sources)


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


def on_screen(problem: Problem, source: HasLines, layout: Layout) -> list[str]:
    """Return a problem as lines for a terminal, with carets under the whole word that is wrong."""
    width, paint = layout
    style = "bold red" if problem.kind == "error" else "bold yellow"
    place = printable(source.name)
    if problem.line:
        place += f":{problem.line}:{problem.column}"
    kind = f"{problem.kind}:"
    # The words are painted after the text is wrapped, because colours have no width.
    lines = wrap(f"{place}: {kind} {printable(problem.message)}", width, "  ")
    painted = []
    for line in lines:
        before, found, after = line.partition(kind) if kind and kind in line else (line, "", "")
        painted.append(paint("bold", before) + paint(style, found) + paint("bold", after))
        kind = "" if found else kind
    if problem.line:
        painted += _source_lines(problem, source.line(problem.line), style, layout)
    if problem.hint:
        painted += [
            paint("green", line) for line in wrap(f"  hint: {printable(problem.hint)}", width, " " * 8)
        ]
    return painted


def _source_lines(problem: Problem, line: str, style: str, layout: Layout) -> list[str]:
    """Return the line with a problem, cut around the wrong word, and the carets below that word."""
    width, paint = layout
    gutter = f"{problem.line:5} │"
    begin = problem.column - 1
    size = _length_of_word(line[begin:], problem.message)
    before, word, after = (
        _printed(part) for part in (line[:begin], line[begin : begin + size], line[begin + size :])
    )
    room = max(10, width - len(gutter) - 1)
    text, begin, end = cut_around(before + word + after, len(before), len(before) + len(word), room)
    blanks, carets = " " * cells(text[:begin]), "^" * max(1, cells(text[begin:end]))
    shown = text[:begin] + paint(style, text[begin:end]) + text[end:].rstrip()
    below = f"{'':{len(gutter) - 1}}│"
    return [
        f"{paint('blue', gutter)} {shown}".rstrip(),
        f"{paint('blue', below)} {blanks}{paint(style, carets)}",
    ]


def _length_of_word(text: str, message: str) -> int:
    """Return how many characters at the beginning of the text are wrong: the word that the message quotes, if
    it stands there, else the first word.
    """
    for word in reversed(_QUOTED.findall(message)):
        for written in (word, f'"{word}"', f"'{word}'"):
            if text.startswith(written):
                return len(written)
    found = _WORD.match(text)
    return len(found.group()) if found else 1


def _printed(text: str) -> str:
    """Return the text as a terminal can show it, with blanks for each TAB."""
    return "".join(_TAB if c == "\t" else c if c.isprintable() else "�" for c in text)


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
    return " " * cells_of(character)


def in_quotes(key: str, text: str) -> str:
    """Return the hint to put a text in quotes, because YAML reads it as another type."""
    value = shorten(text.strip(), 80).replace("'", "''")
    return f"put the string in quotes: `{key}'{value}'`"
