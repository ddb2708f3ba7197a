# SPDX-License-Identifier: LGPL-3.0-or-later
"""The facts for the summary at the end of a run, kept in bounded memory."""

from __future__ import annotations

import heapq
from typing import NamedTuple

from pqrun.core import events as ev
from pqrun.core.events import Observer
from pqrun.core.job import CountedAs, JobSpec, LostExit, NotStarted, Outcome
from pqrun.core.job_row import JobRow
from pqrun.core.job_table import JobTable
from pqrun.core.text import describe_exit, job_label, plain_line, strip_ansi, try_of

MAX_FAILURES = 20
MAX_TAIL_LINES = 5
MAX_SLOWEST = 3
MAX_FLAKY = 3
MAX_LINE_LENGTH = 300
MAY_FAIL = " (may fail)"


class SummaryFailure(NamedTuple):
    """A job that did not end well. `said`: why, in its own or pqrun's words; `lines`: its last lines of output."""

    row: JobRow
    seq: int
    spec: JobSpec
    outcome: Outcome
    how: str
    attempts: int
    seconds: float
    said: list[str]
    lines: list[str]


class FlakyJob(NamedTuple):
    """A job that succeeded only after a retry. `passed`: at which try. `how`: how its first attempt ended."""

    row: JobRow
    seq: int
    label: str
    passed: str
    how: str


class RunSummary(Observer):
    """The failures, flaky jobs and slowest attempts of a run, for the summary; `table` has the counts.

    It keeps the first `MAX_FAILURES` failures, and the last output of those jobs from the end of the attempt
    until the end of the job, because another observer may remove the output in between. Interrupted jobs
    that `resume` runs again are no failures; `given_up` has those that it does not.
    """

    wants_past = True

    def __init__(self, table: JobTable) -> None:
        self.table = table
        self.failures: list[SummaryFailure] = []
        self.skipped: list[SummaryFailure] = []
        self.flaky: list[FlakyJob] = []
        self.not_kept = 0
        self.given_up: set[int] = set()
        self._lines: dict[int, tuple[list[str], list[str]]] = {}
        self._first: dict[int, str] = {}
        self._slowest: list[tuple[float, int, int, str]] = []
        self.handlers = {
            ev.AttemptEnded: self._attempt_ended,
            ev.JobEnded: self._ended,
            ev.JobReopened: self._forget,
            ev.JobDropped: self._dropped,
            ev.JobChanged: self._changed,
        }

    @property
    def slowest(self) -> list[tuple[str, float]]:
        """The longest attempts, as pairs of label and seconds."""
        return [(name, seconds) for seconds, _, _, name in sorted(self._slowest, reverse=True)]

    @property
    def resumable(self) -> int:
        """The number of jobs that `resume` would run."""
        table = self.table
        return table.unfinished + table.outcomes[Outcome.INTERRUPTED] - len(self.given_up)

    def failed_rows(self) -> list[JobRow]:
        """Return the rows of the jobs that failed or were flaky, as far as they are kept."""
        return [*(job.row for job in self.failures), *(job.row for job in self.flaky)]

    def _attempt_ended(self, event: ev.AttemptEnded, row: JobRow) -> None:
        seconds = event.ended - event.began
        if len(self._slowest) < MAX_SLOWEST or seconds > self._slowest[0][0]:
            heapq.heappush(self._slowest, (seconds, event.seq, event.attempt, job_label(row.spec)))
            if len(self._slowest) > MAX_SLOWEST:
                heapq.heappop(self._slowest)
        if event.counted is not CountedAs.COMPLETED:
            if len(self.failures) < MAX_FAILURES:
                self._lines[event.seq] = _last_words(event)
            if event.counted is CountedAs.RETRIED:
                self._first.setdefault(event.seq, describe_exit(event.exit, event.asked, row.spec.timeout))

    def _ended(self, event: ev.JobEnded, row: JobRow) -> None:
        said, lines = self._lines.pop(event.seq, ([], [])) if self._lines else ([], [])
        first = self._first.pop(event.seq, "") if self._first else ""
        if event.outcome is Outcome.OK:
            if row.retries and row.is_flaky and len(self.flaky) < MAX_FLAKY:
                passed = try_of(event.attempts, row.spec)
                self.flaky.append(FlakyJob(row, event.seq, job_label(row.spec), passed, first))
            return
        if event.outcome is Outcome.INTERRUPTED:
            if row.spec.rerun:
                return
            self.given_up.add(event.seq)
        kept = self.skipped if event.outcome is Outcome.SKIPPED else self.failures
        if event.outcome is Outcome.SKIPPED and event.allowed:
            return
        if len(kept) >= MAX_FAILURES:
            self.not_kept += kept is self.failures
            return
        how, took = how_it_ended(event, row), row.seconds or 0.0
        kept.append(
            SummaryFailure(row, event.seq, row.spec, event.outcome, how, event.attempts, took, said, lines)
        )

    def _changed(self, event: ev.JobChanged, row: JobRow | None) -> None:
        """Say of a failed job whether it may fail, which an edited list can change."""
        if row is not None and row.outcome in (Outcome.FAILED, Outcome.TIMEOUT):
            self.failures = [
                job._replace(how=job.how.removesuffix(MAY_FAIL) + MAY_FAIL * row.allowed)
                if job.seq == event.seq
                else job
                for job in self.failures
            ]

    def _dropped(self, event: ev.JobDropped, row: JobRow | None) -> None:
        """Forget a job that an edited list has left out or changed."""
        self._forget(event, row)
        self._slowest = [slow for slow in self._slowest if slow[1] != event.seq]
        heapq.heapify(self._slowest)

    def _forget(self, event: ev.JobReopened | ev.JobDropped, _: JobRow | None) -> None:
        seq = event.seq
        self._lines.pop(seq, None)
        self._first.pop(seq, None)
        self.given_up.discard(seq)
        self.failures = [job for job in self.failures if job.seq != seq]
        self.skipped = [job for job in self.skipped if job.seq != seq]
        self.flaky = [job for job in self.flaky if job.seq != seq]


def how_it_ended(event: ev.JobEnded, row: JobRow) -> str:
    """Return how a job ended that did not succeed, in a few words."""
    if event.outcome is Outcome.SKIPPED:
        how = f"needs {event.because}"
    elif row.seconds is None:
        how = "before it began"
    else:
        how = describe_exit(row.exit, row.asked, row.spec.timeout)
    return how + MAY_FAIL if event.allowed else how


def _last_words(event: ev.AttemptEnded) -> tuple[list[str], list[str]]:
    """Return what the job or pqrun said of the attempt's end, and the last lines of its output."""
    said = [strip_ansi(event.said.message)] if event.said.message else []
    if isinstance(event.exit, NotStarted):
        return [*said, strip_ansi(event.exit.why)], []
    if isinstance(event.exit, LostExit) and event.exit.why:
        said.append(strip_ansi(event.exit.why))
    if event.output is None:
        return said, []
    try:
        text = event.output.err.tail() or event.output.out.tail()
    except OSError:
        return said, []  # the output file has been removed
    lines = [plain_line(line) for line in text.decode("utf-8", "replace").replace("\r", "\n").split("\n")]
    return said, [line[:MAX_LINE_LENGTH] for line in lines if line.strip()][-MAX_TAIL_LINES:]
