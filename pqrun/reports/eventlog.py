# SPDX-License-Identifier: LGPL-3.0-or-later
"""What happens, as it happens: a JSON object a line, as `docs/events.md` describes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pqrun import events as ev
from pqrun.model import Exited, JobSpec, NotStarted, Signalled
from pqrun.reports.document import numbers, timestamp
from pqrun.reports.facts import Ending, RunFacts
from pqrun.reports.pipes import Growing

SCHEMA = 1


class EventLog:
    """Writes each batch of events in one go."""

    def __init__(self, target: Growing, run: RunFacts) -> None:
        self.target = target
        self._run = run
        self._ids: dict[int, str] = {}
        facts = {"run": run.run_id, "files": list(run.files), "workers": run.workers}
        self.target.write(self._line("run_started", run.began, **facts, directory=run.directory))

    def hear(self, events: Sequence[ev.Event]) -> None:
        """Writes what has happened."""
        lines = [line for event in events if (line := self._told(event))]
        if lines:
            self.target.write(b"".join(lines))

    def tick(self) -> float:
        """A slow reader gets what it has not taken yet."""
        return self.target.flush()

    def finish(self, ending: Ending) -> None:
        """The last line says how it ended."""
        if not ending.live:
            facts = {"state": ending.run["state"], "exit": ending.code, "metrics": numbers(ending.metrics)}
            self.target.write(self._object("run_ended", ending.run["ended_at"], facts))
        self.target.close()

    def _told(self, event: ev.Event) -> bytes | None:
        at = event.at
        match event:
            case ev.JobAdded(_, seq, spec):
                self._ids[seq] = spec.id
                return self._job_line("job_added", at, seq, **_spec(spec))
            case ev.JobQueued(_, seq, attempt, priority):
                return self._job_line("job_queued", at, seq, attempt=attempt, priority=priority.name.lower())
            case ev.AttemptSubmitted(_, seq, attempt, waited):
                return self._job_line("attempt_submitted", at, seq, attempt=attempt, wait_s=round(waited, 6))
            case ev.AttemptRefused(_, seq, attempt, why):
                return self._job_line("attempt_refused", at, seq, attempt=attempt, why=why)
            case ev.AttemptStarted(_, seq, attempt, where):
                return self._job_line("attempt_started", at, seq, attempt=attempt, where=where)
            case ev.AttemptStopping(_, seq, attempt, reason, force):
                told = {"attempt": attempt, "reason": str(reason), "force": force}
                return self._job_line("attempt_stopping", at, seq, **told)
            case ev.AttemptEnded():
                return self._job_line("attempt_ended", at, event.seq, **self._attempt(event))
            case ev.JobWaiting(_, seq, attempt, until):
                return self._job_line("job_waiting", at, seq, attempt=attempt, until=self._moment(until))
            case ev.JobRemoved(_, seq):
                return self._job_line("job_removed", at, seq)
            case ev.JobEnded(_, seq, outcome, attempts, allowed, because):
                told = {"state": str(outcome), "attempts": attempts, "allowed": allowed}
                line = self._job_line("job_ended", at, seq, **told, because=because or None)
                self._ids.pop(seq, None)
                return line
            case ev.JobReopened(_, seq, outcome, spec):
                self._ids[seq] = spec.id
                return self._job_line("job_reopened", at, seq, was=str(outcome))
            case ev.JobDropped(_, seq, dropped):
                line = self._job_line("job_dropped", at, seq, was=str(dropped) if dropped else None)
                self._ids.pop(seq, None)
                return line
            case ev.JobSaid(_, seq, attempt, status, progress):
                return self._job_line("job_said", at, seq, attempt=attempt, status=status, progress=progress)
            case ev.JobChanged(_, seq, spec, by):
                return self._job_line("job_changed", at, seq, by=by, **_spec(spec))
            case ev.OutputGrew():
                return None
            case ev.InputEnded(_, jobs, complete, why):
                return self._line("input_ended", at, jobs=jobs, complete=complete, why=why or None)
            case ev.SlotsChanged(_, slots, why):
                return self._line("slots_changed", at, slots=slots, why=why)
            case ev.WorkersChanged(_, workers, by):
                return self._line("workers_changed", at, workers=workers, by=by)
            case ev.PoolChanged(_, name, size, by):
                return self._line("pool_changed", at, name=name, size=size, by=by)
            case ev.RunPaused(_, paused, by):
                return self._line("run_paused", at, paused=paused, by=by)
            case ev.RunStopping(_, cause, drain, force):
                return self._line("run_stopping", at, cause=cause, drain=drain, force=force)

    def _attempt(self, event: ev.AttemptEnded) -> dict[str, Any]:
        exit, output = event.exit, event.output
        return {
            "attempt": event.attempt,
            "counted": str(event.counted),
            "exit": exit.code if isinstance(exit, Exited | NotStarted) else None,
            "signal": exit.name if isinstance(exit, Signalled) else None,
            "reason": str(event.asked) if event.asked else None,
            "message": event.said.message or getattr(exit, "why", None),
            "started_at": None if isinstance(exit, NotStarted) else self._moment(event.began),
            "ended_at": self._moment(event.ended),
            "run_s": round(max(0.0, event.ended - event.began), 6),
            "user_s": round(event.usage.user, 6),
            "sys_s": round(event.usage.system, 6),
            "stdout_bytes": 0 if output is None else output.out.size,
            "stderr_bytes": 0 if output is None else output.err.size,
        }

    def _moment(self, at: float) -> str:
        return timestamp(self._run.wall(at))

    def _job_line(self, name: str, at: float, seq: int, /, **facts: Any) -> bytes:
        return self._line(name, at, seq=seq, id=self._ids.get(seq), **facts)

    def _line(self, name: str, at: float, /, **facts: Any) -> bytes:
        return self._object(name, self._moment(at), facts)

    def _object(self, name: str, at: str | None, facts: dict[str, Any]) -> bytes:
        line = {"schema": SCHEMA, "event": name, "at": at, **facts}
        return json.dumps(line, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


def _spec(spec: JobSpec) -> dict[str, Any]:
    run = getattr(spec.work, "run", None)
    return {
        "run": list(run) if isinstance(run, tuple) else run,
        "priority": spec.priority.name.lower(),
        "tags": list(spec.tags),
        "needs": [need.job for need in spec.needs],
        "timeout_s": spec.timeout,
        "max_retries": spec.retry.max,
    }
