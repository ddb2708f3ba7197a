# SPDX-License-Identifier: LGPL-3.0-or-later
"""A table of the run with one row for each job, folded from events, for records and reports."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pqrun.core import events as ev
from pqrun.core.job import (
    CountedAs,
    Exit,
    ExitedWith,
    JobSpec,
    KilledBySignal,
    LostExit,
    NotStarted,
    Outcome,
    StopReason,
    Usage,
    is_gone,
)
from pqrun.core.text import host_name

_OUTCOMES = {str(outcome): outcome for outcome in Outcome}


@dataclass(slots=True)
class JobRow:
    """The row of one job. Times are in seconds of the engine's clock, and those of the last attempt.

    `where` is the host of the last attempt, empty for this machine. `last` is the number of the last attempt
    that ended. The fields from `by` on are for a restart: `place` is the job's place in the queue (0: a new
    one is due; negative: before its equals), `lost` counts attempts whose worker was lost after they began.
    """

    seq: int
    spec: JobSpec
    state: str = "pending"
    attempts: int = 0
    retries: int = 0
    queued: float | None = None
    started: float | None = None
    ended: float | None = None
    waited: float | None = None
    exit: Exit | None = None
    asked: StopReason | None = None
    usage: Usage = Usage()
    message: str = ""
    stdout: str | None = None
    stderr: str | None = None
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    allowed: bool = False
    where: str = ""
    last: int = 0
    submitted: float | None = None
    by: str = ""
    counted: CountedAs | None = None
    lost: int = 0
    place: int = 0
    until: float = 0.0

    @property
    def outcome(self) -> Outcome | None:
        """The way the job ended, or None for a job that has not ended."""
        return _OUTCOMES.get(self.state)

    @property
    def code(self) -> int | None:
        """The exit code of the last attempt, or None."""
        return self.exit.code if isinstance(self.exit, ExitedWith | NotStarted) else None

    @property
    def signal(self) -> str | None:
        """The name of the signal that ended the last attempt, or None."""
        return self.exit.name if isinstance(self.exit, KilledBySignal) else None

    @property
    def max_attempts(self) -> int:
        """The number of attempts that the job may have in all."""
        return max(self.attempts, self.attempts - self.retries + self.spec.retry.max, 1 + self.spec.retry.max)


class JobTable:
    """A fold of events into rows. `rows` maps the number of a job to its row."""

    def __init__(self) -> None:
        self.rows: dict[int, JobRow] = {}
        self.input_complete = True
        self.stopped = ""
        self._places = 0

    def on_events(self, events: Iterable[ev.Event]) -> None:
        """Fold a batch of events, in order."""
        rows = self.rows
        for event in events:
            match event:
                case ev.JobAdded(_, seq, spec, by):
                    rows[seq] = JobRow(seq, spec, by=by)
                case ev.JobQueued(at, seq):
                    row = rows[seq]
                    row.state = "queued"
                    row.queued = at
                    if not row.place:
                        self._places += 1
                        row.place = self._places
                case ev.AttemptSubmitted(at, seq, attempt, waited):
                    row = rows[seq]
                    row.attempts = attempt
                    row.submitted = at
                    row.waited = waited
                    row.state = "running"
                    self.stopped = ""  # an earlier process was stopped; the run has been resumed
                case ev.AttemptRefused(_, seq, attempt):
                    rows[seq].state = "queued"
                    rows[seq].attempts = attempt - 1
                case ev.AttemptStarted(at, seq, _, where):
                    rows[seq].started = at
                    rows[seq].where = host_name(where)
                case ev.AttemptEnded():
                    _ended(rows[event.seq], event)
                case ev.JobWaiting(_, seq, _, until):
                    row = rows[seq]
                    row.state = "waiting"
                    row.until = until
                    if not is_gone(row.exit):
                        row.retries += 1
                        row.place = 0
                case ev.JobRemoved(_, seq):
                    rows[seq].state = "pending"
                    rows[seq].place = min(rows[seq].place, 0)
                case ev.JobEnded(at, seq, outcome, attempts, allowed, because):
                    row = rows[seq]
                    row.state = str(outcome)
                    row.allowed = allowed
                    row.attempts = attempts
                    if row.ended is None or outcome is Outcome.SKIPPED:
                        row.ended = at
                    if because and not row.message:
                        row.message = f"needs {because}"
                case ev.JobReopened(_, seq, outcome, _, by):
                    row = rows[seq]
                    row.state, row.message = "pending", ""
                    if by or outcome is not Outcome.INTERRUPTED:
                        row.retries = row.lost = row.place = 0
                case ev.JobHeld(_, seq, held):
                    row = rows[seq]
                    row.state = "held" if held else "pending"
                    row.place = min(row.place, 0)
                case ev.JobDropped(_, seq):
                    del rows[seq]
                case ev.JobChanged(_, seq, spec, _, front):
                    rows[seq].spec = spec
                    if front:
                        self._places += 1
                        rows[seq].place = -self._places
                case ev.InputEnded(complete=complete):
                    self.input_complete = complete
                case ev.RunStopping(cause=cause):
                    self.stopped = self.stopped or cause
                case _:
                    pass

    def close(self) -> None:
        """Do nothing; required of an observer."""


def _ended(row: JobRow, event: ev.AttemptEnded) -> None:
    row.started = None if isinstance(event.exit, NotStarted) else event.began
    row.ended = event.ended
    row.last = event.attempt
    row.exit = event.exit
    row.counted = event.counted
    row.lost += is_gone(event.exit) and event.ended > event.began  # equal times: it never reported a start
    row.where = event.where
    row.asked = event.asked
    row.usage = event.usage
    row.message = event.said.message or _why(event.exit)
    output = event.output
    if output is None:  # clear the paths of an earlier attempt's output
        row.stdout = row.stderr = None
        row.stdout_bytes = row.stderr_bytes = 0
    else:
        row.stdout, row.stderr = output.out.path, output.err.path
        row.stdout_bytes, row.stderr_bytes = output.out.size, output.err.size


def _why(exit: Exit) -> str:
    return exit.why if isinstance(exit, NotStarted | LostExit) else ""
