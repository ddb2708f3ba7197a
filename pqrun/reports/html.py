# SPDX-License-Identifier: LGPL-3.0-or-later
"""The run as a page for a browser: one file that needs no network.

Records of jobs and attempts wait in a spool during the run. The files of the page are in `page/`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

from pqrun import __version__
from pqrun.core import events as ev
from pqrun.core.job import CountedAs, Outcome
from pqrun.core.job_table import RUNNING, JobRow, JobTable
from pqrun.core.text import command, last_output
from pqrun.journal.run_directory import LOGS, RunDirectory
from pqrun.reports import Ending, Report, RunInfo
from pqrun.reports.cases import end_of, printed
from pqrun.reports.chrome_trace import TraceLanes
from pqrun.reports.json_document import numbers
from pqrun.reports.page_data import (
    AttemptRecord,
    RecordSpool,
    RetryWait,
    attempt_record,
    job_record,
    micros,
    script_of,
)
from pqrun.reports.page_files import single_file
from pqrun.reports.targets import AtomicFile, TextSpool

SCHEMA = 1
MAX_STREAM_BYTES = 64 * 1024
MAX_OUTPUT_BYTES = 16 * 1024 * 1024  # of all jobs; later ones keep 2 KiB, up to 18 MiB
REDUCED_STREAM_BYTES = 2 * 1024
MAX_REDUCED_BYTES = MAX_OUTPUT_BYTES + 2 * 1024 * 1024
FEW_JOBS = 200  # up to this number of jobs, the file has the output of successful jobs as well


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
        self._lanes = TraceLanes()
        self._logs = f"{run.directory}/{LOGS}"
        self._jobs = self._ended = 0
        self._dropped: list[int] = []
        self._submitted: dict[int, tuple[float, float, int]] = {}
        self._last: dict[int, str] = {}
        self.handlers = {
            ev.JobAdded: self._added,
            ev.AttemptSubmitted: self._attempt_submitted,
            ev.AttemptRefused: self._refused,
            ev.AttemptStarted: self._started,
            ev.AttemptEnded: self._attempt_ended,
            ev.JobWaiting: self._waiting,
            ev.JobEnded: self._job_ended,
            ev.JobDropped: self._job_dropped,
        }

    def finish(self, ending: Ending) -> None:
        """Add the jobs that have not ended, and write the file."""
        self._target.write(single_file(self._pieces(ending)))
        for spool in (self._spool, self._output, self._output_of_ok):
            spool.close()

    def _added(self, _event: ev.JobAdded, _row: JobRow) -> None:
        self._jobs += 1

    def _attempt_submitted(self, event: ev.AttemptSubmitted, row: JobRow) -> None:
        self._lanes.enter(event.seq, event.at)
        self._submitted[event.seq] = (event.at, event.waited, int(row.priority))

    def _refused(self, event: ev.AttemptRefused, _: JobRow) -> None:
        self._lanes.leave(event.seq)
        self._submitted.pop(event.seq, None)

    def _started(self, event: ev.AttemptStarted, _: JobRow) -> None:
        self._lanes.move(event.seq, event.where)

    def _attempt_ended(self, event: ev.AttemptEnded, row: JobRow) -> None:
        seq = event.seq
        submitted, waited, priority = self._submitted.pop(seq, (event.began, 0.0, 1))
        last = self._last[seq] = last_output(event)
        lane = self._lanes.leave(seq)
        record = attempt_record(
            event, row, self._run.began,
            lane=lane, submitted=submitted, waited=waited, priority=priority, last=last,
        )  # fmt: skip
        self._records.put("attempts", record)
        self._keep_output(event, row)

    def _waiting(self, event: ev.JobWaiting, _: JobRow) -> None:
        at, seq, attempt, until = event
        began = self._run.began
        self._records.put("waits", RetryWait(seq, attempt, micros(at - began), micros(until - began)))

    def _job_ended(self, _: ev.JobEnded, row: JobRow) -> None:
        self._ended += 1
        self._put(row)

    def _job_dropped(self, event: ev.JobDropped, _: JobRow | None) -> None:
        self._jobs -= 1
        self._dropped.append(event.seq)
        self._last.pop(event.seq, None)

    def _put(self, row: JobRow) -> None:
        last = self._last.pop(row.seq, "")
        self._records.put("jobs", job_record(row, self._run.began, last=last, logs=self._logs))

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
        began = self._run.began
        for seq, since, lane in self._lanes.all():
            submitted, waited, priority = self._submitted.get(seq, (since, 0.0, 1))
            self._records.put(
                "attempts",
                AttemptRecord(
                    seq, self._table.rows[seq].attempts, priority, micros(submitted - began), micros(waited),
                    micros(since - began), None, lane, "running" if ending.live else "stopped",
                    "" if ending.live else "interrupted", 0, 0, None, 0, 0, 0, "", "",
                ),
            )  # fmt: skip
        for row in self._table.rows.values():
            if row.outcome is not None:
                continue
            if row.state == RUNNING:
                row = row.copy()
                row.ended = row.seconds = None
                if not ending.live:
                    row.state = str(Outcome.INTERRUPTED)
                    row.message = row.message or "pqrun ended while it ran"
                    row.exit = row.asked = None
            self._put(row)

    def _head(self, ending: Ending) -> dict[str, Any]:
        run, directory = self._run, self._run.directory
        address = "" if directory is None else RunDirectory(directory).address
        return {
            "schema": SCHEMA, "version": __version__, "run": ending.run, "metrics": numbers(ending.metrics),
            "code": ending.code, "live": ending.live, "began": run.wall(run.began),
            "now": time.time() if ending.live else None, "host": os.uname().nodename,
            "cwd": run.cwd, "command": run.command, "stopped": self._table.stopped,
            "resume": command("resume", address) if address else None,
            "resumeFailed": command("resume", address, options="--failed") if address else None,
            "address": address, "logs": self._logs if directory else None, "lanes": self._lanes.highest,
            "dropped": self._dropped, "fewJobs": FEW_JOBS,
        }  # fmt: skip
