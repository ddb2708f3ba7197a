# SPDX-License-Identifier: LGPL-3.0-or-later
"""An event's name and facts as other programs read them: times as text, enumerations as words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_never

from pqrun import events as ev
from pqrun.model import Exited, JobSpec, NotStarted, Signalled
from pqrun.unicodejson import bytes_beside

Moment = Callable[[float], str]
Told = tuple[str, dict[str, Any]]


def told(event: ev.Event, moment: Moment) -> Told | None:
    """What is told of it beside its time and its job; `None` for what nobody is told."""
    match event:
        case ev.JobAdded(spec=spec, by=by):
            return "job_added", {**_spec(spec), "by": by or None}
        case ev.JobQueued(_, _, attempt, priority):
            return "job_queued", {"attempt": attempt, "priority": priority.name.lower()}
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
            return "attempt_ended", _attempt(event, moment)
        case ev.JobWaiting(_, _, attempt, until):
            return "job_waiting", {"attempt": attempt, "until": moment(until)}
        case ev.JobRemoved():
            return "job_removed", {}
        case ev.JobEnded(_, _, outcome, attempts, allowed, because, by):
            facts = {"state": str(outcome), "attempts": attempts, "allowed": allowed}
            return "job_ended", {**facts, "because": because or None, "by": by or None}
        case ev.JobReopened(_, _, outcome):
            return "job_reopened", {"was": str(outcome)}
        case ev.JobDropped(_, _, dropped):
            return "job_dropped", {"was": str(dropped) if dropped else None}
        case ev.JobSaid(_, _, attempt, status, progress):
            return "job_said", {"attempt": attempt, "status": status, "progress": progress}
        case ev.JobChanged(_, _, spec, by, front):
            return "job_changed", {**_spec(spec), "by": by or None, "front": front}
        case ev.OutputGrew():
            return None
        case _:
            return _told_of_run(event)


def _told_of_run(
    event: ev.InputEnded | ev.SlotsChanged | ev.StartsHeld | ev.WorkersChanged | ev.PoolChanged | ev.RunPaused
    | ev.RunStopping,
) -> Told:  # fmt: skip
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


def _attempt(event: ev.AttemptEnded, moment: Moment) -> dict[str, Any]:
    exit, output = event.exit, event.output
    ran = not isinstance(exit, NotStarted)
    return {
        "attempt": event.attempt,
        "counted": str(event.counted),
        "exit": exit.code if isinstance(exit, Exited | NotStarted) else None,
        "signal": exit.name if isinstance(exit, Signalled) else None,
        "reason": str(event.asked) if event.asked else None,
        "message": event.said.message or getattr(exit, "why", None),
        "started_at": moment(event.began) if ran else None,
        "ended_at": moment(event.ended),
        "run_s": round(max(0.0, event.ended - event.began), 6) if ran else None,
        "user_s": round(event.usage.user, 6),
        "sys_s": round(event.usage.system, 6),
        **({} if event.usage.memory is None else {"memory_peak_bytes": event.usage.memory}),
        "stdout_bytes": 0 if output is None else output.out.size,
        "stderr_bytes": 0 if output is None else output.err.size,
    }


def _spec(spec: JobSpec) -> dict[str, Any]:
    run = getattr(spec.work, "run", None)
    return {
        "run": list(run) if isinstance(run, tuple) else run,
        "priority": spec.priority.name.lower(),
        "tags": list(spec.tags),
        "needs": [need.job for need in spec.needs],
        "timeout_s": spec.timeout,
        "max_retries": spec.retry.max,
        **bytes_beside("run", run),
    }
