# SPDX-License-Identifier: LGPL-3.0-or-later
"""The data of the page of a run, for the file of `--html` and for the live page: its head, and records in columns.

Records go in chunks of JSON that wait on the disk. A chunk holds some records of one kind:
`{"kind": KIND, "rows": N, "columns": {NAME: COLUMN}}`. A column is a
list with a value for each record; `{"all": VALUE}` if all are equal; or `{"values": LIST, "at": POSITIONS}`
if few differ. A later record of the same job replaces an earlier one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pqrun import __version__
from pqrun.core import events as ev
from pqrun.core.job import (
    UNKNOWN_SIZE,
    AttemptId,
    Command,
    JobSpec,
    KilledBySignal,
    NotStarted,
    RetryPolicy,
    block_of,
    format_command,
)
from pqrun.core.job_row import JobRow
from pqrun.core.text import arguments_by_name, command, describe_exit, format_duration, last_output
from pqrun.core.unicode_json import as_json
from pqrun.journal.run_directory import LOGS, RunDirectory
from pqrun.output.store import Capture, Logs
from pqrun.reports.cases import describe_case
from pqrun.reports.report import Ending, RunInfo
from pqrun.reports.safe_text import one_line
from pqrun.reports.text_spool import TextSpool
from pqrun.reports.trace_lanes import TraceLanes

SCHEMA = 1
ROWS_PER_CHUNK = 2000
MAX_COMMAND_LENGTH = 10_000
MAX_NEEDS_SHOWN = 2000
MAX_ARGUMENTS_SHOWN = 100
MAX_ARGUMENT_LENGTH = 1000


def script_of(value: Any, attributes: str = "") -> bytes:
    """Return a script element that holds the value as JSON: ASCII, and without `<`, so nothing can end it."""
    text = as_json(value, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json"{attributes}>{text}</script>\n'.encode("ascii")


class JobRecord(NamedTuple):
    """A job as the page gets it. Times in microseconds since the run began, durations in microseconds.

    `shown` is the text that names the job if it has no id. `out_path` and `err_path`: 1 for a file at the
    usual place below the run directory, a path, or None. `args`: names and values of arguments, without the last
    `args_left` of them.
    """

    seq: int
    id: str
    named: int
    command: str
    state: str
    allowed: int
    attempts: int
    max_attempts: int
    flaky: int
    priority: int
    queued: int | None
    started: int | None
    ended: int | None
    waited: int | None
    ran: int | None
    user: int
    system: int
    memory: int | None
    exit: int | None
    signal: str | None
    how: str
    message: str
    last: str
    out_bytes: int
    err_bytes: int
    out_path: int | str | None
    err_path: int | str | None
    tags: tuple[str, ...]
    needs: tuple[tuple[str, str], ...]
    args: tuple[tuple[str, str], ...]
    args_left: int
    variables: tuple[str, ...]
    cwd: str | None
    where: str
    file: str | None
    line: int
    timeout: float | None
    idle_timeout: float | None
    grace: float
    stop_signal: str
    retry: str


class AttemptRecord(NamedTuple):
    """An attempt as the page gets it, with times as in `JobRecord`. `submitted`: when it left the queue.

    `priority` is the one that the job had in the queue. `ended` is None while the attempt runs. `packed`: 1 if
    stdout is in a pack, plus 2 if stderr is.
    """

    seq: int
    attempt: int
    priority: int
    submitted: int
    waited: int
    began: int
    ended: int | None
    lane: int
    counted: str
    how: str
    user: int
    system: int
    memory: int | None
    out_bytes: int
    err_bytes: int
    packed: int
    last: str
    where: str


class RetryWait(NamedTuple):
    """The wait of a job for an attempt, with times as in `JobRecord`."""

    seq: int
    attempt: int
    since: int
    until: int


Record = JobRecord | AttemptRecord | RetryWait


class RecordSpool:
    """Records on the disk, as script elements. Less than one chunk of each kind is in memory."""

    def __init__(self, spool: TextSpool) -> None:
        self._spool = spool
        self._records: dict[str, list[Record]] = {"jobs": [], "attempts": [], "waits": []}

    def put(self, kind: str, record: Record) -> None:
        """Add a record."""
        records = self._records[kind]
        records.append(record)
        if len(records) >= ROWS_PER_CHUNK:
            self._write(kind)

    def pieces(self) -> Iterator[bytes]:
        """Yield all script elements."""
        for kind in self._records:
            self._write(kind)
        yield from self._spool.pieces()

    def _write(self, kind: str) -> None:
        if records := self._records[kind]:
            self._spool.put(script_of(chunk(kind, records), ' class="chunk"'))
            self._records[kind] = []


def chunk(kind: str, records: Sequence[Record]) -> dict[str, Any]:
    """Return the records as one chunk of columns."""
    names = records[0]._fields
    columns = {name: _column(values) for name, values in zip(names, zip(*records, strict=True), strict=True)}
    return {"kind": kind, "rows": len(records), "columns": columns}


def _column(values: Sequence[Any]) -> Any:
    distinct = dict.fromkeys(values)
    if len(distinct) == 1:
        return {"all": values[0]}
    if isinstance(values[0], int | float | None) or 2 * len(distinct) > len(values):
        return values
    places = {value: place for place, value in enumerate(distinct)}
    return {"values": list(distinct), "at": [places[value] for value in values]}


def micros(seconds: float) -> int:
    """Return the seconds in microseconds, the resolution of the other reports."""
    return round(seconds * 1e6)


def job_record(row: JobRow, run: RunInfo, *, last: str, logs: Logs) -> JobRecord:
    """Return the record of a job. `logs`: the directory of kept output."""

    def moment(at: float | None) -> int | None:
        return None if at is None else micros(run.seconds_in(at))

    spec = row.spec
    work = spec.work if isinstance(spec.work, Command) else Command("")
    started, ran = moment(row.started), None
    if row.started is not None and row.ended is not None:
        started = micros(run.seconds_to_start(row.started, row.ended))
        ran = micros(max(0.0, row.ended - row.started))
    return JobRecord(
        seq=row.seq, id=spec.id, named=int(spec.named),
        command=format_command(spec.work)[:MAX_COMMAND_LENGTH], state=row.state, allowed=int(row.allowed),
        attempts=row.attempts, max_attempts=row.max_attempts,
        flaky=int(row.state == "ok" and row.retries > 0), priority=int(spec.priority),
        queued=moment(row.queued), started=started, ended=moment(row.ended),
        waited=None if row.waited is None else micros(row.waited), ran=ran, user=micros(row.usage.user),
        system=micros(row.usage.system), memory=row.usage.memory, exit=row.code, signal=row.signal,
        how=describe_case(row) if row.exit is not None or row.asked is not None else "",
        message=one_line(row.message), last=last, out_bytes=row.stdout_bytes, err_bytes=row.stderr_bytes,
        out_path=_short(row.stdout, row, logs, 1), err_path=_short(row.stderr, row, logs, 2),
        tags=spec.tags, needs=tuple((need.job, need.when) for need in spec.needs[:MAX_NEEDS_SHOWN]),
        args=shown_arguments(spec), args_left=max(0, len(spec.args) - MAX_ARGUMENTS_SHOWN),
        variables=tuple(name for name, _ in work.env), cwd=work.cwd,
        where=row.where, file=spec.file, line=spec.line, timeout=spec.timeout,
        idle_timeout=spec.idle_timeout, grace=spec.grace, stop_signal=work.signal,
        retry=describe_retries(spec.retry),
    )  # fmt: skip


def attempt_record(
    event: ev.AttemptEnded, row: JobRow, run: RunInfo, *,
    lane: int, submitted: float, waited: float, priority: int, last: str,
) -> AttemptRecord:  # fmt: skip
    """Return the record of an ended attempt."""
    output = event.output
    ended = run.seconds_in(event.ended)
    began = run.seconds_to_start(event.began, event.ended)
    shown = run.seconds_in(submitted)
    return AttemptRecord(
        seq=event.seq, attempt=event.attempt, priority=priority, submitted=micros(shown),
        waited=micros(waited), began=micros(shown if isinstance(event.exit, NotStarted) else began),
        ended=micros(max(began, ended)), lane=lane, counted=str(event.counted),
        how=_how(event, row.spec), user=micros(event.usage.user), system=micros(event.usage.system),
        memory=event.usage.memory, out_bytes=0 if output is None else output.out.size,
        err_bytes=0 if output is None else output.err.size, packed=_packed(output), last=last, where=event.where,
    )  # fmt: skip


def _packed(output: Capture | None) -> int:
    if output is None:
        return 0
    out, err = output.out.place, output.err.place
    return (1 if out is not None and out.pack else 0) + (2 if err is not None and err.pack else 0)


def _how(event: ev.AttemptEnded, spec: JobSpec) -> str:
    """Return how an attempt ended, with the signal that ended it if pqrun sent one."""
    how = describe_exit(event.exit, event.asked, spec.timeout)
    if event.asked is not None and isinstance(event.exit, KilledBySignal):
        return f"{how}, {event.exit.name}"
    return how


def _short(path: str | None, row: JobRow, logs: Logs, stream: int) -> int | str | None:
    """Return 1 for a path that the page can make of the job's number, to save space."""
    if path is None:
        return None
    return 1 if path == logs.path(AttemptId(row.seq, row.attempts), stream) else path


def shown_arguments(spec: JobSpec) -> tuple[tuple[str, str], ...]:
    """Return the names and values of a job's arguments, or of the place of its block in the input of `each --pipe`.

    Only the first arguments and their first characters are returned: a command may have some ten thousand.
    """
    if (block := block_of(spec)) is not None:
        known = block.size != UNKNOWN_SIZE
        return (("offset", str(block.offset)), ("bytes", str(block.size))) if known else ()
    if not spec.args:
        return ()
    some = arguments_by_name(spec._replace(args=spec.args[:MAX_ARGUMENTS_SHOWN]))
    return tuple((name, value[:MAX_ARGUMENT_LENGTH]) for name, value in some.items())


def describe_retries(policy: RetryPolicy) -> str:
    """Return a retry policy in a few words; empty without retries."""
    if not policy.max:
        return ""
    wait = format_duration(policy.delay)
    if policy.backoff == "exponential":
        wait += f" × {policy.factor:g} each time"
    elif policy.backoff == "linear":
        wait += " × the number of the retry"
    most = f", at most {format_duration(policy.max_delay)}" if policy.backoff != "constant" else ""
    words = "any failure" if policy.on == {"any"} else ", ".join(sorted(map(str, policy.on)))
    never = f", never after {', '.join(sorted(map(str, policy.permanent)))}" if policy.permanent else ""
    return f"up to {policy.max}, after {wait}{most}; after {words}{never}"


class AttemptRecords:
    """The attempts of a run with their lanes. `last` has the last output of jobs whose attempt ended."""

    def __init__(self, run: RunInfo) -> None:
        self.last: dict[int, str] = {}
        self.lanes = TraceLanes()
        self._run = run
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
            event, row, self._run,
            lane=self.lanes.leave(seq), submitted=submitted, waited=waited, priority=priority, last=last,
        )  # fmt: skip

    def waiting(self, event: ev.JobWaiting) -> RetryWait:
        """Return the record of a wait for a retry."""
        at, seq, attempt, until = event
        return RetryWait(seq, attempt, self._moment(at), self._moment(until))

    def running(self, rows: Mapping[int, JobRow], *, live: bool) -> Iterator[AttemptRecord]:
        """Yield the records of the attempts that run. Unless the run is live, they were interrupted."""
        for seq, since, lane in self.lanes.all():
            submitted, waited, priority = self._submitted.get(seq, (since, 0.0, 1))
            yield AttemptRecord(
                seq, rows[seq].attempts, priority, self._moment(submitted), micros(waited),
                self._moment(since), None, lane, "running" if live else "stopped",
                "" if live else "interrupted", 0, 0, None, 0, 0, 0, "", "",
            )  # fmt: skip

    def _moment(self, at: float) -> int:
        return micros(self._run.seconds_in(at))


def logs_of(run: RunInfo) -> Logs:
    """Return the directory of the output that the run keeps."""
    return Logs(f"{run.directory}/{LOGS}", keep=True)


def page_head(
    run: RunInfo, ending: Ending, *, lanes: int, dropped: Sequence[int], stopped: str
) -> dict[str, Any]:
    """Return the facts about the run as a whole for the page."""
    directory = run.directory
    address = "" if directory is None else RunDirectory(directory).address
    return {
        "schema": SCHEMA, "version": __version__, "run": ending.run, "metrics": ending.metrics.rounded(),
        "code": ending.code, "live": ending.live, "began": run.wall(run.began),
        "now": ending.now if ending.live else None, "host": os.uname().nodename,
        "cwd": run.cwd, "command": run.command, "stopped": stopped,
        "resume": command("resume", address) if address else None,
        "resumeFailed": command("resume", address, options="--failed") if address else None,
        "address": address, "logs": logs_of(run).directory if directory else None, "lanes": lanes,
        "dropped": dropped,
    }  # fmt: skip
