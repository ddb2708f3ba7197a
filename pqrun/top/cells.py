# SPDX-License-Identifier: LGPL-3.0-or-later
"""The lines of the screen as pieces of text with named styles: rows, numbers, curves, keys. Pure."""

from __future__ import annotations

from typing import NamedTuple

from pqrun.display.cells import Line, Piece, bar, fit, join
from pqrun.top.history import History, curve
from pqrun.top.jobs import PRIORITIES, STATES, Job, Jobs
from pqrun.top.news import RunNow
from pqrun.words import duration_text

STYLES = {
    "running": "running", "waiting": "retry", "failed": "bold failed", "timeout": "bold timeout",
    "interrupted": "retry", "cancelled": "retry", "skipped": "retry", "ok": "ok", "queued": "label",
    "pending": "label",
}  # fmt: skip
KEYS = (
    ("k", "Cancel"), ("r", "Retry"), ("+", "Raise"), ("-", "Lower"), ("/", "Filter"), ("f", "State"),
    ("s", "Sort"), ("p", "Pause"), ("Enter", "Log"), ("?", "Help"), ("q", "Quit"),
)  # fmt: skip
FIRST = ("?", "q", "/", "k", "+", "-", "p", "r", "s", "f", "Enter")


class Column(NamedTuple):
    """One column of the table; `width` 0 takes what is left."""

    title: str
    width: int
    right: bool = False


def columns(width: int, widest: int = 24) -> list[Column]:
    """Which columns fit into so many cells."""
    number, prio, state = Column("#", 6, True), Column("prio", 8), Column("state", 11)
    said = Column("status", 0)
    if width >= 100:
        job = Column("job", max(16, min(widest, width // 4)))
        return [
            number,
            prio,
            state,
            job,
            Column("try", 5),
            Column("time", 7, True),
            Column("limit", 13),
            said,
        ]
    if width >= 74:
        job = Column("job", max(12, min(widest, width * 3 // 10)))
        return [prio, state._replace(width=9), job, Column("try", 5), Column("time", 7, True), said]
    return [Column("state", 9), Column("job", 0), Column("try", 5), Column("time", 7, True)]


def heading(cells: list[Column], width: int, sort: str) -> list[Piece]:
    """The titles; the one by which is sorted stands out."""
    by = {"number": "#", "name": "job", "priority": "prio", "tries": "try"}.get(sort, sort)
    line = Line((" ", ""))
    for column in cells:
        style = "key" if column.title == by else "label"
        line.add(fit(column.title, _width(column, cells, width), right=column.right) + "  ", style)
    return line.within(width)


def row(job: Job, cells: list[Column], width: int, now: float, said: str) -> list[Piece]:
    """A job in the table."""
    line = Line((" ", ""))
    for column in cells:
        size = _width(column, cells, width)
        for text, style in _cell(job, column.title, size, now, said):
            is_cut = style.startswith("cut ")
            line.add(text if is_cut else fit(text, size, right=column.right), style.removeprefix("cut "))
        line.add("  ")
    return line.within(width)


def _width(column: Column, cells: list[Column], width: int) -> int:
    used = 1 + sum(other.width + 2 for other in cells)
    return column.width or max(1, width - used)


def _cell(job: Job, title: str, size: int, now: float, said: str) -> list[Piece]:
    match title:
        case "#":
            return [(str(job.seq), "label")]
        case "prio":
            name = PRIORITIES[job.priority]
            return [(name, name if job.unfinished else "label")]
        case "state":
            return [(job.state, STYLES[job.state])]
        case "job":
            return [(job.name, "name" if job.state != "queued" else "")]
        case "try":
            return [
                (f"{job.attempts}/{job.most}" if job.attempts else "", "retry" if job.attempts > 1 else "")
            ]
        case "time":
            seconds = job.seconds(now)
            return [
                ("" if seconds is None else duration_text(seconds), "label" if job.state == "queued" else "")
            ]
        case "limit":
            return _limit(job, size, now)
    return _status(job, said)


def _limit(job: Job, size: int, now: float) -> list[Piece]:
    if job.timeout is None:
        return [("", "")]
    text = duration_text(job.timeout)
    seconds = job.seconds(now)
    if job.state != "running" or seconds is None:
        return [(text, "label")]
    share = seconds / job.timeout if job.timeout else 1.0
    done, rest = bar(share, 6)
    style = "failed" if share > 0.9 else "retry" if share > 0.6 else "running"
    tail = fit(f" {text}", size - 6)
    return [(done, f"cut {style}"), (rest, "cut track"), (tail, "cut label")]


def _status(job: Job, said: str) -> list[Piece]:
    if job.state == "running":
        return [(said, "output")]
    parts = [job.how if job.state not in ("ok", job.how) else "", job.message or said]
    text = ": ".join(part for part in parts if part)
    return [(text, "output" if job.state in ("ok", "queued", "pending") else "")]


def title(run: RunNow, history: History, width: int) -> Line:
    """What is looked at, and how far it is."""
    state = "bold running" if run.live else "bold ok" if run.state == "ended" else "bold retry"
    parts: list[list[Piece]] = [[("pqrun top", "strong")]]
    if run.name:
        parts.append([(run.name, "file")])
    parts.append([("run ", "label"), (run.id, "run")])
    if run.paused:
        parts.append([(" PAUSED ", "state")])
    parts.append([(run.state, state)])
    if run.stopping:
        parts.append([(" STOPPING ", "stop")])
    parts.append([(f"{run.ended:,}/{run.added:,}" + ("" if run.complete else "+"), "strong")])
    parts.append([(duration_text(max(0.0, run.now - run.began)), "")])
    if (left := history.eta(run)) is not None:
        parts.append([(f"ETA ~{duration_text(left)}", "running")])
    return join(parts, 2, width - 1)


def dashboard(run: RunNow, jobs: Jobs, history: History, width: int) -> list[list[Piece]]:
    """Five lines: the jobs by state, the ten numbers, the three curves."""
    numbers = run.metrics
    counts: list[list[Piece]] = [
        [(f"{jobs.counts[state]:,} ", STYLES[state]), (state, "label")]
        for state in STATES
        if jobs.counts[state]
    ]
    workers = f"{numbers.active_workers}/{run.workers}" if run.workers else str(numbers.active_workers)
    rate = history.per_second(run)
    groups = (
        (("queue", f"{numbers.current_queue_size:,}"), ("active", workers),
         ("avg wait", duration_text(numbers.average_wait_time)),
         ("avg run", duration_text(numbers.average_processing))),
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
    lines.append(Line((done, "ok"), (rest, "track"), (share, "strong")))
    if side:
        size = max(1, side - 19)
        curves = (
            ("queue", history.queue, f"{numbers.current_queue_size:,}", "retry"),
            ("running", history.running, workers, "running"),
            ("rate", history.rate, "" if rate is None else _rate(rate), "ok"),
        )
        for line, (name, values, value, style) in zip(lines[1:4], curves, strict=True):
            line.pad_to(left + 1)
            line.add(f"{name:<8}", "label").add(curve(list(values), size), style).add(
                f" {value:>9}", "strong"
            )
    return [[(" ", ""), *line.pieces] for line in lines]


def _rate(rate: float) -> str:
    return f"{rate:.1f}/s" if rate >= 1 else f"{rate * 60:.1f}/min"


def table_title(jobs: Jobs, width: int) -> list[Piece]:
    """Which jobs are listed, in which order."""
    wanted = str(jobs.wanted)
    line = Line(
        (f" {len(jobs):,}", "strong"), (f" of {len(jobs.all):,} jobs" if wanted else " jobs", "label")
    )
    if wanted:
        line.add("  filter ", "label").add(wanted, "key").add("  Esc: all", "label")
    line.add("  by ", "label").add(jobs.sort + (" ▲" if jobs.reverse else " ▼"), "")
    return line.within(width)


def keys(width: int) -> list[Piece]:
    """As many keys as fit, the most needed first, in a fixed order."""
    names = dict(KEYS)
    chosen: list[str] = []
    room = width - 1
    for key in FIRST:
        if (size := len(key) + len(names[key]) + 3) <= room:
            chosen.append(key)
            room -= size
    parts: list[list[Piece]] = [[(f"{key} ", "high"), (name, "")] for key, name in KEYS if key in chosen]
    return [(" ", ""), *join(parts, 2, width).pieces]
