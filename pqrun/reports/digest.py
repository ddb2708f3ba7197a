# SPDX-License-Identifier: LGPL-3.0-or-later
"""A run in bounded memory: counts, the failures, the flaky jobs, the slowest jobs."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence

from pqrun.core import events as ev
from pqrun.core.job import Outcome
from pqrun.core.job_table import JobRow
from pqrun.reports.cases import ReportedCase, ReportedCases, last_lines
from pqrun.reports.run_info import Ending

MAX_FAILURES = 500
MAX_TAILS = 50
TAIL_BYTES = 8 * 1024
TAIL_LINES = 50
MAX_SLOWEST = 5
UNSUCCESSFUL = ("failed", "error", "allowed")


class DigestFailure:
    """A job that failed, with the last lines of its output."""

    __slots__ = ("allowed", "lines", "row")

    def __init__(self, row: JobRow, lines: list[str], *, allowed: bool) -> None:
        self.row = row
        self.lines = lines
        self.allowed = allowed


class RunDigest:
    """The digest of a run. It keeps the first jobs of each kind, up to a maximum, and counts the rest."""

    def __init__(self) -> None:
        self.added = 0
        self.outcomes: Counter[str] = Counter()
        self.verdicts: Counter[str] = Counter()
        self.failures: dict[int, DigestFailure] = {}
        self.flaky: dict[int, JobRow] = {}
        self._cases = ReportedCases(self._put, self._forget, tail=TAIL_BYTES)
        self._verdict_of: dict[int, str] = {}
        self._slowest: list[tuple[float, int, JobRow]] = []

    def on_events(self, events: Sequence[ev.Event]) -> None:
        """Process the events, in order."""
        for event in events:
            match event:
                case ev.JobAdded():
                    self.added += 1
                case ev.JobDropped(outcome=outcome):
                    self.added -= 1
                    self._uncount(outcome)
                case ev.JobReopened(outcome=outcome):
                    self._uncount(outcome)
        self._cases.hear(events)

    def finish(self, ending: Ending) -> None:
        """Add the jobs that were running when the run ended."""
        for case in self._cases.rest(live=ending.live):
            if case.verdict == "error":
                self._put(case)

    @property
    def stopped(self) -> str:
        """The cause if the run was stopped, else an empty string."""
        return self._cases.table.stopped

    @property
    def ended(self) -> int:
        """The number of jobs that have ended."""
        return self.outcomes.total()

    @property
    def slowest(self) -> list[tuple[float, JobRow]]:
        """The jobs that ran longest, longest first, with their seconds."""
        return [(seconds, row) for seconds, _, row in sorted(self._slowest, reverse=True)]

    def headline(self) -> str:
        """Return the counts as text: `10 jobs: 7 ok, 2 failed, 1 skipped`."""
        parts = [f"{self.outcomes[outcome]} {outcome}" for outcome in Outcome if self.outcomes[outcome]]
        if left := self.added - self.ended:
            parts.append(f"{left} not run")
        jobs = "1 job" if self.added == 1 else f"{self.added} jobs"
        return f"{jobs}: {', '.join(parts)}" if parts else jobs

    def _put(self, case: ReportedCase) -> None:
        row, verdict = case.row, case.verdict
        self.outcomes[row.state] += 1
        self.verdicts[verdict] += 1
        if verdict in UNSUCCESSFUL and len(self.failures) < MAX_FAILURES:
            wanted = len(self.failures) < MAX_TAILS
            told = last_lines(case.err, TAIL_LINES) or last_lines(case.out, TAIL_LINES) if wanted else []
            self.failures[row.seq] = DigestFailure(row, told, allowed=verdict == "allowed")
        elif verdict == "flaky" and len(self.flaky) < MAX_FAILURES:
            self.flaky[row.seq] = row
        if verdict != "ok":
            self._verdict_of[row.seq] = verdict
        if row.started is not None and row.ended is not None:
            heapq.heappush(self._slowest, (row.ended - row.started, -row.seq, row))
            if len(self._slowest) > MAX_SLOWEST:
                heapq.heappop(self._slowest)

    def _uncount(self, outcome: Outcome | None) -> None:
        if outcome is not None:
            self.outcomes[str(outcome)] -= 1

    def _forget(self, seq: int) -> None:
        self.failures.pop(seq, None)
        self.flaky.pop(seq, None)
        if verdict := self._verdict_of.pop(seq, ""):
            self.verdicts[verdict] -= 1
        self._slowest = [slow for slow in self._slowest if slow[1] != -seq]
        heapq.heapify(self._slowest)
