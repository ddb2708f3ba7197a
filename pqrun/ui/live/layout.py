# SPDX-License-Identifier: LGPL-3.0-or-later
"""The layout of the live table: a pure function of its view and the window's size.

Columns disappear below 110, 80 and 56 columns, sections below 40, 24 and 16 rows. The last column of
the window stays free, so that no line wraps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from rich.console import Console, ConsoleOptions
from rich.segment import Segment

from pqrun.core.job import Outcome, Priority
from pqrun.core.metrics import CORE_METRICS, Metrics
from pqrun.core.text import format_duration
from pqrun.ui.live import layout as sections
from pqrun.ui.live import tables
from pqrun.ui.live.cells import (
    MIDDLE,
    NARROW,
    STYLES,
    WIDE,
    AnsiPainter,
    StyledLine,
    StyledText,
    bar,
    fit,
    join,
    width_of,
)
from pqrun.ui.live.state import TableView

TALL, USUAL, LOW = 40, 24, 16
MIN_ROWS = 4
MAX_FAILURES = {TALL: 6, USUAL: 3}


class LiveFrame:
    """A frame of laid out lines, which rich can render too."""

    def __init__(self, lines: list[StyledLine], width: int) -> None:
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

    def painted(self, painter: AnsiPainter) -> list[str]:
        """Return the lines for a terminal, without rich's slower rendering."""
        return [painter.text(line.within(self.width)) for line in self.lines]


def room(rows: int) -> int:
    """Return how many rows of the window the table may take.

    The other rows show the jobs' output. They are also the ones that a shrinking window pushes out.
    """
    return max(1, min(rows - 2, max(12, rows * 2 // 3)))


def max_running(rows: int) -> int:
    """Return the most running jobs that a window of `rows` rows can show."""
    return max(1, room(rows) - MIN_ROWS)


def max_failures(rows: int) -> int:
    """Return the most failures that a window of `rows` rows can show."""
    return MAX_FAILURES[TALL] if rows >= TALL else MAX_FAILURES[USUAL] if rows >= USUAL else 0


def frame(facts: TableView, columns: int, rows: int) -> LiveFrame:
    """Lay out the table for a window of `columns` by `rows`."""
    width = max(1, columns - 1)
    budget = room(rows)
    top = [sections.header(facts, width), sections.progress(facts, width), sections.counts(facts, width)]
    foot = [sections.footer(facts, width)] if rows >= LOW - 4 else []
    middle, gap = [sections.help(width)], rows >= USUAL
    if not facts.help:
        middle, gap = _middle(facts, width, rows, budget - len(top) - len(foot))
    lines = [StyledLine()] * (gap and rows >= TALL) + _spread([top, *middle, foot], apart=gap)
    return LiveFrame(lines[: budget - len(foot)] + foot if len(lines) > budget > len(foot) else lines, width)


def _middle(facts: TableView, width: int, rows: int, budget: int) -> tuple[list[list[StyledLine]], bool]:
    """Lay out jobs, failures and numbers in `budget` rows; also return whether blank lines fit."""
    wanted = max(len(facts.running) + bool(facts.more_running), facts.reserve, 1)
    words, few, gap, left = next(_plans(facts, width, rows, budget, wanted))
    running = tables.running(facts, width, max(1, min(wanted, left)))
    failed = tables.failures(facts.failures[:few], width) if few else []
    return [running, failed, words], gap


def _plans(
    facts: TableView, width: int, rows: int, budget: int, wanted: int
) -> Iterator[tuple[list[StyledLine], int, bool, int]]:
    """Yield the ways to fill `budget` rows, best first.

    Each is a tuple: lines of numbers, count of failures, blank lines or not, rows for running jobs.
    """
    most = len(facts.failures[: max_failures(rows)])
    ways = _numbers(facts, width, rows)
    for words in map(_tell, ways):
        for gap in (True, False) if rows >= USUAL else (False,):
            left = _left(budget, words, most, rows, gap=gap)
            if left >= wanted:
                yield words, most, gap, left
    for words in map(_tell, ways[-2:]):
        for few in (2, 1, 0):
            left = _left(budget, words, min(most, few), rows, gap=False)
            if left >= min(wanted, MIN_ROWS):
                yield words, min(most, few), False, left
    yield [], 0, False, budget - 1


def _left(budget: int, words: list[StyledLine], failures: int, rows: int, *, gap: bool) -> int:
    """Return the rows that are left for running jobs, without their header."""
    blocks = 2 + bool(failures) + bool(words)
    air = blocks + (rows >= TALL) if gap else 0
    return budget - len(words) - (failures + 1 if failures else 0) - air - 1


def _tell(way: Callable[[], list[StyledLine]]) -> list[StyledLine]:
    return way()


def _numbers(facts: TableView, width: int, rows: int) -> list[Callable[[], list[StyledLine]]]:
    """Return the functions that lay out the numbers in a window of that size, longest first."""
    ways: list[Callable[[], list[StyledLine]]] = []
    if rows >= TALL and width >= MIDDLE:
        ways.append(lambda: sections.numbers(facts, width))
    if rows >= USUAL and width >= NARROW:
        ways.append(lambda: sections.few_numbers(facts, width))
    if rows >= LOW and width >= NARROW:
        ways.append(lambda: [sections.queue_line(facts, width)])
    return ways or [list]


def _spread(blocks: list[list[StyledLine]], *, apart: bool) -> list[StyledLine]:
    """Join the blocks, with blank lines between them if `apart`."""
    lines: list[StyledLine] = []
    for block in blocks:
        if block and lines and apart:
            lines.append(StyledLine())
        lines += block
    return lines


STATES = {"paused": "state", "draining": "state", "stopping": "stop", "killing": "stop"}
STYLE_OF = {
    Outcome.OK: "ok", Outcome.FAILED: "failed", Outcome.TIMEOUT: "timeout", Outcome.CANCELLED: "retry",
    Outcome.SKIPPED: "retry", Outcome.INTERRUPTED: "retry",
}  # fmt: skip
KEYS = (
    ("^C", "stop now", "stop"), ("q q", "start no more jobs, finish running ones", "drain"), ("p p", "pause", "pause"),
    ("+/-", "workers", "jobs"), ("o", "hide output", "output"), ("?", "keys", "keys"),
)  # fmt: skip
HELP = (
    ("^C", "stop running jobs (killed after their grace); again: kill now"),
    ("^Z", "suspend pqrun and its jobs, with their time limits"),
    ("q q", "start no more jobs, let the running ones finish"),
    ("p p", "start no more jobs until you press p p again"),
    ("+ -", "one worker more or less"),
    ("o", "show or hide the output of jobs"),
    ("?", "back to the table"),
)
BRIEF = {
    "current_queue_size": "queue", "active_workers": "active", "average_wait_time": "wait",
    "average_processing": "run",
}  # fmt: skip
METRIC_WORDS = {
    "current_queue_size": "queue size", "active_workers": "active workers", "average_wait_time": "avg wait",
    "average_processing": "avg processing", "p50_processing": "median run",
    "p95_processing": "95% run within",
    "oldest_wait": "oldest wait",
}  # fmt: skip


def header(facts: TableView, width: int) -> StyledLine:
    """Return the line of title, elapsed time, rate and ETA."""
    right = StyledLine()
    if facts.state:
        right.add(f" {facts.state.upper()} ", STATES[facts.state])
    if facts.eta is not None:
        right.add("  " if right.pieces else "").add("ETA ", "label").add(f"~{_clock(facts.eta)}", "strong")
    if facts.rate is not None and width >= NARROW:
        right.add("  " if right.pieces else "")
        number, unit = _speed(facts.rate)
        right.add(number, "strong").add(f" {unit}", "label")
    wide = width >= MIDDLE
    left = StyledLine(("pqrun ", "strong"))
    clock = _clock(facts.elapsed)
    after = StyledLine()
    if wide and facts.run:
        after.add("  run ", "label").add(facts.run, "run")
    after.add("  elapsed " if wide else " ", "label").add(clock)
    room = width - right.width - left.width - after.width - 2
    left.add(facts.title if width_of(facts.title) <= room else fit(facts.title, room), "file")
    left.pieces += after.pieces
    left.pad_to(width - right.width)
    left.pieces += right.pieces
    return left


def progress(facts: TableView, width: int) -> StyledLine:
    """Return the bar of all known jobs: succeeded, ended otherwise, running."""
    ended = facts.ended
    known = f"{ended}/{facts.total}" + ("" if facts.complete else "+")
    percent = f"{100 * ended // facts.total}%" if facts.total and facts.complete else ""
    label = f" {known}" + (f" {percent:>4}" if percent else "")
    size = max(0, width - len(label))
    total = max(facts.total, 1)
    good = facts.outcomes.get(Outcome.OK, 0)
    marks = [_cells(n, total, size) for n in (good, ended, ended + facts.active)]
    line = StyledLine(("━" * marks[0], "ok"))
    line.add("━" * (marks[1] - marks[0]), "failed").add("━" * (marks[2] - marks[1]), "running")
    line.add("─" * (size - marks[2]), "track").add(f" {known}", "strong")
    return line.add(f" {percent:>4}" if percent else "", "label")


def counts(facts: TableView, width: int) -> StyledLine:
    """Return the line of job counts by state."""
    parts: list[list[StyledText]] = [[_count(facts.outcomes.get(Outcome.OK, 0), "bold ok"), (" ok", "ok")]]
    for outcome in Outcome:
        if outcome is not Outcome.OK and (number := facts.outcomes.get(outcome, 0)):
            style = STYLE_OF[outcome]
            parts.append([_count(number, f"bold {style}"), (f" {outcome}", style)])
    if facts.metrics.jobs_retried and width >= NARROW:
        parts.append([_count(facts.metrics.jobs_retried, "bold retry"), (" retried", "retry")])
    parts.append([_count(facts.active, "bold running"), (" running", "running")])
    parts.append([_count(facts.metrics.current_queue_size, "strong"), (" queued", "")])
    if facts.waiting:
        parts.append([_count(facts.waiting, "strong"), (" to retry", "")])
    if facts.pending:
        parts.append([_count(facts.pending, "strong"), (" pending", "")])
    return join(parts, 3 if width >= MIDDLE else 1, width)


def numbers(facts: TableView, width: int) -> list[StyledLine]:
    """Return the queue by priority beside the ten core metrics, and more metrics if there is room."""
    metrics = facts.metrics
    queue = metrics.queue_by_priority or {}
    most = max([*queue.values(), 1])
    digits = max(5, len(str(most)))
    names = [CORE_METRICS[:5], CORE_METRICS[5:]]
    if width >= WIDE:
        names.append(("p50_processing", "p95_processing", "oldest_wait", "jobs_cancelled", "jobs_skipped"))
    label_widths = [max(len(_word(name)) for name in column) for column in names]
    values = [[_value(name, metrics, facts.workers) for name in column] for column in names]
    value_widths = [max(8, *(len(value) for value in column)) for column in values]
    size = 28 if width >= MIDDLE else 20
    right = sum(label_widths) + sum(value_widths) + 3 * (len(names) - 1)
    heads = StyledLine((fit("queue", size), "head"), ("   ", ""), (fit("metrics", right), "head"))
    lines = [heads]
    priorities = sorted(Priority, reverse=True)
    for row in range(5):
        line = StyledLine()
        if row < len(priorities):
            name = priorities[row].name.lower()
            number = queue.get(name, 0)
            done, rest = bar(number / most, size - digits - 10)
            line.add(fit(name, 9), name)
            line.add(fit(str(number), digits, right=True), "strong" if number else "label")
            line.add(" ").add(done if number else "", name).add(rest if number else done + rest, "track")
        line.pad_to(size + 3)
        for column, (words, texts) in enumerate(zip(names, values, strict=True)):
            line.add("   " if column else "")
            line.add(fit(_word(words[row]), label_widths[column]), "label")
            line.add(fit(texts[row], value_widths[column], right=True))
        lines.append(line)
    return lines


def few_numbers(facts: TableView, width: int) -> list[StyledLine]:
    """Return the queue and the core metrics in two or three lines."""
    parts: list[list[StyledText]] = []
    for name in CORE_METRICS:
        value = _value(name, facts.metrics, facts.workers)
        parts.append([(f"{BRIEF.get(name, name.removeprefix('jobs_'))} ", "label"), (value, "")])
    lines = [StyledLine(("queue", "label"), *_by_priority(facts))]
    for part in parts:
        if lines[-1].width + 2 + StyledLine(*part).width > width:
            lines.append(StyledLine())
        lines[-1].add("  " if lines[-1].pieces else "")
        lines[-1].pieces += part
    return lines


def queue_line(facts: TableView, width: int) -> StyledLine:
    """Return the queue and the average times in one line."""
    line = StyledLine(("queue", "label"), *_by_priority(facts))
    line.add("   wait ", "label").add(format_duration(facts.metrics.average_wait_time))
    line.add("  run ", "label").add(format_duration(facts.metrics.average_processing))
    if width >= MIDDLE:
        line.add("  workers ", "label").add(f"{facts.active}/{facts.workers}")
    return line


def _by_priority(facts: TableView) -> list[StyledText]:
    pieces: list[StyledText] = []
    for priority in sorted(Priority, reverse=True):
        name = priority.name.lower()
        number = (facts.metrics.queue_by_priority or {}).get(name, 0)
        pieces += [("  ", ""), (name[0].upper(), name), (f" {number}", "")]
    return pieces


def footer(facts: TableView, width: int) -> StyledLine:
    """Return the line of keys, or the question of one; only Ctrl-C if keys are not read."""
    if facts.prompt:
        return StyledLine((fit(f" {facts.prompt}", width), "prompt"))
    keys = KEYS if facts.keys else KEYS[:1]
    parts: list[list[StyledText]] = []
    for key, long, brief in keys:
        does = long if width >= WIDE or (width >= MIDDLE and key != "q q") else brief
        if key == "p p" and facts.state == "paused":
            does = "go on"
        if key == "o" and facts.output_hidden and width >= MIDDLE:
            does = "show output"
        parts.append([(key, "key"), (f" {does}", "label")])
    return join(parts, 3 if width >= MIDDLE else 2, width)


def help(width: int) -> list[StyledLine]:
    """Return one line for each key."""
    return [StyledLine((fit(key, 5), "key"), (fit(text, width - 5), "")) for key, text in HELP]


def _count(number: int, style: str) -> StyledText:
    return (str(number), style)


def _cells(number: int, total: int, size: int) -> int:
    """Return the length of a bar for `number` of `total`.

    It is never empty for some and never full for less than all.
    """
    cells = size * number // total
    if 0 < number < total and size > 2:
        cells = min(max(cells, 1), size - 1)
    return min(cells, size)


def _word(name: str) -> str:
    return METRIC_WORDS.get(name, name.removeprefix("jobs_"))


def _value(name: str, metrics: Metrics, workers: int) -> str:
    value = getattr(metrics, name)
    if name == "active_workers":
        return f"{value}/{workers}"
    return str(value) if isinstance(value, int) else format_duration(value)


def _speed(rate: float) -> tuple[str, str]:
    return (f"{rate:.0f}", "jobs/s") if rate >= 9.5 else (f"{rate * 60:.0f}", "jobs/min")


def _clock(seconds: float) -> str:
    return "0s" if seconds < 1 else format_duration(float(int(seconds)))
