# SPDX-License-Identifier: LGPL-3.0-or-later
"""The lines of the screen as styled text: rows, numbers, curves and keys. Pure."""

from __future__ import annotations

from bisect import bisect
from collections import deque
from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import accumulate
from math import ceil
from typing import NamedTuple

from pqrun.control.run_view import NO_USAGE, MeasuredUsage
from pqrun.core.metrics import MIN_ENDS, WINDOW_SECONDS, Throughput
from pqrun.core.text import escape_controls, format_duration
from pqrun.engine.clock import format_moment
from pqrun.ui.live.cells import (
    StyledLine,
    StyledText,
    bar,
    cpu_text,
    fit,
    fit_name,
    join,
    memory_text,
    urgency,
)
from pqrun.ui.top.jobs import CHANGEABLE, PRIORITIES, STATES, JobList, ListedJob
from pqrun.ui.top.run_source import RunState

BARS = " ▁▂▃▄▅▆▇█"
MAX_SAMPLES = 240
MIN_USAGE_COLUMNS = 120
STYLE_OF_STATE = {
    "running": "running", "waiting": "retry", "failed": "bold failed", "timeout": "bold timeout",
    "interrupted": "retry", "cancelled": "retry", "skipped": "retry", "ok": "ok", "queued": "label",
    "pending": "label", "held": "retry",
}  # fmt: skip
KEYS = (
    ("k", "Cancel"), ("r", "Retry"), ("+", "Raise"), ("-", "Lower"), ("/", "Filter"), ("f", "State"),
    ("s", "Sort"), ("p", "Pause"), ("Enter", "Log"), ("?", "Help"), ("q", "Quit"),
)  # fmt: skip
MAIN_KEYS = ("?", "q", "/", "k", "+", "-", "p", "r", "s", "f", "Enter")


def curve(values: Sequence[float], width: int) -> str:
    """Return the last values as bars of one line's height, the newest at the right."""
    shown = list(values)[-width:] if width > 0 else []
    most = max(shown, default=0.0)
    if most <= 0:
        return " " * (width - len(shown)) + BARS[1] * len(shown)
    bars = "".join(BARS[max(1, round(value / most * 8))] for value in shown)
    return " " * (width - len(shown)) + bars


class TopHistory:
    """The samples of the three curves, one for each `step` seconds."""

    def __init__(self) -> None:
        self.step = 1.0
        self.queue: deque[float] = deque(maxlen=MAX_SAMPLES)
        self.running: deque[float] = deque(maxlen=MAX_SAMPLES)
        self.rate: deque[float] = deque(maxlen=MAX_SAMPLES)
        self._throughput = Throughput(0.0)
        self._sampled = 0.0
        self._counted = 0

    def begin(self, jobs: Iterable[ListedJob], run: RunState) -> None:
        """Take in the jobs so far. `run`: the run at this time."""
        known = list(jobs)
        self._fill_curves(known, run)
        self._begin_rate(run)
        since = self._throughput.began
        recent = sorted(
            job.ended for job in known if job.ended is not None and job.ended >= since and not job.unfinished
        )
        for at in recent[min(bisect(recent, run.now - WINDOW_SECONDS), max(0, len(recent) - MIN_ENDS)) :]:
            self._throughput.count(at)
        self._sampled, self._counted = run.now, run.ended

    def _begin_rate(self, run: RunState) -> None:
        """Forget the ends of an earlier process of the run: they tell nothing of the present rate."""
        self._throughput = Throughput(run.began if run.since is None else run.since)

    def _fill_curves(self, known: list[ListedJob], run: RunState) -> None:
        """Fill the curves: of a live run a sample a second; those of a past run span its whole length."""
        until = run.now
        span = max(1.0, until - run.began)
        self.step = 1.0 if run.live else max(0.05, span / 60)
        begin = max(run.began, until - self.step * 120)
        size = max(1, min(MAX_SAMPLES, int((until - begin) / self.step)))
        begin = until - size * self.step
        into, out, ends = [0] * (size + 1), [0] * (size + 1), [0] * (size + 1)

        def slot(at: float) -> int:
            return max(0, min(size, int((at - begin) / self.step)))

        for job in known:
            left = job.began if job.began is not None else job.ended
            if job.queued is not None:
                into[slot(job.queued)] += 1
                if left is not None and job.state not in CHANGEABLE:
                    into[slot(max(left, job.queued))] -= 1
            if job.began is not None and (job.state == "running" or job.ended is not None):
                out[slot(job.began)] += 1
                if job.state != "running" and job.ended is not None:
                    out[slot(max(job.ended, job.began))] -= 1
            if job.ended is not None and not job.unfinished and job.ended >= begin:
                ends[slot(job.ended)] += 1
        ends[size - 1] += ends[size]
        for kept, values in ((self.queue, accumulate(into)), (self.running, accumulate(out))):
            kept.clear()
            kept.extend(max(0, value) for value in list(values)[:size])
        self.rate.clear()
        self.rate.extend(count / self.step for count in ends[:size])

    def sample(self, run: RunState) -> None:
        """Add a sample of a live run, if a second has passed since the last one."""
        if not run.live or (passed := run.now - self._sampled) < 0.95:
            return
        if run.since is not None and run.since != self._throughput.began:
            self._begin_rate(run)  # it was resumed while it was shown
        self.queue.append(run.metrics.current_queue_size)
        self.running.append(run.metrics.active_workers)
        ended = max(0, run.ended - self._counted)
        self.rate.append(ended / passed)
        self._sampled, self._counted = run.now, run.ended
        if ended:
            self._throughput.count(run.now, ended)

    def per_second(self, run: RunState) -> float | None:
        """Return the jobs that end in a second, or None if too few have ended.

        The time span is the last minute of a live run, or the whole length of a past run.
        """
        if run.live:
            return self._throughput.per_second(run.now)
        span = run.now - run.began
        return run.ended / span if span > 0 and run.ended else None

    def eta(self, run: RunState, waiting: int = 0, last_due: float = 0.0, chain: float = 0.0) -> float | None:
        """Return the seconds until all jobs have ended at the present rate, or by the times of earlier runs.

        None if neither is known.
        `waiting` jobs wait for a retry or for their time, the last one until `last_due`. `chain`: the seconds of the
        longest chain of needs.
        """
        if not run.live or run.paused or run.stopping:
            return None
        last_retry = max(0.0, last_due - run.now) + run.metrics.average_processing
        left = run.added - run.ended
        self._throughput.expected = lambda _now, _left: run.expected
        return self._throughput.eta(
            run.now, left, waiting=waiting, delayed=run.delayed, last_retry=last_retry, chain=chain
        )


class TopColumn(NamedTuple):
    """A column of the table. A column of width 0 takes the rest of the line."""

    title: str
    width: int
    right: bool = False


def columns(width: int, widest: int = 24) -> list[TopColumn]:
    """Return the columns that fit into `width` cells."""
    number, prio, state = TopColumn("#", 6, True), TopColumn("prio", 8), TopColumn("state", 11)
    tries, time, said = TopColumn("try", 5), TopColumn("time", 8, True), TopColumn("status", 0)
    usage = [TopColumn("cpu", 5, True), TopColumn("mem", 5, True)]
    if width >= 100:
        job = TopColumn("job", max(16, min(widest, width // 4)))
        measured = usage if width >= MIN_USAGE_COLUMNS else []
        return [number, prio, state, job, tries, time, TopColumn("limit", 13), *measured, said]
    if width >= 74:
        job = TopColumn("job", max(12, min(widest, width * 3 // 10)))
        return [prio, state._replace(width=9), job, tries, time, said]
    return [TopColumn("state", 9), TopColumn("job", 0), tries, time]


def heading(cells: list[TopColumn], width: int, sort: str) -> list[StyledText]:
    """Return the line of column titles, with the sort column emphasized."""
    by = {"number": "#", "name": "job", "priority": "prio", "tries": "try"}.get(sort, sort)
    line = StyledLine((" ", ""))
    for column in cells:
        style = "key" if column.title == by else "label"
        line.add(fit(column.title, _width(column, cells, width), right=column.right) + "  ", style)
    return line.within(width)


def row(
    job: ListedJob,
    cells: list[TopColumn],
    width: int,
    now: float,
    said: str,
    usage: Mapping[int, MeasuredUsage] = NO_USAGE,
) -> list[StyledText]:
    """Return a job's line. `said` is its last line of output; `usage` that of the running jobs."""
    line = StyledLine((" ", ""))
    for column in cells:
        size = _width(column, cells, width)
        if column.title in ("cpu", "mem"):
            line.add(fit(_usage(job, column.title, usage), size, right=True) + "  ", "label")
            continue
        if column.title == "job":
            line.add(fit_name(job.name, size) + "  ", "name" if job.state != "queued" else "")
            continue
        for text, style in _cell(job, column.title, size, now, said):
            is_cut = style.startswith("cut ")
            line.add(text if is_cut else fit(text, size, right=column.right), style.removeprefix("cut "))
        line.add("  ")
    return line.within(width)


def _width(column: TopColumn, cells: list[TopColumn], width: int) -> int:
    used = 1 + sum(other.width + 2 for other in cells)
    return column.width or max(1, width - used)


def _cell(job: ListedJob, title: str, size: int, now: float, said: str) -> list[StyledText]:
    match title:
        case "#":
            return [(str(job.seq), "label")]
        case "prio":
            name = PRIORITIES[job.priority]
            return [(name, name if job.unfinished else "label")]
        case "state":
            return [(job.state, STYLE_OF_STATE[job.state])]
        case "try":
            number = job.attempts + (job.state == "waiting")  # of the next attempt
            return [(f"{number}/{job.most}" if job.attempts else "", "retry" if number > 1 else "")]
        case "time":
            return [_time(job, now)]
        case "limit":
            return _limit(job, size, now)
    return _status(job, said)


def _time(job: ListedJob, now: float) -> StyledText:
    seconds = job.seconds(now)
    if seconds is None:
        return "", ""
    if job.state == "waiting":
        return f"in {format_duration(float(ceil(seconds)))}", "bold retry"
    return format_duration(seconds), "label" if job.state == "queued" else ""


def _usage(job: ListedJob, title: str, running: Mapping[int, MeasuredUsage]) -> str:
    """Return the CPU or memory: of a running job now, of an ended one on average and at its peak."""
    if job.state == "running":
        now = running.get(job.seq)
        cpus, memory = (None, None) if now is None else now
    else:
        cpus, memory = job.cpus, job.memory
    return cpu_text(cpus) if title == "cpu" else memory_text(memory)


def _limit(job: ListedJob, size: int, now: float) -> list[StyledText]:
    if job.timeout is None:
        return [("", "")]
    text = format_duration(job.timeout)
    seconds = job.seconds(now)
    if job.state != "running" or seconds is None:
        return [(text, "label")]
    share = seconds / job.timeout if job.timeout else 1.0
    done, rest = bar(share, 6)
    tail = fit(f" {text}", size - 6)
    return [(done, f"cut {urgency(share)}"), (rest, "cut track"), (tail, "cut label")]


def _status(job: ListedJob, said: str) -> list[StyledText]:
    if job.state == "running":
        return [(said, "output")]
    if job.not_before is not None:
        return [(f"not before {format_moment(job.not_before)}", "")]
    parts = [job.how if job.state not in ("ok", job.how) else "", job.message or said]
    text = ": ".join(part for part in parts if part)
    return [(text, "output" if job.state in ("ok", "queued", "pending", "held") else "")]


def title(run: RunState, jobs: JobList, history: TopHistory, width: int) -> StyledLine:
    """Return the title line: the run's name, state, progress and ETA."""
    numbers = run.metrics
    went = "bold failed" if numbers.jobs_failed or numbers.jobs_timeout else "bold ok"
    state = "bold running" if run.live else went if run.state == "ended" else "bold retry"
    parts: list[list[StyledText]] = [[("pqrun top", "strong")]]
    if run.name:
        parts.append([(run.name, "file")])
    parts.append([("run ", "label"), (run.id, "run")])
    if run.paused:
        parts.append([(" PAUSED ", "state")])
    parts.append([(run.state, state)])
    if run.stopping:
        parts.append([(" STOPPING ", "stop")])
    parts.append([(f"{run.ended:,}/{run.added:,}" + ("" if run.complete else "+"), "strong")])
    parts.append([(format_duration(max(0.0, run.now - run.began)), "")])
    chain = jobs.longest_chain(run.now, numbers.average_processing)
    if (left := history.eta(run, jobs.counts["waiting"], jobs.last_due(), chain)) is not None:
        parts.append([(f"ETA ~{format_duration(left)}", "running")])
    return join(parts, 2, width - 1)


def dashboard(run: RunState, jobs: JobList, history: TopHistory, width: int) -> list[list[StyledText]]:
    """Return five lines: jobs by state, the ten core metrics, and three curves."""
    numbers = run.metrics
    counts: list[list[StyledText]] = [
        [(f"{jobs.counts[state]:,} ", STYLE_OF_STATE[state]), (state, "label")]
        for state in STATES
        if jobs.counts[state]
    ]
    counts += [
        [(f"tag:{escape_controls(tag)} ", "label"), (f"at most {size:,}", "")]
        for tag, size in run.tag_limits.items()
    ]
    workers = f"{numbers.active_workers}/{run.workers}" if run.workers else str(numbers.active_workers)
    groups = (
        (("queue", f"{numbers.current_queue_size:,}"), ("active", workers),
         ("avg wait", format_duration(numbers.average_wait_time)),
         ("avg run", format_duration(numbers.average_processing))),
        (("enqueued", f"{numbers.jobs_enqueued:,}"), ("dequeued", f"{numbers.jobs_dequeued:,}"),
         ("retried", f"{numbers.jobs_retried:,}")),
        (("completed", f"{numbers.jobs_completed:,}"), ("failed", f"{numbers.jobs_failed:,}"),
         ("timeout", f"{numbers.jobs_timeout:,}")),
    )  # fmt: skip
    side = 0 if width < 72 else min(64, width // 2 - 4)
    left = width - side - 2
    lines = [join(counts, 2, width - 2)]
    lines += [
        join([[(f"{name} ", "label"), (value, "")] for name, value in group], 2, left) for group in groups
    ]
    progress = max(8, left - 8)
    done, rest = bar(run.ended / run.added if run.added else 0.0, progress)
    share = f" {100 * run.ended / run.added:.0f}%" if run.added else ""
    lines.append(StyledLine((done, "ok"), (rest, "track"), (share, "strong")))
    if side:
        _add_curves(lines[1:4], run, history, left, max(1, side - 19), workers)
    return [[(" ", ""), *line.pieces] for line in lines]


def _add_curves(
    lines: list[StyledLine], run: RunState, history: TopHistory, left: int, size: int, workers: str
) -> None:
    """Append the three curves to three lines, at column `left`. `size`: the width of a curve."""
    rate = history.per_second(run)
    curves = (
        ("queue", history.queue, f"{run.metrics.current_queue_size:,}", "retry"),
        ("running", history.running, workers, "running"),
        ("rate", history.rate, "" if rate is None else _rate(rate), "ok"),
    )
    for line, (name, values, value, style) in zip(lines, curves, strict=True):
        line.pad_to(left + 1)
        line.add(f"{name:<8}", "label").add(curve(list(values), size), style).add(f" {value:>9}", "strong")


def _rate(rate: float) -> str:
    return f"{rate:.1f}/s" if rate >= 1 else f"{rate * 60:.1f}/min"


def table_title(jobs: JobList, width: int) -> list[StyledText]:
    """Return the line with the number of listed jobs, the filter and the order."""
    wanted = str(jobs.filter)
    line = StyledLine(
        (f" {len(jobs):,}", "strong"), (f" of {len(jobs.all):,} jobs" if wanted else " jobs", "label")
    )
    if wanted:
        line.add("  filter ", "label").add(wanted, "key").add("  Esc: all", "label")
    line.add("  by ", "label").add(jobs.sort + (" ▲" if jobs.reverse else " ▼"), "")
    return line.within(width)


def idle_keys(run: RunState | None, job: ListedJob | None) -> frozenset[str]:
    """Return the keys of `KEYS` that can't do anything now, with this job selected."""
    if run is None:
        return frozenset("kr+-p")
    if not run.live:
        return frozenset("k+-p")
    idle = "" if job is not None and job.unfinished else "k"
    idle += "" if job is not None and job.state in CHANGEABLE else "+-"
    return frozenset(idle + ("" if job is not None and not job.unfinished else "r"))


def keys(width: int, idle: Container[str] = ()) -> list[StyledText]:
    """Return the line of keys, those that can't act dim. If they don't all fit, some are left out."""
    names = dict(KEYS)
    chosen: list[str] = []
    room = width - 1
    for key in MAIN_KEYS:
        if (size := len(key) + len(names[key]) + 3) <= room:
            chosen.append(key)
            room -= size
    parts: list[list[StyledText]] = [
        [(f"{key} ", "label" if key in idle else "high"), (name, "label" if key in idle else "")]
        for key, name in KEYS
        if key in chosen
    ]
    return [(" ", ""), *join(parts, 2, width).pieces]
