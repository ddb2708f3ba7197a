# SPDX-License-Identifier: LGPL-3.0-or-later
"""stdout and stderr of commands that print facts about runs: coloured for a terminal, else plain."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import NamedTuple

from pqrun.core.errors import InternalFailure
from pqrun.core.layout import cells, cut, cut_middle, pad, wrap
from pqrun.output.writer import StreamWriter
from pqrun.ui.terminal import Style, wants_colour


class Console:
    """stdout for the answer, stderr for notes. `width`: the terminal's columns, else None."""

    def __init__(self) -> None:
        self.out = StreamWriter(1, "standard output")
        self.err = StreamWriter(2, "standard error")
        self.is_terminal = self.out.is_terminal
        self.paint = Style(on=wants_colour("auto", terminal=self.is_terminal, environment=os.environ))
        self.width = _columns() if self.is_terminal else None

    def say(self, text: str) -> None:
        """Print one or more lines to stdout."""
        self.out.say(text)

    def wrapped(self, text: str, indent: str = "") -> list[str]:
        """Return the text as lines, broken at words for a terminal."""
        return [text] if self.width is None else wrap(text, self.width, indent)

    def painted(self, text: str, *styled: tuple[str, str], base: str = "", indent: str = "") -> list[str]:
        """Return the text as lines, wrapped for a terminal, with each of these parts of it in a style."""
        lines = []
        for line in self.wrapped(text, indent):
            pieces = [(line, base)]
            for part, style in styled:
                pieces = [piece for text, own in pieces for piece in _split(text, own, part, style, base)]
            lines.append("".join(self.paint(style, text) for text, style in pieces))
        return lines

    def note(self, text: str) -> None:
        """Print a message to stderr that is not a part of the answer."""
        self.err.note(text)

    def end(self) -> None:
        """Raise `InternalFailure` if a write failed. A reader that closed its pipe is no failure."""
        if self.out.failure:
            raise InternalFailure(self.out.failure)


def _split(text: str, own: str, part: str, style: str, base: str) -> list[tuple[str, str]]:
    if not part or own != base or part not in text:  # the files of a queue are an empty text
        return [(text, own)]
    before, _, after = text.partition(part)
    return [(before, own), (part, style), (after, own)]


class Column(NamedTuple):
    """A column of a table. `right`: whether its cells end at the same place. `drop`: the place among the columns
    that are left out, the lowest first, if the table is too wide; None: never.
    """

    title: str
    right: bool = False
    drop: int | None = None


class Cell(NamedTuple):
    """The text of a cell, its style, and how many of its first letters are bold."""

    text: str
    style: str = ""
    bold: int = 0


MIN_LAST_CELLS, MIN_WIDEST_CELLS = 20, 24
"""The widths from which columns are left out instead of cutting the last column, and the widest one."""
_GAP = "  "


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    page: Console,
    *,
    middle: Collection[str] = (),
    last_cells: int = MIN_LAST_CELLS,
) -> list[str]:
    """Return the lines of a table, with a line of titles.

    On a terminal the last column takes what the others leave, and the columns with the lowest `drop` are left
    out while that is less than `last_cells`. A cell of the columns in `middle` is cut in the middle, any other at its end.
    """
    sizes = [
        max([cells(column.title), *(cells(row[at].text) for row in rows)])
        for at, column in enumerate(columns)
    ]
    shown = list(range(len(columns)))
    if page.width is not None:
        _make_fit(columns, sizes, shown, page.width, last_cells)
    heads = [Cell(column.title, "dim underline") for column in columns]
    lines = []
    for row in (heads, *rows):
        parts = []
        for at in shown:
            text, style, bold = row[at]
            if page.width is not None:
                text = (cut_middle if columns[at].title in middle else cut)(text, sizes[at])
            if at != shown[-1] or columns[at].right or (row is heads and page.width is not None):
                text = pad(text, sizes[at], right=columns[at].right)
            parts.append(page.paint(f"bold {style}", text[:bold]) + page.paint(style, text[bold:]))
        gap = page.paint("dim underline", _GAP) if row is heads else _GAP
        lines.append(gap.join(parts).rstrip())
    return lines


def _make_fit(columns: Sequence[Column], sizes: list[int], shown: list[int], width: int, least: int) -> None:
    """Leave out columns in `shown`, and change the sizes, until the table is at most `width` cells wide."""
    last = shown[-1]
    enough = min(sizes[last], least)
    droppable = sorted((place, at) for at, column in enumerate(columns) if (place := column.drop) is not None)

    def taken() -> int:
        return sum(sizes[at] for at in shown if at != last) + len(_GAP) * (len(shown) - 1)

    widest = max((at for at in shown if at != last), key=lambda at: sizes[at])
    cut_away = max(0, sizes[widest] - MIN_WIDEST_CELLS)
    for _, at in droppable:
        if taken() - cut_away + enough <= width:
            break
        if at != widest:
            shown.remove(at)
    if (over := taken() + enough - width) > 0:
        sizes[widest] = max(8, sizes[widest] - over)
    sizes[last] = max(1, width - taken())


def _columns() -> int:
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80
