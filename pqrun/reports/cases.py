# SPDX-License-Identifier: LGPL-3.0-or-later
"""The jobs of a run one by one as they end, each with the end of its output."""

from __future__ import annotations

from typing import NamedTuple

from pqrun.core import events as ev
from pqrun.core.events import Handler
from pqrun.core.job import (
    CountedAs,
    ExitedWith,
    JobSpec,
    KilledBySignal,
    LostExit,
    Outcome,
    format_command,
)
from pqrun.core.job_row import RUNNING, JobRow
from pqrun.core.job_table import JobTable
from pqrun.core.text import describe_exit
from pqrun.output.store import Stream
from pqrun.reports.report import Report
from pqrun.reports.safe_text import one_line

MAX_ID_LENGTH = 1000
MAX_COMMAND_LENGTH = 120


class ReportedCase(NamedTuple):
    """One job of a report. `out` and `err`: the end of its last attempt's output, empty after success."""

    row: JobRow
    out: bytes = b""
    err: bytes = b""

    @property
    def verdict(self) -> str:
        """One of `ok`, `flaky`, `failed`, `error`, `allowed`, `skipped`, `unneeded`, `left`.

        `error`: a failure without an exit code or signal of the job's own, as after a timeout.
        `allowed`: a failure that the job may have. `unneeded`: skipped because the job was to run
        after a failure that did not happen. `left`: the job has not ended.
        """
        row = self.row
        match row.state:
            case "ok":
                return "flaky" if row.retries else "ok"
            case "failed" if not row.allowed:
                return "failed" if isinstance(row.exit, ExitedWith | KilledBySignal) else "error"
            case "timeout" if not row.allowed:
                return "error"
            case "failed" | "timeout":
                return "allowed"
            case "interrupted":
                return "error"
            case "skipped" if row.allowed:
                return "unneeded"
            case "skipped" | "cancelled":
                return "skipped"
        return "left"


class CaseReport(Report):
    """A report that gets each job as a case, when the job has ended for good.

    `tail`: bytes to keep of each stream of an attempt that failed.
    """

    tail = 0

    def __init__(self, table: JobTable) -> None:
        self.table = table
        self._tails: dict[int, tuple[bytes, bytes]] = {}
        self._failed: dict[int, bool] = {}  # whether the job may fail, by number
        self.handlers: dict[type, Handler] = {
            ev.AttemptEnded: self._attempt_ended,
            ev.JobEnded: self._job_ended,
            ev.JobReopened: self._taken_back,
            ev.JobDropped: self._taken_back,
            ev.JobChanged: self._changed,
        }

    def put(self, case: ReportedCase) -> None:
        """Report a job."""
        raise NotImplementedError

    def put_try(self, event: ev.AttemptEnded, case: ReportedCase) -> None:
        """Report an attempt that is followed by a retry."""

    def forget(self, seq: int) -> None:
        """Forget the case of a job, because the job runs again or was removed from the run."""

    def rest(self, *, live: bool = False) -> list[ReportedCase]:
        """Return the jobs that have not ended. Unless `live`, the running ones become interrupted."""
        cases = []
        for row in self.table.rows.values():
            if row.outcome is None:
                cases.append(ReportedCase(as_recorded(row, live=live)))
        return cases

    def _attempt_ended(self, event: ev.AttemptEnded, row: JobRow) -> None:
        counted, output = event.counted, event.output
        tails = (b"", b"")
        if output is not None and counted is not CountedAs.COMPLETED and self.tail:
            tails = (end_of(output.out, self.tail), end_of(output.err, self.tail))
        if counted is CountedAs.RETRIED:
            self.put_try(event, ReportedCase(row, *tails))
        elif tails != (b"", b""):
            self._tails[row.seq] = tails

    def _job_ended(self, event: ev.JobEnded, row: JobRow) -> None:
        if event.outcome in (Outcome.FAILED, Outcome.TIMEOUT):
            self._failed[event.seq] = event.allowed
        self.put(ReportedCase(row, *self._tails.pop(event.seq, ())))

    def _changed(self, event: ev.JobChanged, row: JobRow | None) -> None:
        """Report a failed job again if an edited list has changed whether it may fail."""
        if row is not None and self._failed.get(event.seq, row.allowed) != row.allowed:
            from pqrun.journal.stored_rows import recorded_output

            output = recorded_output(row)
            self.forget(event.seq)
            self._failed[event.seq] = row.allowed
            self.put(ReportedCase(row, end_of(output.out, self.tail), end_of(output.err, self.tail)))

    def _taken_back(self, event: ev.JobReopened | ev.JobDropped, _: JobRow | None) -> None:
        self._failed.pop(event.seq, None)
        self.forget(event.seq)


def end_of(stream: Stream, limit: int) -> bytes:
    """Return the last `limit` bytes of a stream; empty if its file is gone."""
    try:
        return stream.tail(limit) if stream.size else b""
    except OSError:
        return b""


def case_name(row: JobRow) -> str:
    """Return a job's name in reports: its id, or its command if the user gave no id."""
    return case_name_for(row.spec)


def case_name_for(spec: JobSpec) -> str:
    """Return the name for a job that has not begun. See `case_name`."""
    if spec.named:
        return one_line(spec.id, MAX_ID_LENGTH) or spec.id
    return one_line(format_command(spec.work), MAX_COMMAND_LENGTH) or spec.id


def describe_case(row: JobRow) -> str:
    """Return how a job ended, in a few words, with the reason if its exit is unknown (lost)."""
    if isinstance(row.exit, LostExit) and row.asked is None:
        return f"lost: {one_line(row.exit.why)}"
    return describe_exit(row.exit, row.asked, row.spec.timeout)


def as_recorded(row: JobRow, *, live: bool) -> JobRow:
    """Return the row of a job as reports show it. A job that ran when its run died is interrupted."""
    if row.state == RUNNING:
        row = row.copy()
        row.ended = row.seconds = None
        if not live:
            row.state = str(Outcome.INTERRUPTED)
            row.message = row.message or "pqrun ended while it ran"
            row.exit = row.asked = None
    return row
