# SPDX-License-Identifier: LGPL-3.0-or-later
"""The states of one job, each with its own facts, and the only functions that change them.

A function's annotations say from which states it leads where; `TRANSITIONS` says the same as a
table, and a test holds the two together. Times are seconds of the engine's clock.
"""

from __future__ import annotations

from typing import NamedTuple

from pqrun.core.job import Outcome, StopReason
from pqrun.core.notices import ProcessFinished


class Pending(NamedTuple):
    """Waits for other jobs to end."""


class Queued(NamedTuple):
    """Ready; waits for a free slot since `since`."""

    attempt: int
    since: float


class Submitted(NamedTuple):
    """Handed to the executor, which has not said that it began."""

    attempt: int
    since: float


class Running(NamedTuple):
    """Began at `started`; to be stopped at `deadline`, if there is one. `host`: if it is another one."""

    attempt: int
    started: float
    deadline: float | None
    host: str = ""


class Stopping(NamedTuple):
    """Asked to end; killed at `kill_at` if it does not."""

    attempt: int
    reason: StopReason
    kill_at: float
    killed: bool = False


class Unsettled(NamedTuple):
    """Has ended, by a signal that may have been sent to pqrun as well; settled when that is known.

    `reason`: why the attempt had been asked to end, if the request came too late to reach it.
    """

    attempt: int
    report: ProcessFinished
    reason: StopReason | None


class Waiting(NamedTuple):
    """Holds no slot until its next attempt is due."""

    attempt: int
    until: float


class Finished(NamedTuple):
    """Ended for good after so many attempts."""

    outcome: Outcome
    attempts: int


State = Pending | Queued | Submitted | Running | Stopping | Unsettled | Waiting | Finished

TRANSITIONS: dict[type, set[type]] = {
    Pending: {Queued, Finished},
    Queued: {Submitted, Pending, Finished},
    Submitted: {Queued, Running, Stopping, Unsettled, Waiting, Finished},
    Running: {Stopping, Unsettled, Waiting, Finished},
    Stopping: {Queued, Stopping, Unsettled, Waiting, Finished},
    Unsettled: {Unsettled, Waiting, Finished},
    Waiting: {Queued, Finished},
    Finished: {Pending},
}


def enqueue(state: Pending | Waiting, attempt: int, now: float) -> Queued:
    """Its needs are met, or its next attempt is due."""
    return Queued(attempt, now)


def submit(state: Queued) -> Submitted:
    """A slot was free."""
    return Submitted(state.attempt, state.since)


def block(_state: Queued) -> Pending:
    """Somebody gave it needs that are not met."""
    return Pending()


def undo_submit(state: Submitted | Stopping, since: float) -> Queued:
    """The machine could not start it now: undone, as if it had never left the queue."""
    return Queued(state.attempt, since)


def start(state: Submitted, at: float, timeout: float | None, host: str = "") -> Running:
    """The executor says that it began."""
    return Running(state.attempt, at, None if timeout is None else at + timeout, host)


def ask_to_stop(state: Submitted | Running, reason: StopReason, kill_at: float) -> Stopping:
    """We ask it to end."""
    return Stopping(state.attempt, reason, kill_at)


def kill(state: Stopping) -> Stopping:
    """Its grace is over."""
    return Stopping(state.attempt, state.reason, state.kill_at, killed=True)


def hold_back(state: Submitted | Running | Stopping, report: ProcessFinished) -> Unsettled:
    """Keep the report of its end until it is known whether pqrun is told to stop, too."""
    return Unsettled(state.attempt, report, state.reason if isinstance(state, Stopping) else None)


def give_up(state: Unsettled, reason: StopReason) -> Unsettled:
    """Record that nobody wants another attempt of it any more."""
    return Unsettled(state.attempt, state.report, reason)


def retry(state: Submitted | Running | Stopping | Unsettled, until: float) -> Waiting:
    """It failed, or was lost, and may try again."""
    return Waiting(state.attempt + 1, until)


def finish(state: Submitted | Running | Stopping | Unsettled, outcome: Outcome) -> Finished:
    """Its last attempt ended."""
    return Finished(outcome, state.attempt)


def end_unstarted(state: Pending | Queued | Waiting, outcome: Outcome, attempts: int) -> Finished:
    """It ends without another attempt: skipped, or cancelled before it started."""
    return Finished(outcome, attempts)


def reopen(_state: Finished) -> Pending:
    """It is to run again after all."""
    return Pending()
