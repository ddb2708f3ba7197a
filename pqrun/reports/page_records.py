# SPDX-License-Identifier: LGPL-3.0-or-later
"""The data of the page of a run: records of attempts as events bring them, unfinished jobs, and the head.

The file of `--html` and the live page are both made of these.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pqrun import __version__
from pqrun.core import events as ev
from pqrun.core.job_row import JobRow
from pqrun.core.text import command, last_output
from pqrun.journal.run_directory import LOGS, RunDirectory
from pqrun.reports import Ending, RunInfo
from pqrun.reports.chrome_trace import TraceLanes
from pqrun.reports.json_document import numbers
from pqrun.reports.page_data import AttemptRecord, RetryWait, attempt_record, micros

SCHEMA = 1


class AttemptRecords:
    """The attempts of a run with their lanes. `last` has the last output of jobs whose attempt ended."""

    def __init__(self, began: float) -> None:
        self.last: dict[int, str] = {}
        self.lanes = TraceLanes()
        self._began = began
        self._submitted: dict[int, tuple[float, float, int]] = {}

    def submitted(self, event: ev.AttemptSubmitted, priority: int) -> None:
        """Give the attempt a lane. `priority`: the one that the job had in the queue."""
        self.lanes.enter(event.seq, event.at)
        self._submitted[event.seq] = (event.at, event.waited, priority)

    def refused(self, event: ev.AttemptRefused) -> None:
        """Take the lane back from an attempt that never began."""
        self.lanes.leave(event.seq)
        self._submitted.pop(event.seq, None)

    def started(self, event: ev.AttemptStarted) -> None:
        """Move the attempt to the lane of its worker, if that is known."""
        self.lanes.move(event.seq, event.where)

    def ended(self, event: ev.AttemptEnded, row: JobRow) -> AttemptRecord:
        """Return the record of an attempt that has ended."""
        seq = event.seq
        submitted, waited, priority = self._submitted.pop(seq, (event.began, 0.0, 1))
        last = self.last[seq] = last_output(event)
        return attempt_record(
            event, row, self._began,
            lane=self.lanes.leave(seq), submitted=submitted, waited=waited, priority=priority, last=last,
        )  # fmt: skip

    def waiting(self, event: ev.JobWaiting) -> RetryWait:
        """Return the record of a wait for a retry."""
        at, seq, attempt, until = event
        return RetryWait(seq, attempt, micros(at - self._began), micros(until - self._began))

    def running(self, rows: Mapping[int, JobRow], *, live: bool) -> Iterator[AttemptRecord]:
        """Yield the records of the attempts that run. Unless the run is live, they were interrupted."""
        for seq, since, lane in self.lanes.all():
            submitted, waited, priority = self._submitted.get(seq, (since, 0.0, 1))
            yield AttemptRecord(
                seq, rows[seq].attempts, priority, micros(submitted - self._began), micros(waited),
                micros(since - self._began), None, lane, "running" if live else "stopped",
                "" if live else "interrupted", 0, 0, None, 0, 0, 0, "", "",
            )  # fmt: skip


def logs_of(run: RunInfo) -> str:
    """Return the directory of the output that the run keeps."""
    return f"{run.directory}/{LOGS}"


def page_head(
    run: RunInfo, ending: Ending, *, lanes: int, dropped: Sequence[int], stopped: str
) -> dict[str, Any]:
    """Return the facts about the run as a whole for the page."""
    directory = run.directory
    address = "" if directory is None else RunDirectory(directory).address
    return {
        "schema": SCHEMA, "version": __version__, "run": ending.run, "metrics": numbers(ending.metrics),
        "code": ending.code, "live": ending.live, "began": run.wall(run.began),
        "now": time.time() if ending.live else None, "host": os.uname().nodename,
        "cwd": run.cwd, "command": run.command, "stopped": stopped,
        "resume": command("resume", address) if address else None,
        "resumeFailed": command("resume", address, options="--failed") if address else None,
        "address": address, "logs": logs_of(run) if directory else None, "lanes": lanes,
        "dropped": dropped,
    }  # fmt: skip
