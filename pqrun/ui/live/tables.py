# SPDX-License-Identifier: LGPL-3.0-or-later
"""The rows of the live table: running jobs, waiting retries and recent failures."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from pqrun.core.text import format_duration
from pqrun.ui.live.cells import (
    MIDDLE,
    NARROW,
    WIDE,
    StyledLine,
    StyledText,
    bar,
    cpu_text,
    fit,
    fit_name,
    fit_words,
    memory_text,
    urgency,
    width_of,
)
from pqrun.ui.live.state import FailedAttempt, RunningJob, TableView, WaitingJob

PROGRESS_BAR_CELLS = 7
PROGRESS_CELLS = PROGRESS_BAR_CELLS + 5
SHORT_WAIT_SECONDS = 60
MAX_NAME_CELLS, USUAL_NAME_CELLS, MIN_NAME_CELLS = 48, 26, 20


def wanted_rows(facts: TableView, width: int) -> int:
    """Return how many rows show all running jobs, and all waiting retries with their reasons."""
    waiting = len(facts.waiting) * (1 if width >= MIDDLE else 2)
    hidden = bool(facts.more_running or facts.more_waiting)
    return max(len(facts.running) + waiting + hidden, facts.reserve, 1)


def jobs(facts: TableView, width: int, rows: int) -> list[StyledLine]:
    """Return a header and `rows` lines of running and waiting jobs. If not all fit, the last counts the rest."""
    running, waiting = facts.running, facts.waiting
    hidden = bool(facts.more_running or facts.more_waiting)
    if len(running) + len(waiting) + hidden > rows:
        hidden, kept = True, max(1, rows - 1)
        few = min(len(waiting), max(kept // 3, kept - len(running), 1 if kept > 1 or not running else 0))
        running, waiting = running[: kept - few], waiting[:few]
    layout = _JobColumns(facts, running, waiting, width)
    lines = [layout.head()]
    lines += [layout.running_row(job) for job in running]
    apart = width < MIDDLE and len(running) + 2 * len(waiting) + hidden <= rows
    for job in waiting:
        lines.append(layout.waiting_row(job))
        if apart and job.why:
            lines.append(
                StyledLine((" " * layout.indent, ""), (fit(job.why, width - layout.indent), "output"))
            )
    if note := _note(facts, facts.active - len(running), facts.waits - len(waiting)):
        lines.append(StyledLine((fit_words(" " * layout.indent + note, width), "label")))
    return lines[: rows + 1] + [StyledLine() for _ in range(rows + 1 - len(lines))]


def _note(facts: TableView, hidden: int, hidden_waiting: int) -> str:
    """Return the line below the jobs: how many are not shown, or why none starts."""
    if hidden or hidden_waiting:
        parts = [f"{hidden} more running"] if hidden else []
        return "… and " + ", ".join([*parts, *([f"{hidden_waiting} more waiting"] if hidden_waiting else [])])
    if facts.hold_reason:
        return f"no job starts: {facts.hold_reason}"
    if facts.state == "paused" and not facts.active:
        return "no job starts until you press p p again"
    return "" if facts.active or facts.waiting else "no job runs now"


class _JobColumns:
    """The columns and their widths. Two blanks follow every column but the last."""

    def __init__(
        self, facts: TableView, running: Sequence[RunningJob], waiting: Sequence[WaitingJob], width: int
    ) -> None:
        self.width = width
        everyone: list[RunningJob | WaitingJob] = [*running, *waiting]
        self.only_waiting = bool(waiting) and not facts.active
        wide = width >= NARROW
        self.seq = max(3, len(str(max((job.seq for job in everyone), default=0)))) if wide else 0
        self.priority = 1 if wide else 0
        self.indent = self.seq + self.priority + 4 if wide else 2
        self.tries = max([3, *(len(f"{job.attempt}/{job.of}") for job in everyone)]) if wide else 0
        self.time = 6 if wide or not waiting else 8
        if self.only_waiting and wide:
            self.time = 0
        self.progress = 0
        if wide and (facts.has_progress or waiting):
            long = any(job.seconds >= SHORT_WAIT_SECONDS for job in waiting)
            self.progress = PROGRESS_CELLS + (2 if long else 0)
        self.cpus, self.memory = (
            (5, 5) if facts.measured and width >= WIDE and not self.only_waiting else (0, 0)
        )
        columns = (self.seq, self.priority, self.tries, self.time, self.progress, self.cpus, self.memory)
        left = width - sum(n + 2 for n in columns if n)
        self.name, self.output = left, 0
        if width >= MIDDLE:
            usual = MIN_NAME_CELLS if self.only_waiting else min(USUAL_NAME_CELLS, left * 3 // 5)
            self.name = min(MAX_NAME_CELLS, max(usual, left * 2 // 5))
            self.output = left - self.name - 2

    def head(self) -> StyledLine:
        """Return the line of column names."""
        only = self.only_waiting
        return heads(
            [
                (self.seq, "#", True), (self.priority, "P", False),
                (self.name, "waiting" if only else "running", False), (self.tries, "try", False),
                (self.time, "time", True), (self.progress, "then" if only else "progress", False),
                (self.cpus, "cpu", True), (self.memory, "mem", True),
                (self.output, "why" if only else "last output", False),
            ],
            self.width,
        )  # fmt: skip

    def running_row(self, job: RunningJob) -> StyledLine:
        """Return the line of a running job."""
        line = self._begin(job, "name")
        share = job.seconds / job.limit if job.limit else 0.0
        if self.tries:
            line.add(
                fit(f"{job.attempt}/{job.of}", self.tries) + "  ", "retry" if job.attempt > 1 else "label"
            )
        line.add(fit(_clock(job.seconds), self.time, right=True) + "  ", urgency(share))
        if self.progress:
            line.pieces += self._progress_of(job)
        if self.cpus:
            line.add(fit(cpu_text(job.cpus), self.cpus, right=True) + "  ", "label")
            line.add(fit(memory_text(job.memory), self.memory, right=True) + "  ", "label")
        if self.output:
            line.pieces += _output_of(job, self.output)
        return line

    def waiting_row(self, job: WaitingJob) -> StyledLine:
        """Return the line of a job that waits for its next attempt."""
        line = self._begin(job, "retry")
        wait = _countdown(job.seconds, "starts" if job.delayed else "again")
        if self.tries:
            line.add(fit(f"{job.attempt}/{job.of}", self.tries) + "  ", "retry")
        if not self.progress:  # a very narrow window
            return line.add(fit(wait.partition(" ")[2], self.time, right=True), "bold retry")
        line.add(" " * (self.time + 2) if self.time else "")
        line.add(fit(wait, self.progress) + "  ", "bold retry")
        line.add(" " * (self.cpus + self.memory + 4) if self.cpus else "")
        return line.add(fit(job.why, self.output), "output")

    def _begin(self, job: RunningJob | WaitingJob, style: str) -> StyledLine:
        line = StyledLine()
        if self.seq:
            name = job.priority.name
            line.add(fit(str(job.seq), self.seq, right=True) + "  ", "label")
            line.add(name[0] + "  ", "label" if name == "NORMAL" else name.lower())
        return line.add(fit_name(job.name, self.name) + "  ", style)

    def _progress_of(self, job: RunningJob) -> list[StyledText]:
        if job.ending and not self.output:
            return [(fit(job.ending, self.progress) + "  ", "failed")]
        if job.progress is not None:
            done, rest = bar(job.progress, PROGRESS_BAR_CELLS)
            percent = f" {fit(f'{100 * job.progress:.0f}%', 4, right=True)}"
            pad = " " * (self.progress - PROGRESS_CELLS + 2)
            return [(done, "running"), (rest, "track"), (percent + pad, "")]
        limit = "" if job.limit is None else f"of {_round(job.limit)}"
        return [(fit(limit, self.progress) + "  ", "label")]


def failures(failed: Sequence[FailedAttempt], width: int) -> list[StyledLine]:
    """Return a header and a line for each job that failed."""
    seq = max(3, len(str(max((one.seq for one in failed), default=0))))
    how = max([3, *(width_of(one.how) for one in failed)])
    tries = max([3, *(len(f"{one.attempt}/{one.of}") for one in failed)]) if width >= WIDE else 0
    ago = 6 if width >= MIDDLE else 0
    left = width - sum(n + 2 for n in (seq, how, tries, ago) if n)
    name = min(MAX_NAME_CELLS, max(MIN_NAME_CELLS, left // 2)) if width >= MIDDLE else left
    line_width = left - name - 2 if width >= MIDDLE else 0
    names = [
        (seq, "#", True), (name, "failed", False), (how, "how", False), (tries, "try", False),
        (ago, "ago", True), (line_width, "last output", False),
    ]  # fmt: skip
    lines = [heads(names, width)]
    for one in failed:
        style = "timeout" if one.timeout else "failed"
        line = StyledLine((fit(str(one.seq), seq, right=True), "label"), ("  ", ""))
        line.add(fit_name(one.name, name), style).add("  ")
        line.add(fit(one.how, how), style).add("  ")
        line.add(fit(f"{one.attempt}/{one.of}", tries) + "  " if tries else "", "label")
        if ago:
            line.add(fit(_clock(one.ago), ago, right=True), "label").add("  ")
            line.add(fit(one.line, line_width))
        lines.append(line)
    return lines


def heads(columns: Sequence[tuple[int, str, bool]], width: int) -> StyledLine:
    """Return a line of column names, underlined to the edge."""
    names = [fit(name, size, right=right) for size, name, right in columns if size]
    return StyledLine((fit("  ".join(names), width), "head"))


def _output_of(job: RunningJob, width: int) -> list[StyledText]:
    pieces: list[StyledText] = []
    if job.ending:
        pieces.append((f"{job.ending} ", "failed"))
        width -= len(job.ending) + 1
    if job.status:
        pieces.append((fit(job.status, width), "status"))
    elif job.line:
        pieces.append((fit(job.line, width), "output"))
    return pieces


def _clock(seconds: float) -> str:
    return f"{int(seconds)}s" if seconds < 60 else format_duration(seconds)


def _countdown(seconds: float, what: str) -> str:
    """Return when a job is due: `again in 28s`, `again in 4m12s`, `starts in 12m`. Never `0s`."""
    left = ceil(seconds)
    if left <= 0:
        return f"{what} now"
    if 600 <= left < 3600:
        return f"{what} in {ceil(left / 60)}m"
    return f"{what} in {_round(float(left))}"


def _round(seconds: float) -> str:
    """Return a duration the way people write it: `2m`, not `2m00s`."""
    text = format_duration(seconds)
    return text[:-3] if text.endswith(("m00s", "h00m")) else text
