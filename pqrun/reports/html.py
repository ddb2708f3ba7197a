# SPDX-License-Identifier: LGPL-3.0-or-later
"""The run as a page for a browser: one file that needs no network.

Records of jobs and attempts wait in a spool during the run. The files of the page are in `page/`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pqrun.core import events as ev
from pqrun.core.job import CountedAs, Outcome
from pqrun.core.job_row import JobRow
from pqrun.core.job_table import JobTable
from pqrun.reports.cases import as_recorded, end_of
from pqrun.reports.page_data import AttemptRecords, RecordSpool, job_record, logs_of, page_head, script_of
from pqrun.reports.page_files import single_file
from pqrun.reports.report import Ending, Report, RunInfo
from pqrun.reports.safe_text import last_lines, printed
from pqrun.reports.targets import AtomicFile
from pqrun.reports.text_spool import TextSpool

FEW_JOBS = 200  # up to this number of jobs, the file has the output of successful jobs as well
MAX_STREAM_BYTES = 64 * 1024
MAX_OUTPUT_BYTES = 16 * 1024 * 1024  # of all jobs; later ones keep 2 KiB, up to 18 MiB
REDUCED_STREAM_BYTES = 2 * 1024
MAX_REDUCED_BYTES = MAX_OUTPUT_BYTES + 2 * 1024 * 1024


class HtmlReport(Report):
    """The page of a run. Records are collected in a spool; `finish` writes the file."""

    def __init__(self, target: AtomicFile, run: RunInfo, table: JobTable) -> None:
        self.option = target.option
        self._target = target
        self._run = run
        self._table = table
        self._spool = TextSpool()
        self._records = RecordSpool(self._spool)
        self._output = TextSpool()
        self._output_of_ok = TextSpool()
        self._attempts = AttemptRecords(run)
        self._logs = logs_of(run)
        self._jobs = self._ended = 0
        self._dropped: list[int] = []
        self.handlers = {
            ev.JobAdded: self._added,
            ev.AttemptSubmitted: lambda event, row: self._attempts.submitted(event, int(row.priority)),
            ev.AttemptRefused: lambda event, _: self._attempts.refused(event),
            ev.AttemptStarted: lambda event, _: self._attempts.started(event),
            ev.AttemptEnded: self._attempt_ended,
            ev.JobWaiting: self._waiting,
            ev.JobEnded: self._job_ended,
            ev.JobDropped: self._job_dropped,
            ev.JobChanged: self._changed,
        }

    def finish(self, ending: Ending) -> None:
        """Add the jobs that have not ended, and write the file."""
        self._target.write(single_file(self._pieces(ending)))
        for spool in (self._spool, self._output, self._output_of_ok):
            spool.close()

    def _added(self, _event: ev.JobAdded, _row: JobRow) -> None:
        self._jobs += 1

    def _attempt_ended(self, event: ev.AttemptEnded, row: JobRow) -> None:
        self._records.put("attempts", self._attempts.ended(event, row))
        self._keep_output(event, row)

    def _waiting(self, event: ev.JobWaiting, _: JobRow) -> None:
        self._records.put("waits", self._attempts.waiting(event))

    def _job_ended(self, _: ev.JobEnded, row: JobRow) -> None:
        self._ended += 1
        self._put(row)

    def _job_dropped(self, event: ev.JobDropped, _: JobRow | None) -> None:
        self._jobs -= 1
        self._dropped.append(event.seq)
        self._attempts.last.pop(event.seq, None)

    def _changed(self, event: ev.JobChanged, row: JobRow | None) -> None:
        """Write the record of a failed job again, because an edited list can say that it may fail."""
        if row is not None and row.outcome in (Outcome.FAILED, Outcome.TIMEOUT):
            from pqrun.journal.stored_rows import recorded_output

            streams = recorded_output(row)
            ends = (
                last_lines(end_of(stream, REDUCED_STREAM_BYTES), 1) for stream in (streams.err, streams.out)
            )
            self._attempts.last[event.seq] = row.message or next(
                (line for line, *_ in filter(None, ends)), ""
            )
            self._put(row)

    def _put(self, row: JobRow) -> None:
        last = self._attempts.last.pop(row.seq, "")
        self._records.put("jobs", job_record(row, self._run, last=last, logs=self._logs))

    def _keep_output(self, event: ev.AttemptEnded, row: JobRow) -> None:
        """Keep the end of both streams of an attempt that failed or was a retry, and of the first others."""
        output = event.output
        ordinary = event.counted is CountedAs.COMPLETED and not row.retries
        if output is None or (ordinary and self._ended >= FEW_JOBS):
            return
        size = self._output.size
        limit = MAX_STREAM_BYTES if size < MAX_OUTPUT_BYTES else REDUCED_STREAM_BYTES
        spool = self._output_of_ok if ordinary else self._output
        if size > MAX_REDUCED_BYTES or (ordinary and spool.size > MAX_OUTPUT_BYTES):
            return
        ends = {"out": end_of(output.out, limit), "err": end_of(output.err, limit)}
        if ends["out"] or ends["err"]:
            cut = {"outCut": output.out.size - len(ends["out"]), "errCut": output.err.size - len(ends["err"])}
            texts = {name: printed(data) for name, data in ends.items()}
            spool.put(script_of({**texts, **cut}, f' id="output-{event.seq}-{event.attempt}"'))

    def _pieces(self, ending: Ending) -> Iterator[bytes]:
        self._add_unfinished(ending)
        yield script_of(self._head(ending), ' id="head"')
        yield from self._records.pieces()
        yield from self._output.pieces()
        if self._jobs <= FEW_JOBS:
            yield from self._output_of_ok.pieces()

    def _add_unfinished(self, ending: Ending) -> None:
        """Add the jobs that have not ended. Unless the run is live, the running ones become interrupted."""
        for record in self._attempts.running(self._table.rows, live=ending.live):
            self._records.put("attempts", record)
        for row in self._table.rows.values():
            if row.outcome is None:
                self._put(as_recorded(row, live=ending.live))

    def _head(self, ending: Ending) -> dict[str, Any]:
        head = page_head(
            self._run, ending, lanes=self._attempts.lanes.highest, dropped=self._dropped, stopped=self._table.stopped,
        )  # fmt: skip
        return {**head, "fewJobs": FEW_JOBS}
