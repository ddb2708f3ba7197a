# SPDX-License-Identifier: LGPL-3.0-or-later
"""The rows of the live table: running jobs and recent failures."""

from __future__ import annotations

from collections.abc import Sequence

from pqrun.core.text import format_duration
from pqrun.ui.live.cells import MIDDLE, NARROW, WIDE, StyledLine, StyledText, bar, fit, urgency
from pqrun.ui.live.state import FailedAttempt, RunningJob, TableView

LIMIT_BAR = 6


def running(facts: TableView, width: int, rows: int) -> list[StyledLine]:
    """Return a header and `rows` lines. If not all jobs fit, the last line counts the rest."""
    jobs = facts.running
    hidden = len(jobs) + facts.more_running - rows
    if hidden > 0:
        jobs = jobs[: rows - 1]
        hidden = len(facts.running) + facts.more_running - len(jobs)
    layout = _RunningLayout(facts, jobs, width)
    lines = [layout.head()]
    lines += [layout.row(job) for job in jobs]
    if hidden > 0:
        lines.append(StyledLine((f"{'':{layout.seq}}  … and {hidden} more", "label")))
    elif facts.hold_reason and len(lines) <= rows:
        lines.append(StyledLine((f"{'':{layout.seq}}  no job starts: {facts.hold_reason}", "label")))
    elif not jobs:
        waits = "no job starts until you press p again" if facts.state == "paused" else "no job runs now"
        lines.append(StyledLine((f"{'':{layout.seq}}  {waits}", "label")))
    return lines + [StyledLine() for _ in range(rows + 1 - len(lines))]


class _RunningLayout:
    """The columns and their widths. Two blanks follow every column but the last."""

    def __init__(self, facts: TableView, jobs: Sequence[RunningJob], width: int) -> None:
        self.width = width
        self.seq = max(3, len(str(max((job.seq for job in jobs), default=0)))) if width >= NARROW else 0
        self.priority = 1 if width >= NARROW else 0
        self.tries = max([3, *(len(f"{job.attempt}/{job.of}") for job in jobs)]) if width >= MIDDLE else 0
        self.time = 6
        self.limit = 0
        if facts.limits and width >= NARROW:
            self.limit = LIMIT_BAR + 6 if width >= MIDDLE else 6
        self.cpus, self.memory = (5, 6) if facts.measured and width >= WIDE else (0, 0)
        columns = (self.seq, self.priority, self.tries, self.time, self.limit, self.cpus, self.memory)
        fixed = sum(n + 2 for n in columns if n)
        left = width - fixed
        self.output = 0
        if width >= MIDDLE:
            name = min(40, max(20, left * 2 // 5))
            self.output = left - name - 2
            self.name = name
        else:
            self.name = left

    def head(self) -> StyledLine:
        """Return the line of column names."""
        names = [
            (self.seq, "#", True), (self.priority, "P", False), (self.name, "running", False),
            (self.tries, "try", False), (self.time, "time", True), (self.limit, "of limit", False),
            (self.cpus, "cpu", True), (self.memory, "mem", True), (self.output, "last output", False),
        ]  # fmt: skip
        if self.limit and self.width < MIDDLE:
            names[5] = (self.limit, "limit", False)
        return heads(names, self.width)

    def row(self, job: RunningJob) -> StyledLine:
        """Return the line of a job."""
        pieces: list[StyledText] = []
        share = job.seconds / job.limit if job.limit else 0.0
        if self.seq:
            name = job.priority.name
            pieces.append((fit(str(job.seq), self.seq, right=True) + "  ", "label"))
            pieces.append((name[0] + "  ", name.lower()))
        pieces.append((fit(job.name, self.name) + "  ", "name"))
        if self.tries:
            tries = fit(f"{job.attempt}/{job.of}", self.tries)
            pieces.append((tries + "  ", "retry" if job.attempt > 1 else "label"))
        pieces.append((fit(_clock(job.seconds), self.time, right=True) + "  ", urgency(share)))
        if self.limit:
            pieces += self._limit_of(job, share)
        if self.cpus:
            cpus = "" if job.cpus is None else f"{100 * job.cpus:.0f}%"
            memory = "" if job.memory is None else _memory(job.memory)
            pieces.append((fit(cpus, self.cpus, right=True) + "  ", "label"))
            pieces.append((fit(memory, self.memory, right=True) + "  ", "label"))
        if self.output:
            pieces += _output_of(job, self.output)
        return StyledLine(*pieces)

    def _limit_of(self, job: RunningJob, share: float) -> list[StyledText]:
        if job.ending and not self.output:
            return [(fit(job.ending, self.limit) + "  ", "failed")]
        if job.limit is None:
            return [(fit("no limit" if self.width >= MIDDLE else "-", self.limit) + "  ", "label")]
        if self.width < MIDDLE:
            return [(fit(_round(job.limit), self.limit) + "  ", "label")]
        done, rest = bar(share, LIMIT_BAR)
        limit = fit(_round(job.limit), self.limit - LIMIT_BAR - 1)
        return [(done, urgency(share)), (f"{rest} {limit}  ", "label")]


def failures(failed: Sequence[FailedAttempt], width: int) -> list[StyledLine]:
    """Return a header and a line for each failed attempt."""
    seq = max(3, len(str(max((one.seq for one in failed), default=0))))
    how = max([3, *(len(one.how) for one in failed)])
    tries = max([3, *(len(f"{one.attempt}/{one.of}") for one in failed)]) if width >= MIDDLE else 0
    ago = 6 if width >= MIDDLE else 0
    left = width - sum(n + 2 for n in (seq, how, tries, ago) if n)
    name = min(40, max(16, left * 2 // 5)) if width >= MIDDLE else left
    line_width = left - name - 2 if width >= MIDDLE else 0
    names = [
        (seq, "#", True), (name, "recent failures", False), (how, "how", False), (tries, "try", False),
        (ago, "ago", True), (line_width, "last output", False),
    ]  # fmt: skip
    lines = [heads(names, width)]
    for one in failed:
        style = "retry" if not one.final else "timeout" if one.timeout else "failed"
        line = StyledLine((fit(str(one.seq), seq, right=True), "label"), ("  ", ""))
        line.add(fit(one.name, name), "failed" if one.final else "retry").add("  ")
        line.add(fit(one.how, how), style).add("  ")
        if tries:
            line.add(fit(f"{one.attempt}/{one.of}", tries), "label").add("  ")
            line.add(fit(_clock(one.ago), ago, right=True), "label").add("  ")
            line.add(fit(one.line, line_width), "output")
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
    if job.progress is not None:
        percent = f"{100 * job.progress:3.0f}% "
        pieces.append((percent, "status"))
        width -= len(percent)
    if job.status:
        pieces.append((fit(job.status, width), "status"))
    elif job.line:
        pieces.append((fit(job.line, width), "output"))
    return pieces


def _memory(size: int) -> str:
    """Return a size in at most six cells: `812K`, `57M`, `1.25G`."""
    if size < 1000 << 20:
        return f"{size >> 20}M" if size >= 1 << 20 else f"{size >> 10}K"
    return f"{size / (1 << 30):.2f}G" if size < 100 << 30 else f"{size >> 30}G"


def _clock(seconds: float) -> str:
    return f"{int(seconds)}s" if seconds < 60 else format_duration(seconds)


def _round(seconds: float) -> str:
    """Return a time limit the way people write it: `2m`, not `2m00s`."""
    text = format_duration(seconds)
    return text[:-3] if text.endswith(("m00s", "h00m")) else text
