# SPDX-License-Identifier: LGPL-3.0-or-later
"""[hot path] The table of a run, folded from events: a row for each unfinished job, counts and the rate of ended ones.

Budget: one dictionary look-up and one short method for each event. Everything that shows or reports a
run reads this table, so only the table knows what an event undoes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from pqrun.core import events as ev
from pqrun.core.job import CountedAs, LostExit, NotStarted, Outcome, is_gone
from pqrun.core.job_row import HELD, PENDING, QUEUED, RUNNING, WAITING, FullRow, JobRow
from pqrun.core.metrics import Throughput
from pqrun.core.text import host_name

if TYPE_CHECKING:
    from pqrun.core.past import LeftJob

_NO_EXIT = (NotStarted, LostExit)


class JobTable:
    """A fold of events into rows and counts.

    `rows`: the jobs by number. A row leaves it when its job ends, except while `keeps_ended`. `running`: the
    rows of jobs that hold a slot, in the order in which they got it. `states`: how many unfinished jobs are in
    each state. `folds`: the method for each type of event. `failed`: jobs that make the run fail; `allowed`:
    jobs that failed but may. `stopped`: the first cause for which the run was stopped. `rate`: the recent ends.
    """

    def __init__(self, began: float = 0.0, *, keeps_ended: bool = False) -> None:
        self.rows: dict[int, JobRow] = {}
        self.running: dict[int, FullRow] = {}
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

    def by_state(self) -> dict[str, int]:
        """Return the number of jobs in each state that occurs. May be called on any thread."""
        # Copied at once: the thread that folds may add an outcome at any moment.
        found = {**self.states, **{str(outcome): count for outcome, count in dict(self.outcomes).items()}}
        return {state: count for state, count in found.items() if count}

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
        rows = [row for row in list(self.rows.values()) if row.state == WAITING]
        delayed = sum(row.is_delayed for row in rows)
        return len(rows), delayed, max((row.until - now for row in rows), default=0.0)

    def seconds_left(self, now: float, *, average: float = 0.0, unread: int = 0) -> float | None:
        """Return the estimated seconds until the run ends; None if unknown, or while it is paused or stops.

        `average`: the seconds that an attempt takes. `unread`: jobs that have not been read yet. May be called on any
        thread, so nothing here iterates over what the dispatcher's thread changes.
        """
        if self.stopping or self.paused:
            return None
        waiting, delayed, longest = self.waits(now)
        return self.rate.eta(
            now, self.unfinished + unread, waiting=waiting, delayed=delayed, last_retry=longest + average,
            chain=self._chain(now, average),
        )  # fmt: skip

    def _chain(self, now: float, average: float) -> float:
        """Return the seconds of the longest chain of needs, if each job takes the average."""
        if not (average and self.states[PENDING]):
            return 0.0
        from pqrun.core.past import chain_of, left_job

        def left() -> Iterator[LeftJob]:
            for row in list(self.rows.values()):
                if row.state in self.states:
                    yield left_job(row)

        return chain_of(left(), self.unfinished, average=average, now=now)

    def all_rows(self) -> list[JobRow]:
        """Return the rows in the order of their numbers."""
        return sorted(self.rows.values(), key=lambda row: row.seq)

    def _row(self, event: ev.OutputGrew | ev.AttemptRestarted) -> JobRow | None:
        return self.rows.get(event.seq)

    def _full(self, seq: int) -> FullRow:
        """Return the row of a job that has begun, or ends."""
        row = self.rows[seq]
        if not isinstance(row, FullRow):
            self.rows[seq] = row = FullRow(row)
        return row

    def _enters(self, row: JobRow, state: str) -> None:
        self.states[row.state] -= 1
        self.states[state] += 1
        row.state = state

    def _added(self, event: ev.JobAdded) -> JobRow:
        _, seq, spec, by = event
        self.added += 1
        self.states[PENDING] += 1
        self.rows[seq] = row = JobRow(seq, spec, by)
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
            # As the scheduler does: any higher number will do.
            self._places = row.place = seq if seq > self._places else self._places + 1
        return row

    def _submitted(self, event: ev.AttemptSubmitted) -> JobRow:
        at, seq, attempt, waited = event
        row = self.rows[seq]
        if isinstance(row, FullRow):
            row.stopping = ""
            row.status = row.progress = None
        else:
            self.rows[seq] = row = FullRow(row)
        self.running[seq] = row
        states = self.states
        states[row.state] -= 1
        states[RUNNING] += 1
        row.state = RUNNING
        row.attempts = attempt
        row.waited = waited
        row.since = row.submitted = at
        self.stopped = ""  # an earlier process was stopped; the run has been resumed
        return row

    def _refused(self, event: ev.AttemptRefused) -> JobRow:
        row = self._full(event.seq)
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
        row: FullRow = self.rows[seq]  # type: ignore[assignment]  # full, if the job is running
        if not row.attempts:
            row = self._full(seq)
        row.started = row.since = at
        row.where = "" if where.startswith("slot ") else host_name(where)
        return row

    def _attempt_stopping(self, event: ev.AttemptStopping) -> JobRow:
        row = self._full(event.seq)
        row.stopping = "killed" if event.force else "ending"
        return row

    def _attempt_ended(self, event: ev.AttemptEnded) -> JobRow:
        at, seq, attempt, counted, exit, asked, began, ended, usage, said, output, where = event
        row: FullRow = self.rows[seq]  # type: ignore[assignment]  # full, if the job is running
        if self.running.pop(seq, None) is None:
            row = self._full(seq)
        row.started = began
        row.ended = ended
        row.seconds = ended - began
        row.last = attempt
        row.exit = exit
        row.counted = counted
        row.where = where
        row.asked = asked
        row.usage = usage
        row.message = said.message or ""
        self.last_end = at
        if isinstance(exit, _NO_EXIT):
            self._ended_otherwise(row, event, exit)
        if output is None:  # clear the places of an earlier attempt's output
            row.stdout_at = row.stderr_at = None
            row.stdout_bytes = row.stderr_bytes = 0
        else:
            out, err = output.out, output.err
            row.stdout_at, row.stderr_at = out.place, err.place
            row.stdout_bytes, row.stderr_bytes = out.size, err.size
        return row

    def _ended_otherwise(self, row: FullRow, event: ev.AttemptEnded, exit: NotStarted | LostExit) -> None:
        """Note the end of an attempt that had no process, or whose end is unknown."""
        row.message = row.message or exit.why
        if isinstance(exit, NotStarted):
            row.started = None
        elif exit.worker_lost and event.ended > event.began:
            row.lost += 1  # equal times: the attempt never reported a start

    def _waiting(self, event: ev.JobWaiting) -> JobRow:
        row = self._full(event.seq)
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
        row: FullRow = self.rows[seq]  # type: ignore[assignment]  # full, if the job has had an attempt
        if not row.attempts:
            row = self._full(seq)
        if not self.keeps_ended:
            del self.rows[seq]
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
        if self.rows.get(seq) is None:  # it has left the table
            self.rows[seq] = row = FullRow(JobRow(seq, spec))
            row.state, row.allowed = str(outcome), spec.allow_failure
        row = self._full(seq)
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
                if isinstance(row, FullRow) and row.state in (Outcome.FAILED, Outcome.TIMEOUT):
                    row.allowed = event.spec.allow_failure
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
