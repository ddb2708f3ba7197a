# SPDX-License-Identifier: LGPL-3.0-or-later
"""The live table at one moment, as lines: a pure function of facts and the window's size.

Columns fall away at 110, 80 and 56 columns, sections at 40, 24 and 16 rows. The last column of the
window stays free, so that no line ever wraps.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions
from rich.segment import Segment

from pqrun.display import sections, tables
from pqrun.display.cells import MIDDLE, NARROW, STYLES, Brush, Line
from pqrun.display.facts import Facts

TALL, USUAL, LOW = 40, 24, 16
LEAST_ROWS = 4
MOST_FAILURES = {TALL: 6, USUAL: 3}


class Frame:
    """A renderable that yields its segments itself: laid out already, so it costs little to show."""

    def __init__(self, lines: list[Line], width: int) -> None:
        self.lines = lines
        self.width = width

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterable[Segment]:
        last = len(self.lines) - 1
        for number, line in enumerate(self.lines):
            for text, style in line.within(self.width):
                yield Segment(text, STYLES[style])
            if number != last:
                yield Segment.line()

    def __str__(self) -> str:
        return "\n".join("".join(text for text, _ in line.within(self.width)).rstrip() for line in self.lines)

    def painted(self, brush: Brush) -> list[str]:
        """The same for a terminal, without the detour over segments."""
        return [brush.text(line.within(self.width)) for line in self.lines]


def room(rows: int) -> int:
    """How many rows of the window the table may take: some are left for what jobs print."""
    return max(1, rows - max(2, rows // 5))


def most_running(rows: int) -> int:
    """More running jobs than this are never shown in a window of so many rows."""
    return max(1, room(rows) - LEAST_ROWS)


def most_failures(rows: int) -> int:
    """As many failures are shown at most."""
    return MOST_FAILURES[TALL] if rows >= TALL else MOST_FAILURES[USUAL] if rows >= USUAL else 0


def frame(facts: Facts, columns: int, rows: int) -> Frame:
    """The table for a window of that size."""
    width = max(1, columns - 1)
    budget = room(rows)
    apart = rows >= USUAL
    top = [sections.header(facts, width), sections.progress(facts, width), sections.counts(facts, width)]
    foot = [sections.footer(facts, width)] if rows >= LOW - 4 else []
    middle = [sections.help(width)]
    if not facts.help:
        middle = _middle(facts, width, rows, budget - len(foot), apart=apart)
    lines = _spread([top, *middle, foot], apart=apart)
    if len(lines) > budget:
        lines = lines[: budget - len(foot)] + foot if budget > len(foot) else lines[:budget]
    return Frame(lines, width)


def _middle(facts: Facts, width: int, rows: int, budget: int, *, apart: bool) -> list[list[Line]]:
    """Running jobs first, then failures, then numbers in as many words as there is room for."""
    gap = 1 if apart else 0
    left = budget - LEAST_ROWS + 1 - gap * 2
    wanted = max(len(facts.running) + bool(facts.more_running), facts.reserve, 1)
    failures = facts.failures[: most_failures(rows)]
    failing = len(failures) + 1 + gap if failures else 0
    brief = [sections.brief_numbers(facts, width)] if rows >= LOW and width >= NARROW else []
    full = sections.numbers(facts, width) if rows >= USUAL and width >= MIDDLE else []
    fits = wanted + 1 + failing + len(full) + gap <= left
    numbers = full if full and fits else brief
    left -= len(numbers) + (gap if numbers else 0)
    while failing and left - failing < min(wanted, LEAST_ROWS) + 1:
        failures = failures[:-1]
        failing = len(failures) + 1 + gap if failures else 0
    left -= failing
    running = tables.running(facts, width, max(1, min(wanted, left - 1)))
    return [running, tables.failures(failures, width) if failures else [], numbers]


def _spread(blocks: list[list[Line]], *, apart: bool) -> list[Line]:
    """All lines; with blank ones between the blocks where there is room."""
    lines: list[Line] = []
    for block in blocks:
        if block and lines and apart:
            lines.append(Line())
        lines += block
    return lines
