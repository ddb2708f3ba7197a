# SPDX-License-Identifier: LGPL-3.0-or-later
"""The table of a run, folded from events: a row for each unfinished job, and counts of the ended ones. [HOT]

Budget: one dictionary look-up and one short method for each event. Everything that shows or reports a
run reads this table, so only the table knows what an event undoes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

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
    OutputPlace,
    Priority,
    StopReason,
    Usage,
    is_gone,
)
from pqrun.core.text import host_name
from pqrun.core.throughput import Throughput

NO_USAGE = Usage()
PENDING, HELD, QUEUED, RUNNING, WAITING = "pending", "held", "queued", "running", "waiting"
_OUTCOMES = {str(outcome): outcome for outcome in Outcome}


class JobRow:
    """The row of one job. Times are in seconds of the engine's clock, and those of the last attempt.

    `where` is the host of the last attempt, empty for this machine. `priority` is the one in the queue, which
    a job may inherit. `since`: when the running attempt left the queue, or began as soon as that is known.
    `stopping`: how the running attempt was asked to end (`ending`, `killed`). `status` and `progress`: what it
    has reported. `seconds`: how long the last attempt took, None if none has ended since the job was opened.
    `submitted`: when the last attempt left the queue. `stdout_at`, `stderr_at`: where its output is kept, if any.
    `last`: the number of the last attempt that ended.

    A restart needs `by` (the request that added the job), `counted`, `lost` (attempts whose worker was lost
    after they began), `place` in the queue (0: a new one is due; negative: before its equals) and `until`, when a
    waiting job is due.
    """

    __slots__ = (
        "allowed", "asked", "attempts", "by", "counted", "ended", "exit", "last", "lost", "message", "place",
        "priority", "progress", "queued", "retries", "seconds", "seq", "since", "spec", "started", "state",
        "status", "stderr_at", "stderr_bytes", "stdout_at", "stdout_bytes", "stopping", "submitted", "until", "usage",
        "waited", "where",
    )  # fmt: skip

    def __init__(
        self,
        seq: int,
        spec: JobSpec,
        state: str = PENDING,
        attempts: int = 0,
        retries: int = 0,
        queued: float | None = None,
        *,
        by: str = "",
    ) -> None:
        self.seq = seq
        self.spec = spec
        self.priority: Priority = spec.priority
        self.state = state
        self.attempts = attempts
        self.retries = retries
        self.queued = queued
        self.since = 0.0
        self.submitted: float | None = None
        self.started: float | None = None
        self.ended: float | None = None
        self.waited: float | None = None
        self.seconds: float | None = None
        self.exit: Exit | None = None
        self.asked: StopReason | None = None
        self.usage = NO_USAGE
        self.message = ""
        self.stdout_at: OutputPlace | None = None
        self.stderr_at: OutputPlace | None = None
        self.stdout_bytes = self.stderr_bytes = 0
        self.allowed = False
        self.where = ""
        self.stopping = ""
        self.status: str | None = None
        self.progress: float | None = None
        self.by = by
        self.counted: CountedAs | None = None
        self.last = self.lost = self.place = 0
        self.until = 0.0

    def copy(self) -> JobRow:
        """Return a row with the same values."""
        row = JobRow(self.seq, self.spec)
        for name in self.__slots__:
            setattr(row, name, getattr(self, name))
        return row

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
    def stdout(self) -> str | None:
        """The path of the file that holds the stdout of the last attempt and nothing else, or None."""
        return _own_file(self.stdout_at)

    @property
    def stderr(self) -> str | None:
        """The path of the file that holds the stderr of the last attempt and nothing else, or None."""
        return _own_file(self.stderr_at)

    @property
    def max_attempts(self) -> int:
        """The number of attempts that the job may have in all. One that is to be tried again has one more to come."""
        to_come = self.state in (PENDING, HELD, QUEUED, WAITING)
        last = self.attempts - self.retries + self.spec.retry.max + to_come
        return max(self.attempts, last, 1 + self.spec.retry.max)

    @property
    def tries(self) -> int:
        """The number of the present attempt, or the number that the job's retries allow if that is higher."""
        return max(self.attempts, self.spec.retry.max + 1)

    @property
    def run_seconds(self) -> float | None:
        """How long the last attempt ran; None if none has run since the job was opened."""
        return None if self.started is None or self.seconds is None else max(0.0, self.seconds)

    @property
    def is_flaky(self) -> bool:
        """Whether the job succeeded only after a failed attempt of its own."""
        return self.state == "ok" and self.retries > 0

    @property
    def is_delayed(self) -> bool:
        """Whether the job waits for a time that its author set, and not for a retry."""
        return self.state == WAITING and self.counted is not CountedAs.RETRIED

    @property
    def fails_run(self) -> bool:
        """Whether the job's end makes the run fail. An interrupted job that may be rerun does not."""
        if self.state == "ok" or self.allowed:
            return False
        return self.state != "interrupted" or not self.spec.rerun


def _own_file(place: OutputPlace | None) -> str | None:
    return None if place is None or place.pack else place.file


class JobTable:
    """A fold of events into rows and counts.

    `rows`: the jobs by number. A row leaves it when its job ends, except while `keeps_ended`. `running`: the
    rows of jobs that hold a slot, in the order in which they got it. `states`: how many unfinished jobs are in
    each state. `folds`: the method for each type of event. `failed`: jobs that make the run fail; `allowed`:
    jobs that failed but may. `stopped`: the first cause for which the run was stopped. `rate`: the recent ends.
    """

    def __init__(self, began: float = 0.0, *, keeps_ended: bool = False) -> None:
        self.rows: dict[int, JobRow] = {}
        self.running: dict[int, JobRow] = {}
        self.keeps_ended = keeps_ended
        self.states = dict.fromkeys((PENDING, HELD, QUEUED, RUNNING, WAITING), 0)
        self.outcomes: Counter[Outcome] = Counter()
        self.added = self.failed = self.flaky = self.allowed = 0
        self.input_complete = True
        self.input_ended = self.paused = False
        self.stopping: ev.RunStopping | None = None
        self.stopped = ""
        self.last_end = began
        self.rate = Throughput(began)
        self._places = 0
        self.folds: dict[type, Callable[[Any], JobRow | None]] = {
            ev.JobAdded: self._added, ev.JobQueued: self._queued, ev.AttemptSubmitted: self._submitted,
            ev.AttemptRefused: self._refused, ev.AttemptStarted: self._started,
            ev.AttemptRestarted: self._row, ev.AttemptStopping: self._attempt_stopping,
            ev.AttemptEnded: self._attempt_ended, ev.JobWaiting: self._waiting, ev.JobRemoved: self._removed,
            ev.JobHeld: self._held, ev.JobDelayed: self._delayed,
            ev.JobEnded: self._ended, ev.JobReopened: self._reopened, ev.JobDropped: self._dropped,
            ev.StatusReported: self._reported, ev.JobChanged: self._changed, ev.OutputGrew: self._row,
            ev.InputEnded: self._input_ended, ev.RunPaused: self._paused, ev.RunStopping: self._run_stopping,
        }  # fmt: skip

    def fold(self, event: ev.Event) -> JobRow | None:
        """Fold an event; return the row of its job, or None if the event is about the whole run."""
        fold = self.folds.get(type(event))
        return None if fold is None else fold(event)

    def fold_all(self, events: Iterable[ev.Event]) -> None:
        """Fold events, in order."""
        for event in events:
            self.fold(event)

    def begin_process(self) -> None:
        """Forget what held for earlier processes of the run only: how they were paused or stopped, and the rate.

        Called after their events were folded.
        """
        self.rate = Throughput(self.rate.began, self.rate.expected)
        self.input_ended = self.paused = False
        self.stopping, self.stopped = None, ""

    @property
    def ended_count(self) -> int:
        """The number of jobs that have ended, with any outcome."""
        return self.outcomes.total()

    @property
    def unfinished(self) -> int:
        """The number of jobs that have not ended."""
        return self.added - self.outcomes.total()

    @property
    def left_undone(self) -> bool:
        """Whether some jobs have not ended, or were interrupted by the end of the run."""
        return self.unfinished > 0 or self.outcomes[Outcome.INTERRUPTED] > 0

    def waits(self, now: float) -> tuple[int, int, float]:
        """Return how many jobs wait for a retry or a time, how many of these for a time, and the longest wait in seconds.

        Looks at all rows only if some job waits.
        """
        if not self.states[WAITING]:
            return 0, 0, 0.0
        rows = [row for row in self.rows.values() if row.state == WAITING]
        delayed = sum(row.is_delayed for row in rows)
        return len(rows), delayed, max((row.until - now for row in rows), default=0.0)

    def all_rows(self) -> list[JobRow]:
        """Return the rows in the order of their numbers."""
        return sorted(self.rows.values(), key=lambda row: row.seq)

    def _row(self, event: ev.OutputGrew | ev.AttemptRestarted) -> JobRow | None:
        return self.rows.get(event.seq)

    def _enters(self, row: JobRow, state: str) -> None:
        self.states[row.state] -= 1
        self.states[state] += 1
        row.state = state

    def _added(self, event: ev.JobAdded) -> JobRow:
        _, seq, spec, by = event
        self.added += 1
        self.states[PENDING] += 1
        self.rows[seq] = row = JobRow(seq, spec, by=by)
        return row

    def _queued(self, event: ev.JobQueued) -> JobRow:
        at, seq, _, priority = event
        row, states = self.rows[seq], self.states
        states[row.state] -= 1
        states[QUEUED] += 1
        row.state = QUEUED
        row.queued = at
        row.priority = priority
        if not row.place:
            self._places = row.place = self._places + 1
        return row

    def _submitted(self, event: ev.AttemptSubmitted) -> JobRow:
        at, seq, attempt, waited = event
        row = self.running[seq] = self.rows[seq]
        states = self.states
        states[row.state] -= 1
        states[RUNNING] += 1
        row.state = RUNNING
        row.attempts = attempt
        row.waited = waited
        row.since = row.submitted = at
        row.stopping = ""
        row.status = row.progress = None
        self.stopped = ""  # an earlier process was stopped; the run has been resumed
        return row

    def _refused(self, event: ev.AttemptRefused) -> JobRow:
        row = self.rows[event.seq]
        self.running.pop(event.seq, None)
        self._enters(row, QUEUED)
        row.attempts = event.attempt - 1
        return row

    def _removed(self, event: ev.JobRemoved) -> JobRow:
        row = self.rows[event.seq]
        self._enters(row, PENDING)
        row.place = min(row.place, 0)
        return row

    def _held(self, event: ev.JobHeld) -> JobRow:
        row = self.rows[event.seq]
        self._enters(row, HELD if event.held else PENDING)
        row.place = min(row.place, 0)
        return row

    def _started(self, event: ev.AttemptStarted) -> JobRow:
        at, seq, _, where = event
        row = self.rows[seq]
        row.started = row.since = at
        row.where = host_name(where)
        return row

    def _attempt_stopping(self, event: ev.AttemptStopping) -> JobRow:
        row = self.rows[event.seq]
        row.stopping = "killed" if event.force else "ending"
        return row

    def _attempt_ended(self, event: ev.AttemptEnded) -> JobRow:
        row = self.rows[event.seq]
        self.running.pop(event.seq, None)
        exit = event.exit
        row.started = None if isinstance(exit, NotStarted) else event.began
        row.ended = event.ended
        row.seconds = event.ended - event.began
        row.last = event.attempt
        row.exit = exit
        row.counted = event.counted
        if isinstance(exit, LostExit) and exit.worker_lost and event.ended > event.began:
            row.lost += 1  # equal times: the attempt never reported a start
        row.where = event.where
        row.asked = event.asked
        row.usage = event.usage
        row.message = event.said.message or (exit.why if isinstance(exit, NotStarted | LostExit) else "")
        self.last_end = event.at
        output = event.output
        if output is None:  # clear the places of an earlier attempt's output
            row.stdout_at = row.stderr_at = None
            row.stdout_bytes = row.stderr_bytes = 0
        else:
            out, err = output.out, output.err
            row.stdout_at, row.stderr_at = out.place, err.place
            row.stdout_bytes, row.stderr_bytes = out.size, err.size
        return row

    def _waiting(self, event: ev.JobWaiting) -> JobRow:
        row = self.rows[event.seq]
        self._enters(row, WAITING)
        row.until = event.until
        row.counted = CountedAs.RETRIED
        if not is_gone(row.exit):
            row.retries += 1
            row.place = 0
        return row

    def _delayed(self, event: ev.JobDelayed) -> JobRow:
        row = self.rows[event.seq]
        if row.state == PENDING:
            row.place = min(row.place, 0)
        self._enters(row, WAITING)
        row.until = event.until
        return row

    def _ended(self, event: ev.JobEnded) -> JobRow:
        at, seq, outcome, attempts, allowed, because, _ = event
        row = self.rows[seq]
        if not self.keeps_ended:
            del self.rows[seq]
        self.running.pop(seq, None)
        self.states[row.state] -= 1
        row.state = str(outcome)
        row.allowed = allowed
        row.attempts = attempts
        if row.ended is None or outcome is Outcome.SKIPPED:
            row.ended = at
        if because and not row.message:
            row.message = f"needs {because}"
        self.last_end = at
        self.outcomes[outcome] += 1
        if outcome is not Outcome.OK or row.retries:
            self._count(row, 1)
        if attempts:
            self.rate.count(at)
        return row

    def _count(self, row: JobRow, by: int) -> None:
        """Count an end, or undo the count with `by` -1. Ends without a retry or failure need no call."""
        self.flaky += by * row.is_flaky
        self.failed += by * row.fails_run
        self.allowed += by * (row.allowed and row.state in (Outcome.FAILED, Outcome.TIMEOUT))

    def _reopened(self, event: ev.JobReopened) -> JobRow:
        _, seq, outcome, spec, by = event
        self.outcomes[outcome] -= 1
        row = self.rows.get(seq)
        if row is None:  # it has left the table
            self.rows[seq] = row = JobRow(seq, spec, str(outcome))
            row.allowed = spec.allow_failure
        self._count(row, -1)
        row.state, row.message, row.seconds, row.allowed = PENDING, "", None, False
        if by or outcome is not Outcome.INTERRUPTED:
            row.retries = row.lost = row.place = 0
        self.states[PENDING] += 1
        return row

    def _dropped(self, event: ev.JobDropped) -> JobRow | None:
        self.added -= 1
        row = self.rows.get(event.seq)
        if row is not None:
            del self.rows[event.seq]
        if event.outcome is not None:
            self.outcomes[event.outcome] -= 1
            if row is not None:
                self._count(row, -1)
        elif row is not None:
            self.running.pop(event.seq, None)
            self.states[row.state] -= 1
        return row

    def _reported(self, event: ev.StatusReported) -> JobRow | None:
        if row := self.running.get(event.seq):
            row.status, row.progress = event.status, event.progress
        return row

    def _changed(self, event: ev.JobChanged) -> JobRow | None:
        if row := self.rows.get(event.seq):
            has_ended = row.outcome is not None
            if has_ended:
                self._count(row, -1)
            row.spec, row.priority = event.spec, event.spec.priority
            if has_ended:
                self._count(row, 1)
            if event.front:
                self._places += 1
                row.place = -self._places
        return row

    def _input_ended(self, event: ev.InputEnded) -> None:
        self.input_ended, self.input_complete = True, event.complete

    def _paused(self, event: ev.RunPaused) -> None:
        self.paused = event.paused

    def _run_stopping(self, event: ev.RunStopping) -> None:
        self.stopping = event
        self.stopped = self.stopped or event.cause
