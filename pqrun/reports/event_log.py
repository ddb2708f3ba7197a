# SPDX-License-Identifier: LGPL-3.0-or-later
"""The event log: each event of a run as a line of JSON, as soon as it happens. See `docs/events.md`."""

from __future__ import annotations

from typing import Any, assert_never, get_args

from pqrun.core import events as ev
from pqrun.core.job import ExitedWith, JobSpec, KilledBySignal, LostExit, NotStarted, run_of
from pqrun.core.job_row import JobRow
from pqrun.core.job_table import JobTable
from pqrun.core.unicode_json import argument_facts, as_json, bytes_beside
from pqrun.reports.json_document import timestamp
from pqrun.reports.report import Ending, Report, RunInfo, Wall, wall_start
from pqrun.reports.targets import StreamingFile

SCHEMA = 1
EventFacts = tuple[str, dict[str, Any]]


def event_facts(event: ev.Event, wall: Wall) -> EventFacts:
    """Return the name and facts of an event that is logged, without its time and job."""
    if isinstance(event, ev.JobEvent):
        return _job_facts(event, wall)
    return _run_facts(event) if isinstance(event, ev.RunEvent) else _attempt_facts(event, wall)


def _job_facts(event: ev.JobEvent, wall: Wall) -> EventFacts:
    match event:
        case ev.JobAdded(spec=spec, by=by):
            return "job_added", {**_spec(spec), "by": by or None}
        case ev.JobQueued(_, _, attempt, priority):
            return "job_queued", {"attempt": attempt, "priority": priority.name.lower()}
        case ev.JobWaiting(_, _, attempt, until):
            return "job_waiting", {"attempt": attempt, "until": timestamp(wall(until))}
        case ev.JobDelayed(_, _, attempt, until):
            return "job_delayed", {"attempt": attempt, "until": timestamp(wall(until))}
        case ev.JobRemoved():
            return "job_removed", {}
        case ev.JobEnded(_, _, outcome, attempts, allowed, because, by):
            facts = {"state": str(outcome), "attempts": attempts, "allowed": allowed}
            return "job_ended", {**facts, "because": because or None, "by": by or None}
        case ev.JobReopened(_, _, outcome, _, by):
            return "job_reopened", {"was": str(outcome), "by": by or None}
        case ev.JobDropped(_, _, dropped):
            return "job_dropped", {"was": str(dropped) if dropped else None}
        case ev.JobChanged(_, _, spec, by, front):
            return "job_changed", {**_spec(spec), "by": by or None, "front": front}
        case ev.JobHeld(_, _, held, by):
            return "job_held", {"held": held, "by": by or None}
        case _:
            assert_never(event)


def _attempt_facts(event: ev.AttemptEvent, wall: Wall) -> EventFacts:
    match event:
        case ev.AttemptSubmitted(_, _, attempt, waited):
            return "attempt_submitted", {"attempt": attempt, "wait_s": round(waited, 6)}
        case ev.AttemptRefused(_, _, attempt, why):
            return "attempt_refused", {"attempt": attempt, "why": why}
        case ev.AttemptStarted(_, _, attempt, where):
            return "attempt_started", {"attempt": attempt, "where": where}
        case ev.AttemptRestarted(_, _, attempt, where):
            return "attempt_restarted", {"attempt": attempt, "where": where}
        case ev.AttemptStopping(_, _, attempt, reason, force):
            return "attempt_stopping", {"attempt": attempt, "reason": str(reason), "force": force}
        case ev.AttemptEnded():
            return "attempt_ended", _ended_attempt(event, wall)
        case ev.StatusReported(_, _, attempt, status, progress):
            return "job_said", {"attempt": attempt, "status": status, "progress": progress}
        case ev.OutputGrew():
            raise TypeError("the growth of output is not logged")
        case _:
            assert_never(event)


def _run_facts(event: ev.RunEvent) -> EventFacts:
    match event:
        case ev.InputEnded(_, jobs, complete, why):
            return "input_ended", {"jobs": jobs, "complete": complete, "why": why or None}
        case ev.SlotsChanged(_, slots, why):
            return "slots_changed", {"slots": slots, "why": why}
        case ev.StartsHeld(_, why):
            return "starts_held", {"why": why}
        case ev.WorkersChanged(_, workers, by):
            return "workers_changed", {"workers": workers, "by": by}
        case ev.PoolChanged(_, name, size, by):
            return "pool_changed", {"name": name, "size": size, "by": by}
        case ev.RunPaused(_, paused, by):
            return "run_paused", {"paused": paused, "by": by}
        case ev.RunStopping(_, cause, drain, force):
            return "run_stopping", {"cause": cause, "drain": drain, "force": force}
        case _:
            assert_never(event)


def _ended_attempt(event: ev.AttemptEnded, wall: Wall) -> dict[str, Any]:
    exit, output = event.exit, event.output
    ran = not isinstance(exit, NotStarted)
    return {
        "attempt": event.attempt,
        "counted": str(event.counted),
        "exit": exit.code if isinstance(exit, ExitedWith | NotStarted) else None,
        "signal": exit.name if isinstance(exit, KilledBySignal) else None,
        "reason": str(event.asked) if event.asked else None,
        "message": event.said.message or (exit.why if isinstance(exit, LostExit | NotStarted) else None),
        "started_at": timestamp(wall_start(wall, event.began, event.ended)) if ran else None,
        "ended_at": timestamp(wall(event.ended)),
        "run_s": round(max(0.0, event.ended - event.began), 6) if ran else None,
        "user_s": round(event.usage.user, 6),
        "sys_s": round(event.usage.system, 6),
        **({} if event.usage.memory is None else {"memory_peak_bytes": event.usage.memory}),
        "stdout_bytes": 0 if output is None else output.out.size,
        "stderr_bytes": 0 if output is None else output.err.size,
    }


def _spec(spec: JobSpec) -> dict[str, Any]:
    run = run_of(spec)
    return {
        "run": list(run) if isinstance(run, tuple) else run,
        "priority": spec.priority.name.lower(),
        "tags": list(spec.tags),
        "needs": [need.job for need in spec.needs],
        "timeout_s": spec.timeout,
        "max_retries": spec.retry.max,
        **argument_facts(spec),
        **bytes_beside("run", run),
    }


class EventLog(Report):
    """The log of a run. The events of each delivery are written at once."""

    def __init__(self, target: StreamingFile, run: RunInfo, _: JobTable) -> None:
        self.option = target.option
        self._target = target
        self._run = run
        self._last = run.began
        self.handlers = dict.fromkeys(get_args(ev.Event), self._log)
        # The printer may block at these events, so what happened before is written first.
        self.handlers |= {ev.OutputGrew: self._before_output, ev.AttemptEnded: self._log_end}
        files = list(run.files)
        facts = {"run": run.run_id, "files": files, "workers": run.workers, **bytes_beside("files", files)}
        facts |= {"directory": run.directory, **bytes_beside("directory", run.directory)}
        target.write(_line("run_started", self._moment(run.began), facts))

    def tick(self) -> float:
        """Write the lines, and what a slow reader has left; return the seconds until the next try."""
        return self._target.flush()

    def finish(self, ending: Ending) -> None:
        """Write the last line, with the run's exit code, and close the log."""
        if not ending.live:
            facts = {"state": ending.run["state"], "exit": ending.code, "metrics": ending.metrics.rounded()}
            ended = ending.run["ended_at"] or self._moment(self._last)
            self._target.add(_line("run_ended", ended, facts))
        self._target.close()

    def _log(self, event: ev.Event, row: JobRow | None) -> None:
        name, facts = event_facts(event, self._run.wall)
        self._last = event.at
        if row is not None:
            facts = {"seq": row.seq, "id": row.spec.id, **facts}
        self._target.add(_line(name, self._moment(event.at), facts))

    def _log_end(self, event: ev.AttemptEnded, row: JobRow) -> None:
        self._log(event, row)
        self._target.flush()

    def _before_output(self, _: ev.OutputGrew, __: JobRow | None) -> None:
        self._target.flush()

    def _moment(self, at: float) -> str:
        return timestamp(self._run.wall(at))


def _line(name: str, at: str, facts: dict[str, Any]) -> bytes:
    line = {"schema": SCHEMA, "event": name, "at": at, **facts}
    return as_json(line, separators=(",", ":")).encode() + b"\n"
