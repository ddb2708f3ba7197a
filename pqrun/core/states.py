# SPDX-License-Identifier: LGPL-3.0-or-later
"""The states of a job, each with its own facts, and the only functions that lead from one to the next.

The annotations of a function give its transition; the table `TRANSITIONS` repeats them, and a test
compares the two. Times are in seconds of the engine's clock; `attempt` is the number of the attempt.
"""

from typing import NamedTuple

from pqrun.core.job import Outcome, StopReason, new
from pqrun.core.notices import ProcessFinished


class Pending(NamedTuple):
    """The job waits for other jobs to end."""


class Held(Pending):
    """The job does not start before a user releases it. A pending job, with the release as one more need."""

    __slots__ = ()


class Queued(NamedTuple):
    """The job is ready, and has waited for a free slot since `since`."""

    attempt: int
    since: float


class Submitted(NamedTuple):
    """The attempt was handed to the executor, which has not yet reported its start."""

    attempt: int
    since: float


class Running(NamedTuple):
    """The attempt has run since `started`, and is stopped at `deadline` if that is set.

    `host`: where it runs, empty for this machine.
    """

    attempt: int
    started: float
    deadline: float | None
    host: str = ""


class Stopping(NamedTuple):
    """The attempt was asked to end, and is killed at `kill_at` if it has not ended by then."""

    attempt: int
    reason: StopReason
    kill_at: float
    killed: bool = False


class Unsettled(NamedTuple):
    """The attempt ended as if by a stop signal; whether pqrun gets that signal as well is not known yet.

    `reason`: why the attempt had been asked to end, if the request came too late to reach the process.
    """

    attempt: int
    report: ProcessFinished
    reason: StopReason | None


class Waiting(NamedTuple):
    """The job waits for its next attempt, due at `until`, and holds no slot."""

    attempt: int
    until: float


class Delayed(Waiting):
    """The job does not start before `until`, when the wall clock shows the time that its author set."""

    __slots__ = ()


class Finished(NamedTuple):
    """The job has ended for good, after `attempts` attempts."""

    outcome: Outcome
    attempts: int


State = Pending | Held | Queued | Submitted | Running | Stopping | Unsettled | Waiting | Delayed | Finished

TRANSITIONS: dict[type, set[type]] = {
    Pending: {Queued, Held, Delayed, Finished},
    Held: {Pending, Finished},
    Queued: {Submitted, Pending, Held, Delayed, Finished},
    Submitted: {Queued, Running, Stopping, Unsettled, Waiting, Finished},
    Running: {Stopping, Unsettled, Waiting, Finished},
    Stopping: {Queued, Stopping, Unsettled, Waiting, Finished},
    Unsettled: {Unsettled, Waiting, Finished},
    Waiting: {Queued, Held, Delayed, Finished},
    Delayed: {Queued, Held, Delayed, Finished},
    Finished: {Pending},
}


def enqueue(state: Pending | Waiting | Delayed, attempt: int, now: float) -> Queued:
    """Queue a job whose needs are met, or whose next attempt is due."""
    return new(Queued, (attempt, now))


def submit(state: Queued) -> Submitted:
    """Submit a queued job to the executor."""
    return new(Submitted, state)


def block(_state: Queued) -> Pending:
    """Take a job out of the queue because its new needs are not met."""
    return Pending()


def hold(_state: Pending | Queued | Waiting | Delayed) -> Held:
    """Keep a job from starting until it is released."""
    return Held()


def release(_state: Held) -> Pending:
    """Let a held job start when its other needs are met."""
    return Pending()


def delay(_state: Pending | Queued | Waiting | Delayed, attempt: int, until: float) -> Delayed:
    """Keep a job from starting before the time `until`."""
    return Delayed(attempt, until)


def undo_submit(state: Submitted | Stopping, since: float) -> Queued:
    """Requeue a job whose start the machine refused, as if it had never left the queue."""
    return Queued(state.attempt, since)


def start(state: Submitted, at: float, timeout: float | None, host: str = "") -> Running:
    """Record the start that the executor reported, and set the deadline."""
    return new(Running, (state.attempt, at, None if timeout is None else at + timeout, host))


def ask_to_stop(state: Submitted | Running, reason: StopReason, kill_at: float) -> Stopping:
    """Record that the attempt was asked to end."""
    return Stopping(state.attempt, reason, kill_at)


def kill(state: Stopping) -> Stopping:
    """Record that the attempt was killed."""
    return Stopping(state.attempt, state.reason, state.kill_at, killed=True)


def hold_back(state: Submitted | Running | Stopping, report: ProcessFinished) -> Unsettled:
    """Keep the report of the attempt's end until it is known whether pqrun has to stop as well."""
    return Unsettled(state.attempt, report, state.reason if isinstance(state, Stopping) else None)


def give_up(state: Unsettled, reason: StopReason) -> Unsettled:
    """Record the reason for which an ended but unsettled attempt gets no retry."""
    return Unsettled(state.attempt, state.report, reason)


def retry(state: Submitted | Running | Stopping | Unsettled, until: float) -> Waiting:
    """Let the job wait for its next attempt."""
    return Waiting(state.attempt + 1, until)


_OK_AT_ONCE = Finished(Outcome.OK, 1)


def finish(state: Submitted | Running | Stopping | Unsettled, outcome: Outcome) -> Finished:
    """End the job with the outcome of its last attempt."""
    attempt = state.attempt
    if attempt == 1 and outcome is Outcome.OK:
        return _OK_AT_ONCE  # the end of most jobs
    return new(Finished, (outcome, attempt))


def end_unstarted(
    state: Pending | Held | Queued | Waiting | Delayed, outcome: Outcome, attempts: int
) -> Finished:
    """End the job without another attempt: it was skipped, or cancelled before it started."""
    return Finished(outcome, attempts)


def reopen(_state: Finished) -> Pending:
    """Let an ended job run again."""
    return Pending()
