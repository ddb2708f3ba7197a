# SPDX-License-Identifier: LGPL-3.0-or-later
"""What happened, as frozen data: one class a fact, facts only, never how to show them.

`at` is seconds of the engine's clock. The stream of these is the only story that is told:
journal, metrics, screen and reports are folds of it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pqrun.core.job import CountedAs, Exit, JobSpec, Outcome, Priority, SelfReport, StopReason, Usage


class JobAdded(NamedTuple):
    """A job is known to the run; `by` whom it was added, if not by the run's own input."""

    at: float
    seq: int
    spec: JobSpec
    by: str = ""


class JobQueued(NamedTuple):
    """It entered the queue: its needs are met, or it is to be tried again."""

    at: float
    seq: int
    attempt: int
    priority: Priority


class AttemptSubmitted(NamedTuple):
    """It left the queue for a slot, after `waited` seconds."""

    at: float
    seq: int
    attempt: int
    waited: float


class AttemptRefused(NamedTuple):
    """The machine could not start it now; it is back in the queue as if it had never left."""

    at: float
    seq: int
    attempt: int
    why: str


class AttemptStarted(NamedTuple):
    """It runs; `where` names the slot or the host."""

    at: float
    seq: int
    attempt: int
    where: str


class AttemptRestarted(NamedTuple):
    """A cluster has begun it a second time, `where` that was; the first end that is reported counts."""

    at: float
    seq: int
    attempt: int
    where: str


class AttemptStopping(NamedTuple):
    """We asked it to end (`force`: killed it)."""

    at: float
    seq: int
    attempt: int
    reason: StopReason
    force: bool


class AttemptEnded(NamedTuple):
    """It ended; `asked` is our reason if our signal met it alive, or if one met it that stopped pqrun too.

    `output` is read, not compared. `where`: the host, if it was another one.
    """

    at: float
    seq: int
    attempt: int
    counted: CountedAs
    exit: Exit
    asked: StopReason | None
    began: float
    ended: float
    usage: Usage
    said: SelfReport
    output: Any = None
    where: str = ""


class JobWaiting(NamedTuple):
    """It will be tried again at `until`."""

    at: float
    seq: int
    attempt: int
    until: float


class JobRemoved(NamedTuple):
    """It left the queue without an attempt."""

    at: float
    seq: int


class JobEnded(NamedTuple):
    """It ended for good; `because` names the need for which it was skipped, `by` who cancelled it."""

    at: float
    seq: int
    outcome: Outcome
    attempts: int
    allowed: bool = False
    because: str = ""
    by: str = ""


class JobReopened(NamedTuple):
    """It had ended with that outcome (or was cut short), and is to run again after all."""

    at: float
    seq: int
    outcome: Outcome
    spec: JobSpec


class JobDropped(NamedTuple):
    """It is no longer part of the run; `outcome` is what it had ended with, if it had."""

    at: float
    seq: int
    outcome: Outcome | None


class StatusReported(NamedTuple):
    """A running attempt told its status or progress."""

    at: float
    seq: int
    attempt: int
    status: str | None
    progress: float | None


class JobChanged(NamedTuple):
    """Somebody changed a job that has not ended; `front`: and put it before its equals."""

    at: float
    seq: int
    spec: JobSpec
    by: str
    front: bool = False


class OutputGrew(NamedTuple):
    """A running attempt's output may be shown up to `upto` bytes of `stream`."""

    at: float
    seq: int
    attempt: int
    stream: int
    upto: int
    output: Any


class InputEnded(NamedTuple):
    """No more jobs will come; `complete` is false when reading had to stop early, for `why`."""

    at: float
    jobs: int
    complete: bool
    why: str = ""


class SlotsChanged(NamedTuple):
    """So many jobs may run at a time from now on, for `why`."""

    at: float
    slots: int
    why: str


class StartsHeld(NamedTuple):
    """The machine's load or memory holds back starts, for the first time in this run."""

    at: float
    why: str


class WorkersChanged(NamedTuple):
    """Somebody wants so many slots from now on."""

    at: float
    workers: int
    by: str


class PoolChanged(NamedTuple):
    """Somebody made a pool, or gave it another size."""

    at: float
    name: str
    size: int
    by: str


class RunPaused(NamedTuple):
    """Nothing new starts until somebody unpauses."""

    at: float
    paused: bool
    by: str


class RunStopping(NamedTuple):
    """Nothing new starts for good; `cause` as in `signal SIGINT`, `halt`, `deadline`, `stop`.

    `drain`: running jobs may finish; otherwise they are asked to end (`force`: killed).
    """

    at: float
    cause: str
    drain: bool
    force: bool = False
    by: str = ""


Event = (
    JobAdded
    | JobQueued
    | AttemptSubmitted
    | AttemptRefused
    | AttemptStarted
    | AttemptRestarted
    | AttemptStopping
    | AttemptEnded
    | JobWaiting
    | JobRemoved
    | JobEnded
    | JobReopened
    | JobDropped
    | StatusReported
    | JobChanged
    | OutputGrew
    | InputEnded
    | SlotsChanged
    | StartsHeld
    | WorkersChanged
    | PoolChanged
    | RunPaused
    | RunStopping
)
