# SPDX-License-Identifier: LGPL-3.0-or-later
"""The live table at one moment, as lines: a pure function of facts and the window's size.

Columns fall away at 110, 80 and 56 columns, sections at 40, 24 and 16 rows. The last column of the
window stays free, so that no line ever wraps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

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
    """How many rows of the window the table may take.

    The rest is for what jobs print; and what a window loses when it is made smaller is not ours then.
    """
    return max(1, min(rows - 2, max(12, rows * 2 // 3)))


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
    top = [sections.header(facts, width), sections.progress(facts, width), sections.counts(facts, width)]
    foot = [sections.footer(facts, width)] if rows >= LOW - 4 else []
    middle, gap = [sections.help(width)], rows >= USUAL
    if not facts.help:
        middle, gap = _middle(facts, width, rows, budget - len(top) - len(foot))
    lines = [Line()] * (gap and rows >= TALL) + _spread([top, *middle, foot], apart=gap)
    return Frame(lines[: budget - len(foot)] + foot if len(lines) > budget > len(foot) else lines, width)


def _middle(facts: Facts, width: int, rows: int, budget: int) -> tuple[list[list[Line]], bool]:
    """Running jobs, failures and numbers: in as many words, and with as much air, as there is room for."""
    wanted = max(len(facts.running) + bool(facts.more_running), facts.reserve, 1)
    words, few, gap, left = next(_plans(facts, width, rows, budget, wanted))
    running = tables.running(facts, width, max(1, min(wanted, left)))
    failed = tables.failures(facts.failures[:few], width) if few else []
    return [running, failed, words], gap


def _plans(
    facts: Facts, width: int, rows: int, budget: int, wanted: int
) -> Iterator[tuple[list[Line], int, bool, int]]:
    """What fits, best first: numbers, how many failures, whether with air, rows for running jobs."""
    most = len(facts.failures[: most_failures(rows)])
    ways = _numbers(facts, width, rows)
    for words in map(_tell, ways):
        for gap in (True, False) if rows >= USUAL else (False,):
            left = _left(budget, words, most, rows, gap=gap)
            if left >= wanted:
                yield words, most, gap, left
    for words in map(_tell, ways[-2:]):
        for few in (2, 1, 0):
            left = _left(budget, words, min(most, few), rows, gap=False)
            if left >= min(wanted, LEAST_ROWS):
                yield words, min(most, few), False, left
    yield [], 0, False, budget - 1


def _left(budget: int, words: list[Line], failures: int, rows: int, *, gap: bool) -> int:
    """Rows for running jobs, beside their header."""
    blocks = 2 + bool(failures) + bool(words)
    air = blocks + (rows >= TALL) if gap else 0
    return budget - len(words) - (failures + 1 if failures else 0) - air - 1


def _tell(way: Callable[[], list[Line]]) -> list[Line]:
    return way()


def _numbers(facts: Facts, width: int, rows: int) -> list[Callable[[], list[Line]]]:
    """The ways to tell the numbers in a window of that size, from many words to few."""
    ways: list[Callable[[], list[Line]]] = []
    if rows >= TALL and width >= MIDDLE:
        ways.append(lambda: sections.numbers(facts, width))
    if rows >= USUAL and width >= NARROW:
        ways.append(lambda: sections.few_numbers(facts, width))
    if rows >= LOW and width >= NARROW:
        ways.append(lambda: [sections.queue_line(facts, width)])
    return ways or [list]


def _spread(blocks: list[list[Line]], *, apart: bool) -> list[Line]:
    """All lines; with blank ones between the blocks where there is room."""
    lines: list[Line] = []
    for block in blocks:
        if block and lines and apart:
            lines.append(Line())
        lines += block
    return lines
