# SPDX-License-Identifier: LGPL-3.0-or-later
"""A timeline in Chrome's trace event format, for ui.perfetto.dev.

Each worker has a lane with its attempts; the queue has the waits; counters show jobs and workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pqrun.core import events as ev
from pqrun.core.job import format_command
from pqrun.core.job_row import QUEUED, JobRow
from pqrun.core.job_table import JobTable
from pqrun.core.text import describe_exit
from pqrun.core.unicode_json import as_json
from pqrun.reports.report import Ending, Report, RunInfo
from pqrun.reports.safe_text import one_line
from pqrun.reports.targets import AtomicFile
from pqrun.reports.text_spool import TextSpool
from pqrun.reports.trace_lanes import TraceLanes

WORKERS, QUEUE = 1, 2  # process ids in the trace
ACTIVE = "active workers"


class ChromeTrace(Report):
    """The trace of a run. Trace events are kept in a spool; `finish` writes the file."""

    def __init__(self, target: AtomicFile, run: RunInfo, table: JobTable) -> None:
        self.option = target.option
        self._target = target
        self._run = run
        self._table = table
        self._spool = TextSpool()
        self._lanes = TraceLanes()
        self._counted: dict[str, int] = {}
        self._last = 0.0
        self.handlers = {
            ev.JobQueued: self._counts_changed,
            ev.AttemptSubmitted: self._submitted,
            ev.AttemptRefused: self._refused,
            ev.AttemptStarted: self._started,
            ev.AttemptStopping: self._stopping,
            ev.AttemptEnded: self._attempt_ended,
            ev.JobEnded: self._counts_changed,
            ev.JobDropped: self._counts_changed,
            ev.RunStopping: self._run_stopping,
            ev.SlotsChanged: self._slots_changed,
        }

    def finish(self, ending: Ending) -> None:
        """Write the file."""
        self._target.write(self._pieces(ending))
        self._spool.close()

    def _submitted(self, event: ev.AttemptSubmitted, row: JobRow) -> None:
        at, seq, attempt, waited = event
        self._lanes.enter(seq, at)
        # Waits overlap, so each has an id of job and attempt.
        ended = self._run.seconds_in(at)
        for phase, when in (("b", ended - waited), ("e", ended)):
            self._add(phase, _name(row), when, QUEUE, 0, cat="wait", id=f"{seq}.{attempt}")
        self._counts_changed(event, row)

    def _refused(self, event: ev.AttemptRefused, row: JobRow) -> None:
        self._lanes.leave(event.seq)
        self._counts_changed(event, row)

    def _started(self, event: ev.AttemptStarted, _: JobRow) -> None:
        self._lanes.move(event.seq, event.where)

    def _stopping(self, event: ev.AttemptStopping, _: JobRow) -> None:
        name = f"{'killed' if event.force else 'asked to stop'}: {event.reason}"
        self._add(
            "i", name, self._run.seconds_in(event.at), WORKERS, self._lanes.of(event.seq), s="t", cat="stop"
        )

    def _attempt_ended(self, event: ev.AttemptEnded, row: JobRow) -> None:
        spec, lane = row.spec, self._lanes.leave(event.seq)
        args = {
            "id": spec.id, "seq": row.seq, "attempt": event.attempt, "counted": str(event.counted),
            "how": describe_exit(row.exit, row.asked, spec.timeout),
            "command": one_line(format_command(spec.work)),
            "exit": row.code, "signal": row.signal,
            "priority": spec.priority.name.lower(), "slots": spec.slots,
            "user_s": round(row.usage.user, 6), "sys_s": round(row.usage.system, 6),
        }  # fmt: skip
        if row.usage.memory is not None:
            args["memory_peak_bytes"] = row.usage.memory
        began = self._run.seconds_to_start(event.began, event.ended)
        more = {"dur": round(max(0.0, event.ended - event.began) * 1e6), "cat": str(event.counted)}
        self._add("X", _name(row), began, WORKERS, lane, **more, args=args)
        self._counts_changed(event, row)

    def _run_stopping(self, event: ev.RunStopping, _: None) -> None:
        self._add("i", one_line(event.cause), self._run.seconds_in(event.at), WORKERS, 0, s="g", cat="run")

    def _slots_changed(self, event: ev.SlotsChanged, _: None) -> None:
        self._add("i", one_line(event.why), self._run.seconds_in(event.at), WORKERS, 0, s="g", cat="run")

    def _counts_changed(self, event: ev.Event, _: JobRow | None) -> None:
        self._last = self._run.seconds_in(event.at)
        for name, number in (("jobs queued", self._table.states[QUEUED]), (ACTIVE, self._lanes.taken)):
            if self._counted.get(name) != number:
                self._counted[name] = number
                self._add("C", name, self._last, QUEUE, 0, args={"count": number})

    def _add(self, phase: str, name: str, at: float, pid: int, tid: int, **more: Any) -> None:
        fact = self._event(phase, name, at, pid, tid, **more)
        self._spool.put(as_json(fact, separators=(",", ":")).encode() + b",\n")

    def _event(self, phase: str, name: str, at: float, pid: int, tid: int, **more: Any) -> dict[str, Any]:
        """Return a trace event. `at` is in seconds of the wall clock since the run began, `ts` in microseconds."""
        return {"ph": phase, "name": name, "ts": max(0, round(at * 1e6)), "pid": pid, "tid": tid, **more}

    def _pieces(self, ending: Ending) -> Iterator[bytes]:
        names = [_named("process_name", WORKERS, 0, "workers"), _named("process_name", QUEUE, 0, "queue")]
        for lane in range(1, self._lanes.highest + 1):
            names.append(_named("thread_name", WORKERS, lane, f"worker {lane}"))
        yield b'{"traceEvents":[\n'
        yield from self._spool.pieces()
        for seq, since, lane in self._lanes.all():  # a job without an end gets a begin event alone
            row = self._table.rows[seq]
            args = {"id": row.spec.id, "seq": seq}
            names.append(
                self._event(
                    "B", _name(row), self._run.seconds_in(since), WORKERS, lane, cat="running", args=args
                )
            )
        if self._lanes.taken and not ending.live:  # else the last count would last past the run's end
            names.append(self._event("C", ACTIVE, self._last, QUEUE, 0, args={"count": 0}))
        yield b",\n".join(as_json(name, separators=(",", ":")).encode() for name in names)
        facts = {"run": ending.run, "metrics": ending.metrics.rounded()}
        yield b'\n],"displayTimeUnit":"ms","otherData":' + as_json(facts).encode() + b"}\n"


def _name(row: JobRow) -> str:
    return one_line(row.spec.id if row.spec.named else format_command(row.spec.work), 200)


def _named(what: str, pid: int, tid: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": what, "ts": 0, "pid": pid, "tid": tid, "args": {"name": name}}
