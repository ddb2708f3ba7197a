# SPDX-License-Identifier: LGPL-3.0-or-later
"""The summary at the end of a run, in bounded memory."""

from __future__ import annotations

import heapq
from typing import NamedTuple

from pqrun.core import events as ev
from pqrun.core import text as hints
from pqrun.core.job import CountedAs, JobSpec, LostExit, NotStarted, Outcome, format_command
from pqrun.core.job_table import JobRow, JobTable, Observer
from pqrun.core.metrics import CORE_METRICS, Metrics
from pqrun.core.text import describe_exit, escape_controls, format_duration, job_label, shorten, strip_ansi
from pqrun.ui.terminal import OUTCOME_STYLES, Style

MAX_FAILURES = 20
MAX_TAIL_LINES = 5
MAX_SLOWEST = 3
MAX_LINE_LENGTH = 300


class SummaryFailure(NamedTuple):
    """A job that did not end well, with its last lines of output."""

    seq: int
    spec: JobSpec
    outcome: Outcome
    how: str
    attempts: int
    seconds: float
    lines: list[str]

    @property
    def is_final(self) -> bool:
        """Whether `resume` will leave the job as it is, unless asked for failed jobs."""
        return self.outcome is not Outcome.INTERRUPTED or not self.spec.rerun


class RunSummary(Observer):
    """The failures and slowest attempts of a run, for the summary; `table` has the counts.

    It keeps the first `MAX_FAILURES` failures, and the last output of those jobs from the end of the attempt
    until the end of the job, because another observer may remove the output in between.
    """

    wants_past = True

    def __init__(self, table: JobTable) -> None:
        self.table = table
        self.failures: list[SummaryFailure] = []
        self.not_kept = 0
        self._lines: dict[int, list[str]] = {}
        self._slowest: list[tuple[float, int, int, str]] = []
        self.handlers = {
            ev.AttemptEnded: self._attempt_ended,
            ev.JobEnded: self._ended,
            ev.JobReopened: self._forget,
            ev.JobDropped: self._forget,
        }

    @property
    def slowest(self) -> list[tuple[str, float]]:
        """The longest attempts, as pairs of label and seconds."""
        return [(name, seconds) for seconds, _, _, name in sorted(self._slowest, reverse=True)]

    def _attempt_ended(self, event: ev.AttemptEnded, row: JobRow) -> None:
        seconds = event.ended - event.began
        if len(self._slowest) < MAX_SLOWEST or seconds > self._slowest[0][0]:
            heapq.heappush(self._slowest, (seconds, event.seq, event.attempt, job_label(row.spec)))
            if len(self._slowest) > MAX_SLOWEST:
                heapq.heappop(self._slowest)
        if event.counted is not CountedAs.COMPLETED and len(self.failures) < MAX_FAILURES:
            self._lines[event.seq] = _last_lines(event)

    def _ended(self, event: ev.JobEnded, row: JobRow) -> None:
        lines = self._lines.pop(event.seq, []) if self._lines else []
        if event.outcome is Outcome.OK or (event.outcome is Outcome.SKIPPED and event.allowed):
            return
        if len(self.failures) >= MAX_FAILURES:
            self.not_kept += 1
            return
        self.failures.append(
            SummaryFailure(
                event.seq,
                row.spec,
                event.outcome,
                how_it_ended(event, row),
                event.attempts,
                row.seconds or 0.0,
                lines,
            )
        )

    def _forget(self, event: ev.JobReopened | ev.JobDropped, _: JobRow | None) -> None:
        self._lines.pop(event.seq, None)
        self.failures = [failure for failure in self.failures if failure.seq != event.seq]


def how_it_ended(event: ev.JobEnded, row: JobRow) -> str:
    """Return how a job ended that did not succeed, in a few words."""
    if event.outcome is Outcome.SKIPPED:
        how = f"needs {event.because}"
    elif row.seconds is None:
        how = "before it began"
    else:
        how = describe_exit(row.exit, row.asked, row.spec.timeout)
    return f"{how} (may fail)" if event.allowed else how


def _last_lines(event: ev.AttemptEnded) -> list[str]:
    said = [strip_ansi(event.said.message)] if event.said.message else []
    if isinstance(event.exit, NotStarted):
        return [*said, strip_ansi(event.exit.why)]
    if isinstance(event.exit, LostExit) and event.exit.why:
        said.append(strip_ansi(event.exit.why))
    if event.output is None:
        return said
    try:
        text = event.output.err.tail() or event.output.out.tail()
    except OSError:
        return said  # the output file has been removed
    lines = [strip_ansi(line) for line in text.decode("utf-8", "replace").replace("\r", "\n").split("\n")]
    return said + [line[:MAX_LINE_LENGTH] for line in lines if line][-MAX_TAIL_LINES:]


COMMAND_LINES = 3
MAX_COMMAND_LENGTH = 300


def format_summary(page: RunSummary, metrics: Metrics, seconds: float, paint: Style, *, run: str = "") -> str:
    """Return the summary as text.

    With `run`, the name of a recorded run, the commands for its logs and for `resume` are added.
    """
    lines: list[str] = []
    bad = [failure for failure in page.failures if failure.is_final]
    if bad:
        lines.append("")
        lines += [line for failure in bad for line in _failure(failure, paint)]
        if page.not_kept:
            lines.append(f"… and {page.not_kept} more")
        lines.append("")
    lines.append(f"pqrun: {_headline(page, metrics, seconds, paint)}")
    if page.table.ended_count:
        lines += _details(page, metrics, paint)
    if not page.table.input_complete:
        lines.append("pqrun: the list of jobs was not read completely")
    return "\n".join(lines + (_next_commands(page, run, bad, paint) if run else []))


def _failure(failure: SummaryFailure, paint: Style) -> list[str]:
    style = OUTCOME_STYLES[failure.outcome]
    how = paint(style.removeprefix("bold "), escape_controls(failure.how))
    took = f" after {format_duration(failure.seconds)}" if failure.seconds else ""
    tries = f", {failure.attempts} tries" if failure.attempts > 1 else ""
    heading = (
        f"{paint(style, str(failure.outcome).upper())} {paint('bold', escape_controls(failure.spec.id))}"
    )
    lines = [f"{heading}: {how}{took}{tries}"]
    command = [line for line in format_command(failure.spec.work).split("\n") if line.strip()]
    for line in command[:COMMAND_LINES]:
        lines.append(paint("cyan", f"  $ {escape_controls(shorten(line, MAX_COMMAND_LENGTH), keep='')}"))
    return lines + [f"  {paint('dim', '│')} {line}" for line in failure.lines]


def _headline(page: RunSummary, metrics: Metrics, seconds: float, paint: Style) -> str:
    table = page.table
    if not table.added:
        return "no jobs"
    counts = [paint(OUTCOME_STYLES[o], f"{table.outcomes[o]} {o}") for o in Outcome if table.outcomes[o]]
    if metrics.jobs_retried:
        counts.append(paint("yellow", f"{metrics.jobs_retried} retried"))
    if table.unfinished:
        counts.append(f"{table.unfinished} not run")
    if table.flaky:
        counts.append(f"{table.flaky} flaky")
    took = f"in {format_duration(seconds)} ({', '.join(counts)})"
    jobs = f"{table.added} job{'s' if table.added != 1 else ''}"
    if table.failed:
        return f"{paint('bold red', f'{table.failed} of {jobs} failed')} {took}"
    stopped = f"stopped by {table.stopped.removeprefix('signal ')}: " if table.stopped else ""
    return f"{stopped}{paint('bold', jobs)} {took}"


def _details(page: RunSummary, metrics: Metrics, paint: Style) -> list[str]:
    slowest = ", ".join(f"{shorten(name, 40)} {format_duration(seconds)}" for name, seconds in page.slowest)
    ten = [f"{paint('dim', _word(name))} {_number(getattr(metrics, name))}" for name in CORE_METRICS]
    lines = [f"  {paint('dim', 'slowest')}  {slowest}"] if slowest else []
    lines.append(f"  {paint('dim', 'metrics')}  {', '.join(ten[:6])},")
    return [*lines, f"           {', '.join(ten[6:])}"]


def _next_commands(page: RunSummary, run: str, bad: list[SummaryFailure], paint: Style) -> list[str]:
    commands = []
    if bad:
        one = bad[0].spec.id
        name = one if one.isprintable() else str(bad[0].seq)
        commands.append(("see a log", hints.command("logs", run, name)))
        commands.append(("run failed jobs again", hints.command("resume", run, options="--failed")))
    elif page.table.left_undone:
        commands.append(("continue", hints.command("resume", run)))
    else:
        commands.append(("see more", hints.command("show", run)))
    width = max(len(what) for what, _ in commands)
    return [f"  {paint('dim', f'{what:<{width}}')}  {paint('bold', command)}" for what, command in commands]


def _word(name: str) -> str:
    return name.removeprefix("jobs_").replace("_", " ").replace("average", "avg").replace("current ", "")


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else format_duration(value)
