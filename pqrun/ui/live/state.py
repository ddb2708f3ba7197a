# SPDX-License-Identifier: LGPL-3.0-or-later
"""The state of the live table: the job table, previews of running jobs, waiting retries, recent failures."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Mapping
from heapq import nsmallest
from itertools import islice
from types import MappingProxyType
from typing import NamedTuple

from pqrun.core import events as ev
from pqrun.core.events import Observer
from pqrun.core.job import AttemptId, CountedAs, Outcome, Priority
from pqrun.core.job_row import WAITING, JobRow
from pqrun.core.job_table import JobTable
from pqrun.core.metrics import Metrics
from pqrun.core.text import describe_exit, job_label, last_line, last_output, strip_ansi
from pqrun.engine.clock import format_moment
from pqrun.engine.live_run import JobUsage, LiveRun
from pqrun.executors.local.status_file import read_report
from pqrun.output.store import Capture

TAIL_BYTES = 4096
MAX_FAILURES_KEPT = 8
NO_LOADS: Mapping[AttemptId, JobUsage] = MappingProxyType({})
_BAD = {CountedAs.FAILED, CountedAs.TIMEOUT}


class JobPreview(NamedTuple):
    """The report of a running job: its status, its progress from 0 to 1, its last line of output."""

    status: str = ""
    progress: float | None = None
    line: str = ""


NO_PREVIEW = JobPreview()


class _Look:
    __slots__ = ("glimpse", "report", "sizes")

    def __init__(self) -> None:
        self.sizes = (0, 0)
        self.report: tuple[int, int] = (0, 0)
        self.glimpse = NO_PREVIEW


class JobPreviews:
    """Previews of the running jobs on the screen, read again only where a file or output has changed."""

    def __init__(self, live: LiveRun) -> None:
        self._live = live
        self._looks: dict[AttemptId, _Look] = {}

    def at(self, keys: Iterable[AttemptId]) -> dict[AttemptId, JobPreview]:
        """Return the previews of these attempts, without empty ones; forget all other attempts."""
        self._looks = {key: self._looks.get(key) or _Look() for key in keys}
        for key, look in self._looks.items():
            self._renew(key, look)
        return {key: look.glimpse for key, look in self._looks.items() if look.glimpse is not NO_PREVIEW}

    def _renew(self, key: AttemptId, look: _Look) -> None:
        try:
            if (output := self._live.output_of(key)) is not None:
                self._read_output(output, look)
            path = self._live.status_path(key)
            found = os.stat(path)
        except OSError:
            return  # the job has just ended, or has no status file
        if look.report != (found.st_mtime_ns, found.st_size):
            look.report = (found.st_mtime_ns, found.st_size)
            said = read_report(path)
            look.glimpse = look.glimpse._replace(status=strip_ansi(said.status or ""), progress=said.progress)

    @staticmethod
    def _read_output(output: Capture, look: _Look) -> None:
        sizes = (output.out.size, output.err.size)
        if sizes == look.sizes:
            return
        newest = output.err if sizes[1] > look.sizes[1] else output.out
        look.sizes = sizes
        if line := last_line(newest.tail(TAIL_BYTES)):
            look.glimpse = look.glimpse._replace(line=line)


class RunningJob(NamedTuple):
    """A running attempt as a row. `seconds` it has run, of `limit`; `ending`: why it is being stopped.

    `cpus` (CPUs kept busy) and `memory` (bytes) are None if they are not measured.
    """

    seq: int
    name: str
    priority: Priority
    attempt: int
    of: int
    seconds: float
    limit: float | None = None
    ending: str = ""
    status: str = ""
    progress: float | None = None
    line: str = ""
    cpus: float | None = None
    memory: int | None = None


class WaitingJob(NamedTuple):
    """A job that waits for its next `attempt`, as a row. `seconds`: until then.

    `why`: how the last attempt failed, or if `delayed`, the time before which the job does not start.
    """

    seq: int
    name: str
    priority: Priority
    attempt: int
    of: int
    seconds: float
    why: str = ""
    delayed: bool = False


class FailedAttempt(NamedTuple):
    """The attempt with which a job failed for good, as a row."""

    seq: int
    name: str
    how: str
    timeout: bool
    attempt: int
    of: int
    ago: float
    line: str


class TableView(NamedTuple):
    """The whole run as the table shows it. `total`: the run's jobs, or those known so far unless `complete`.

    `rate` is in jobs a second and `eta` in seconds; None if they cannot be estimated yet. `state` is
    `paused`, `draining`, `stopping`, `killing` or empty. `hold_reason` says why nothing starts though
    slots are free. `reserve` rows keep the table's height steady. `measured`: usage is measured. `waiting`
    has those jobs that are due first. `has_progress`: the column of limits and progress is needed.
    """

    title: str
    run: str
    elapsed: float
    total: int
    complete: bool
    outcomes: Mapping[Outcome, int]
    metrics: Metrics
    workers: int
    running: tuple[RunningJob, ...] = ()
    more_running: int = 0
    reserve: int = 0
    measured: bool = False
    waiting: tuple[WaitingJob, ...] = ()
    more_waiting: int = 0
    pending: int = 0
    failures: tuple[FailedAttempt, ...] = ()
    has_progress: bool = False
    rate: float | None = None
    eta: float | None = None
    state: str = ""
    hold_reason: str = ""
    keys: bool = False
    prompt: str = ""
    help: bool = False
    output_hidden: bool = False

    @property
    def ended(self) -> int:
        """The number of jobs that have ended, with any outcome."""
        return sum(self.outcomes.values())

    @property
    def active(self) -> int:
        """The number of attempts that hold a slot."""
        return len(self.running) + self.more_running

    @property
    def waits(self) -> int:
        """The number of jobs that wait for a retry."""
        return len(self.waiting) + self.more_waiting


class _Failure:
    """A failed attempt. Output in a file is read at once, since the file may be removed; else when shown."""

    __slots__ = ("_event", "_line", "event_at", "how", "key", "of", "spec", "timeout")

    def __init__(self, event: ev.AttemptEnded, row: JobRow) -> None:
        self.key = AttemptId(event.seq, event.attempt)
        self.spec = row.spec
        self.of = row.tries
        self.how = describe_exit(event.exit, event.asked, row.spec.timeout)
        self.timeout = event.asked is not None
        self.event_at = event.at
        self._event: ev.AttemptEnded | None = event
        self._line = ""
        if event.output is not None and (event.output.err.place or event.output.out.place):
            self._read()

    @property
    def line(self) -> str:
        """The line that best explains the failure."""
        self._read()
        return self._line

    def _read(self) -> None:
        if self._event is not None:
            self._line, self._event = last_output(self._event), None


class _Wait(NamedTuple):
    """A wait for a retry or a time. `line`: the last output of the attempt that failed."""

    row: JobRow
    line: str


class LiveTableState(Observer):
    """The state of the live table besides the job table: waiting retries and the latest failures.

    `listed`: how many jobs the run's own input has added. `has_progress`: some job has a time limit or
    retries, or has reported its progress.
    """

    wants_past = True

    def __init__(self, table: JobTable) -> None:
        self.table = table
        self.listed = 0
        self.has_progress = False
        self._failed: deque[_Failure] = deque(maxlen=MAX_FAILURES_KEPT)
        self._waits: dict[int, _Wait] = {}
        self._last_retried = (0, "")
        self.handlers = {
            ev.JobAdded: self._added, ev.AttemptEnded: self._attempt_ended, ev.JobWaiting: self._job_waiting,
            ev.JobDelayed: self._job_delayed, ev.JobReopened: self._reopened,
        }  # fmt: skip

    @property
    def state(self) -> str:
        """The run's state, as in `TableView.state`."""
        if (stopping := self.table.stopping) is not None:
            return "killing" if stopping.force else "draining" if stopping.drain else "stopping"
        return "paused" if self.table.paused else ""

    def running_keys(self, most: int) -> list[AttemptId]:
        """Return the `most` attempts that have run longest."""
        return [AttemptId(row.seq, row.attempts) for row in islice(self.table.running.values(), most)]

    def running(
        self,
        now: float,
        most: int,
        previews: Mapping[AttemptId, JobPreview],
        loads: Mapping[AttemptId, JobUsage] = NO_LOADS,
    ) -> tuple[RunningJob, ...]:
        """Return the rows of the `most` attempts that have run longest."""
        rows = []
        for row in islice(self.table.running.values(), most):
            spec, key = row.spec, AttemptId(row.seq, row.attempts)
            preview = previews.get(key, NO_PREVIEW)
            if preview == NO_PREVIEW:
                preview = _reported(row)
            self.has_progress = self.has_progress or preview.progress is not None
            rows.append(
                RunningJob(
                    row.seq, job_label(spec), spec.priority, row.attempts, row.tries,
                    max(0.0, now - row.since), spec.timeout, row.stopping, *preview, *(loads.get(key, ())[:2]),
                )
            )  # fmt: skip
        return tuple(rows)

    def waiting(self, now: float, most: int) -> tuple[WaitingJob, ...]:
        """Return the rows of the `most` waiting jobs that are due first."""
        self._forget_waits()
        return tuple(
            WaitingJob(
                row.seq, job_label(row.spec), row.priority, row.attempts + 1, max(row.attempts + 1, row.tries),
                max(0.0, row.until - now), _reason(row, line), row.is_delayed,
            )
            for row, line in nsmallest(most, self._waits.values(), key=lambda wait: wait.row.until)
        )  # fmt: skip

    def failures(self, now: float, most: int) -> tuple[FailedAttempt, ...]:
        """Return the latest failures first."""
        return tuple(
            FailedAttempt(
                f.key.seq, job_label(f.spec), f.how, f.timeout, f.key.attempt, f.of, max(0.0, now - f.event_at),
                f.line,
            )
            for f in islice(reversed(self._failed), most)
        )  # fmt: skip

    def _added(self, event: ev.JobAdded, _: JobRow) -> None:
        if not event.by:
            self.listed += 1
        spec = event.spec
        if spec.timeout is not None or spec.retry.max:
            self.has_progress = True

    def _attempt_ended(self, event: ev.AttemptEnded, row: JobRow) -> None:
        if event.counted is CountedAs.RETRIED:
            self._last_retried = (event.seq, last_output(event))  # now, since the printer may remove it
        elif event.counted in _BAD:
            self._failed.append(_Failure(event, row))

    def _job_waiting(self, event: ev.JobWaiting, row: JobRow) -> None:
        seq, line = self._last_retried  # the end of an attempt comes just before the wait
        if len(self._waits) > 2 * self.table.states[WAITING] + MAX_FAILURES_KEPT:
            self._forget_waits()  # no frame has been drawn for long
        self._waits[event.seq] = _Wait(row, line if seq == event.seq else row.message)

    def _job_delayed(self, event: ev.JobDelayed, row: JobRow) -> None:
        self._waits[event.seq] = _Wait(row, "")

    def _reopened(self, event: ev.JobReopened, row: JobRow) -> None:
        """Forget the failures of a job that was restarted, as the counts do."""
        self._failed = deque((f for f in self._failed if f.key.seq != event.seq), MAX_FAILURES_KEPT)

    def _forget_waits(self) -> None:
        """Forget the jobs that wait no more. Done for each frame, so that no start of a job has to."""
        rows = self.table.rows
        self._waits = {
            seq: wait
            for seq, wait in self._waits.items()
            if wait.row.state == WAITING and rows.get(seq) is wait.row
        }


def _reason(row: JobRow, line: str) -> str:
    """Return why the job waits: its time, or how the last attempt ended and its last output."""
    if row.is_delayed and row.spec.not_before is not None:
        return f"not before {format_moment(row.spec.not_before)}"
    how = describe_exit(row.exit, row.asked, row.spec.timeout)
    return f"{how}: {line}" if how and line else how or line


def _reported(row: JobRow) -> JobPreview:
    """Return what a job has reported to an executor elsewhere; before a report, the host that it runs on."""
    if row.status is not None or row.progress is not None:
        return JobPreview(strip_ansi(row.status or ""), row.progress)
    if row.where and row.since == row.started:
        return JobPreview(status=f"on {strip_ansi(row.where)}")
    return NO_PREVIEW
