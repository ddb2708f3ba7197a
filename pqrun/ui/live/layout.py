# SPDX-License-Identifier: LGPL-3.0-or-later
"""The layout of the live table: a pure function of its view and the window's size.

Columns disappear below 110, 80 and 56 columns, sections below 40, 20 and 16 rows. The last column of
the window stays free, so that no line wraps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import ceil

from rich.console import Console, ConsoleOptions
from rich.segment import Segment

from pqrun.core.job import Outcome, Priority
from pqrun.core.metrics import CORE_METRICS, Metrics
from pqrun.core.text import format_duration
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
    fit_words,
    join,
    join_all,
    width_of,
)
from pqrun.ui.live.state import TableView

TALL, USUAL, LOW = 40, 20, 16
MIN_ROWS = 4
MAX_FAILURES = {TALL: 6, USUAL: 3}
MIN_TITLE_CELLS = 12
STYLE_OF_STATE = {"paused": "state", "draining": "state", "stopping": "stop", "killing": "stop"}
STYLE_OF_OUTCOME = {
    Outcome.OK: "ok", Outcome.FAILED: "failed", Outcome.TIMEOUT: "timeout", Outcome.CANCELLED: "retry",
    Outcome.SKIPPED: "retry", Outcome.INTERRUPTED: "retry",
}  # fmt: skip
# In the order in which people need them: a line that is too narrow loses its right end.
COUNTED_OUTCOMES = (
    Outcome.FAILED, Outcome.TIMEOUT, Outcome.OK, Outcome.SKIPPED, Outcome.CANCELLED, Outcome.INTERRUPTED,
)  # fmt: skip
KEYS = (
    ("^C", "stop"), ("q q", "drain"), ("p p", "pause"), ("+ -", "workers"), ("o", "hide output"), ("?", "keys"),
)  # fmt: skip
FIRST_KEYS_TO_GO = ("+ -", "o")
HELP = (
    ("^C", "stop running jobs (killed after their grace); again: kill now"),
    ("^Z", "suspend pqrun and its jobs, with their time limits"),
    ("q q", "start no more jobs, let the running ones finish"),
    ("p p", "start no more jobs until you press p p again"),
    ("+ -", "one worker more or less"),
    ("o", "show or hide the output of jobs"),
    ("?", "back to the table"),
)
METRIC_WORDS = {
    "current_queue_size": "queue size", "active_workers": "active workers", "average_wait_time": "avg wait",
    "average_processing": "avg processing", "p50_processing": "median run",
    "p95_processing": "95% run within",
    "oldest_wait": "oldest wait",
}  # fmt: skip


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
    return max(1, min(rows - 2, max(12, rows * 3 // 4)))


def max_running(rows: int) -> int:
    """Return the most running jobs that a window of `rows` rows can show."""
    return max(1, room(rows) - MIN_ROWS)


def max_waiting(rows: int) -> int:
    """Return the most waiting retries that a window of `rows` rows shows: many of them say the same."""
    return max(2, rows // 5)


def max_failures(rows: int) -> int:
    """Return the most failures that a window of `rows` rows can show."""
    return MAX_FAILURES[TALL] if rows >= TALL else MAX_FAILURES[USUAL] if rows >= USUAL else 0


def frame(facts: TableView, columns: int, rows: int) -> LiveFrame:
    """Lay out the table for a window of `columns` by `rows`."""
    width = max(1, columns - 1)
    budget = room(rows)
    top = [header(facts, width), progress(facts, width), counts(facts, width)]
    foot = [footer(facts, width)] if rows >= LOW - 4 else []
    if facts.help:
        middle, apart = [help(width)], rows >= USUAL
    else:
        middle, apart = _middle(facts, width, rows, budget - len(top) - len(foot))
    if middle and len(middle[-1]) == 1:  # the line of the queue
        foot = middle.pop() + foot
    lines = [StyledLine()] * (apart and rows >= USUAL) + _spread([top, *middle, foot], apart=apart)
    return LiveFrame(lines[: budget - len(foot)] + foot if len(lines) > budget > len(foot) else lines, width)


def _middle(facts: TableView, width: int, rows: int, budget: int) -> tuple[list[list[StyledLine]], bool]:
    """Lay out jobs, failures and numbers in `budget` rows; also return whether blank lines fit."""
    wanted = tables.wanted_rows(facts, width)
    words, few, gap, left = next(_plans(facts, width, rows, budget, wanted))
    jobs = tables.jobs(facts, width, max(1, min(wanted, left)))
    failed = tables.failures(facts.failures[:few], width) if few else []
    return [jobs, *([failed] if failed else []), *([words] if words else [])], gap


def _plans(
    facts: TableView, width: int, rows: int, budget: int, wanted: int
) -> Iterator[tuple[list[StyledLine], int, bool, int]]:
    """Yield the ways to fill `budget` rows, best first.

    Each is a tuple: lines of numbers, count of failures, blank lines or not, rows for jobs.
    """
    most = len(facts.failures[: max_failures(rows)])
    ways = _numbers(facts, width, rows)
    for words in map(_tell, ways):
        for gap in (True, False) if rows >= USUAL else (False,):
            left = _left(budget, words, most, gap=gap)
            if left >= wanted:
                yield words, most, gap, left
    for words in map(_tell, ways[-2:]):
        for few in (2, 1, 0):
            left = _left(budget, words, min(most, few), gap=False)
            if left >= min(wanted, MIN_ROWS):
                yield words, min(most, few), False, left
    yield [], 0, False, budget - 1


def _left(budget: int, words: list[StyledLine], failures: int, *, gap: bool) -> int:
    """Return the rows that are left for jobs, without their header."""
    blank = 3 + bool(failures) + (len(words) > 1) if gap else 0
    return budget - len(words) - (failures + 1 if failures else 0) - blank - 1


def _tell(way: Callable[[], list[StyledLine]]) -> list[StyledLine]:
    return way()


def _numbers(facts: TableView, width: int, rows: int) -> list[Callable[[], list[StyledLine]]]:
    """Return the functions that lay out the numbers in a window of that size, longest first."""
    ways: list[Callable[[], list[StyledLine]]] = []
    if rows >= TALL and width >= MIDDLE:
        ways.append(lambda: numbers(facts, width))
    if rows >= LOW and width >= NARROW:
        ways.append(lambda: queue_line(facts, width))
    return [*ways, list]


def _spread(blocks: list[list[StyledLine]], *, apart: bool) -> list[StyledLine]:
    """Join the blocks, with blank lines between them if `apart`."""
    lines: list[StyledLine] = []
    for block in blocks:
        if block and lines and apart:
            lines.append(StyledLine())
        lines += block
    return lines


def header(facts: TableView, width: int) -> StyledLine:
    """Return the line of title, run and elapsed time, and on the right the state, time to go and rate."""
    right = StyledLine()
    if facts.state:
        right.add(f" {facts.state.upper()} ", STYLE_OF_STATE[facts.state])
    if facts.eta is not None:
        right.add("  " if right.pieces else "").add("about ", "label")
        right.add(_clock(ceil(facts.eta)), "strong").add(" to go", "label")
    if facts.rate is not None and width >= MIDDLE:
        right.add("  " if right.pieces else "").add(_speed(facts.rate), "label")
    clock = _clock(facts.elapsed)
    room = width - right.width - 2 - len("pqrun ") - len(clock) - 2
    run = f"  {facts.run}" if facts.run else ""
    if width < NARROW or room - width_of(run) < min(width_of(facts.title), MIN_TITLE_CELLS):
        run = ""
    room -= width_of(run)
    left = StyledLine(("pqrun ", "strong"))
    left.add(facts.title if width_of(facts.title) <= room else fit(facts.title, room), "file")
    left.add(run, "run").add("  ").add(clock)
    left.pad_to(width - right.width)
    left.pieces += right.pieces
    return left


def progress(facts: TableView, width: int) -> StyledLine:
    """Return the bar of all known jobs: failed, succeeded, ended otherwise, running."""
    ended = facts.ended
    known = f"{ended}/{facts.total}" + ("" if facts.complete else "+")
    percent = f"{100 * ended // facts.total}%" if facts.total and facts.complete else ""
    label = f" {known}" + (f" {percent:>4}" if percent else "")
    size = max(0, width - len(label))
    total = max(facts.total, 1)
    failed = facts.outcomes.get(Outcome.FAILED, 0) + facts.outcomes.get(Outcome.TIMEOUT, 0)
    good = failed + facts.outcomes.get(Outcome.OK, 0)
    line, before = StyledLine(), 0
    for number, style in (
        (failed, "failed"),
        (good, "ok"),
        (ended, "retry"),
        (ended + facts.active, "running"),
    ):
        mark = _cells(number, total, size)
        line.add("━" * (mark - before), style)
        before = mark
    line.add("─" * (size - before), "track").add(f" {known}", "strong")
    return line.add(f" {percent:>4}" if percent else "", "label")


def counts(facts: TableView, width: int) -> StyledLine:
    """Return the line of job counts by state."""
    numbers = [(facts.waits, "waiting to retry", "retry")]
    numbers += [
        (facts.outcomes.get(outcome, 0), str(outcome), STYLE_OF_OUTCOME[outcome])
        for outcome in COUNTED_OUTCOMES
    ]
    numbers += [(facts.active, "running", "running"), (facts.metrics.current_queue_size, "queued", "")]
    numbers.append((facts.pending, "pending", "label"))
    parts: list[list[StyledText]] = []
    for number, word, style in numbers:
        if number:
            strong = "label" if style == "label" else f"bold {style}" if style else "strong"
            parts.append([(str(number), strong), (f" {word}", style)])
    return join_all(parts, 3, width) or join(parts, 2, width)


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
            done, _rest = bar(number / most, size - digits - 10)
            line.add(fit(name, 9), name)
            line.add(fit(str(number), digits, right=True), "strong" if number else "label")
            line.add(" ").add(done if number else "", "running")
        line.pad_to(size + 3)
        for column, (words, texts) in enumerate(zip(names, values, strict=True)):
            line.add("   " if column else "")
            line.add(fit(_word(words[row]), label_widths[column]), "label")
            line.add(fit(texts[row], value_widths[column], right=True))
        lines.append(line)
    return lines


def queue_line(facts: TableView, width: int) -> list[StyledLine]:
    """Return the queue by priority and the workers in one line; nothing if only waiting retries are left."""
    if not facts.active and not facts.metrics.current_queue_size:
        return []
    parts: list[list[StyledText]] = [[("queue", "label")]]
    for priority in sorted(Priority, reverse=True):
        name = priority.name.lower()
        number = (facts.metrics.queue_by_priority or {}).get(name, 0)
        parts.append([(f"{name} ", "label"), (str(number), "strong" if number else "")])
    parts.append([("workers ", "label"), (f"{facts.active}/{facts.workers}", "")])
    return [join(parts, 2, width)]


def footer(facts: TableView, width: int) -> StyledLine:
    """Return the line of keys, or the question of one; only Ctrl-C if keys are not read."""
    if facts.prompt:
        question, gap, answer = facts.prompt.partition("  ")  # how to say no is never cut
        room = width - 1 - width_of(gap + answer)
        text = (
            facts.prompt if width_of(question) <= room else fit_words(question, room).rstrip() + gap + answer
        )
        return StyledLine((fit_words(f" {text}", width), "prompt"))
    keys: list[list[StyledText]] = []
    for key, does in KEYS if facts.keys else KEYS[:1]:
        if key == "p p" and facts.state == "paused":
            does = "go on"
        if key == "o" and facts.output_hidden:
            does = "show output"
        keys.append([(key, "key"), (f" {does}", "label")])
    few = [part for part in keys if part[0][0] not in FIRST_KEYS_TO_GO]
    return join_all(keys, 3, width) or join_all(few, 3, width) or join(few, 2, width)


def help(width: int) -> list[StyledLine]:
    """Return one line for each key."""
    return [StyledLine((fit(key, 5), "key"), (fit_words(text, width - 5), "")) for key, text in HELP]


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
    if isinstance(value, int):
        return str(value)
    return format_duration(value) if value else "0s"


def _speed(rate: float) -> str:
    if rate >= 9.95:
        return f"{rate:.0f}/s"
    per_minute = rate * 60
    return (f"{per_minute:.0f}" if per_minute >= 9.95 else f"{per_minute:.1f}".removesuffix(".0")) + "/min"


def _clock(seconds: float) -> str:
    return "0s" if seconds < 1 else format_duration(float(int(seconds)))
