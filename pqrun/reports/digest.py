# SPDX-License-Identifier: LGPL-3.0-or-later
"""A run in bounded memory: the failures, the flaky jobs, the slowest jobs."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pqrun.core.job import Outcome
from pqrun.core.job_row import JobRow
from pqrun.core.job_table import JobTable
from pqrun.core.text import count_of
from pqrun.reports.cases import CaseReport, ReportedCase
from pqrun.reports.report import Ending, RunInfo
from pqrun.reports.safe_text import last_lines

if TYPE_CHECKING:
    from pqrun.core.past import FlakyRate

MAX_FAILURES = 500
MAX_TAILS = 50
TAIL_BYTES = 8 * 1024
TAIL_LINES = 50
MAX_SLOWEST = 5
UNSUCCESSFUL = ("failed", "error", "allowed")


def headline(added: int, ended: int, outcomes: Counter[Outcome]) -> str:
    """Return the counts of a run's jobs as text: `10 jobs: 7 ok, 2 failed, 1 skipped`."""
    parts = [f"{outcomes[outcome]} {outcome}" for outcome in Outcome if outcomes[outcome]]
    if left := added - ended:
        parts.append(f"{left} not run")
    jobs = count_of(added, "job")
    return f"{jobs}: {', '.join(parts)}" if parts else jobs


class DigestFailure:
    """A job that failed, with the last lines of its output."""

    __slots__ = ("allowed", "lines", "row")

    def __init__(self, row: JobRow, lines: list[str], *, allowed: bool) -> None:
        self.row = row
        self.lines = lines
        self.allowed = allowed


class RunDigest(CaseReport):
    """The digest of a run. It keeps the first jobs of each kind, up to a maximum; the table counts all.

    `interrupted`: jobs that were running when the run ended without an end of theirs.
    """

    option = "--summary"
    tail = TAIL_BYTES

    def __init__(self, table: JobTable) -> None:
        super().__init__(table)
        self.failures: dict[int, DigestFailure] = {}
        self.flaky: dict[int, JobRow] = {}
        self.interrupted = 0
        self._slowest: list[tuple[float, int, JobRow]] = []

    def finish(self, ending: Ending) -> None:
        """Add the jobs that were running when the run ended."""
        for case in self.rest(live=ending.live):
            if case.verdict == "error":
                self.interrupted += 1
                self.put(case)

    @property
    def added(self) -> int:
        """The number of jobs."""
        return self.table.added

    @property
    def ended(self) -> int:
        """The number of jobs that have ended."""
        return self.table.ended_count + self.interrupted

    @property
    def bad(self) -> int:
        """The number of jobs that failed, also of those that may fail."""
        outcomes = self.outcomes
        return outcomes[Outcome.FAILED] + outcomes[Outcome.TIMEOUT] + outcomes[Outcome.INTERRUPTED]

    @property
    def outcomes(self) -> Counter[Outcome]:
        """The number of jobs with each outcome."""
        return self.table.outcomes + Counter({Outcome.INTERRUPTED: self.interrupted})

    @property
    def slowest(self) -> list[tuple[float, JobRow]]:
        """The jobs that ran longest, longest first, with their seconds."""
        return [(seconds, row) for seconds, _, row in sorted(self._slowest, reverse=True)]

    def flaky_rates(self, run: RunInfo) -> Mapping[int, FlakyRate]:
        """Return in how many of their last runs the failed and the flaky jobs failed, by number.

        Without such a job, and of a run without a record, nothing is read.
        """
        rows = [*(failure.row for failure in self.failures.values()), *self.flaky.values()]
        if run.directory is None or not rows:
            return {}
        from pqrun.journal.past import flaky_rates
        from pqrun.journal.run_directory import RunDirectory

        return flaky_rates(RunDirectory(run.directory), rows)

    def headline(self) -> str:
        """Return the counts as text: `10 jobs: 7 ok, 2 failed, 1 skipped`."""
        return headline(self.added, self.ended, self.outcomes)

    def put(self, case: ReportedCase) -> None:
        """Keep the job if it failed, was flaky or is one of the slowest."""
        row, verdict = case.row, case.verdict
        if verdict in UNSUCCESSFUL and len(self.failures) < MAX_FAILURES:
            wanted = len(self.failures) < MAX_TAILS
            told = last_lines(case.err, TAIL_LINES) or last_lines(case.out, TAIL_LINES) if wanted else []
            self.failures[row.seq] = DigestFailure(row, told, allowed=verdict == "allowed")
        elif verdict == "flaky" and len(self.flaky) < MAX_FAILURES:
            self.flaky[row.seq] = row
        if (seconds := row.run_seconds) is not None:
            heapq.heappush(self._slowest, (seconds, -row.seq, row))
            if len(self._slowest) > MAX_SLOWEST:
                heapq.heappop(self._slowest)

    def forget(self, seq: int) -> None:
        """Forget a job, because it runs again or was removed from the run."""
        self.failures.pop(seq, None)
        self.flaky.pop(seq, None)
        self._slowest = [slow for slow in self._slowest if slow[1] != -seq]
        heapq.heapify(self._slowest)
