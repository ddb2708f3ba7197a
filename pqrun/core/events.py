# SPDX-License-Identifier: LGPL-3.0-or-later
"""The events of a run: what happened, as frozen data, one class for each kind of fact; and their observer.

Journal, metrics, screen and reports are all folded from this one stream. An event holds facts, not
how they are shown. Common fields: `at` is the time in seconds of the engine's clock, `seq` the
number of the job, `attempt` the number of the attempt (from 1), `by` the origin of a request.
"""

from collections.abc import Callable, Mapping
from math import inf
from typing import Any, NamedTuple

from pqrun.core.job import CountedAs, Exit, JobSpec, Outcome, Priority, SelfReport, StopReason, Usage


class JobAdded(NamedTuple):
    """A job was added to the run. `by`: the origin of the request, empty for the run's own input."""

    at: float
    seq: int
    spec: JobSpec
    by: str = ""


class JobQueued(NamedTuple):
    """The job entered the queue: its needs are met, or its next attempt is due."""

    at: float
    seq: int
    attempt: int
    priority: Priority


class AttemptSubmitted(NamedTuple):
    """The job left the queue for a slot, after `waited` seconds in the queue."""

    at: float
    seq: int
    attempt: int
    waited: float


class AttemptRefused(NamedTuple):
    """The machine refused to start the attempt; the job is back at its place in the queue."""

    at: float
    seq: int
    attempt: int
    why: str


class AttemptStarted(NamedTuple):
    """The attempt is running. `where`: the slot or the host."""

    at: float
    seq: int
    attempt: int
    where: str


class AttemptRestarted(NamedTuple):
    """A cluster has started the attempt again by itself, at `where`. The first reported end counts."""

    at: float
    seq: int
    attempt: int
    where: str


class AttemptStopping(NamedTuple):
    """The attempt was asked to end, or killed if `force` is set."""

    at: float
    seq: int
    attempt: int
    reason: StopReason
    force: bool


class AttemptEnded(NamedTuple):
    """The attempt ended, and `counted` says which metric counts it.

    `asked`: why pqrun stopped the attempt, also `INTERRUPTED` if the attempt was ended by a signal that told
    pqrun to stop as well; None if the attempt ended by itself. `output`: the captured output, or None
    without one. `where`: the host, empty for this machine.
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
    """The job waits for its next attempt, due at `until`."""

    at: float
    seq: int
    attempt: int
    until: float


class JobDelayed(NamedTuple):
    """The job's needs are met, but it does not start before `until`, because its author set a time."""

    at: float
    seq: int
    attempt: int
    until: float


class JobRemoved(NamedTuple):
    """The job left the queue without an attempt."""

    at: float
    seq: int


class JobEnded(NamedTuple):
    """The job ended for good, after `attempts` attempts.

    `allowed`: the failure does not make the run fail. `because`: the id of the needed job for which this
    job was skipped. `by`: the origin of the request that cancelled it.
    """

    at: float
    seq: int
    outcome: Outcome
    attempts: int
    allowed: bool = False
    because: str = ""
    by: str = ""


class JobReopened(NamedTuple):
    """A job that had ended with `outcome`, or was cut short with the run, is to run again.

    `by`: the origin of the request to restart it, empty if the run was resumed.
    """

    at: float
    seq: int
    outcome: Outcome
    spec: JobSpec
    by: str = ""


class JobDropped(NamedTuple):
    """The job was removed from the run. `outcome`: its final outcome, or None if it had not ended."""

    at: float
    seq: int
    outcome: Outcome | None


class StatusReported(NamedTuple):
    """A running attempt reported its status or its progress (0 to 1)."""

    at: float
    seq: int
    attempt: int
    status: str | None
    progress: float | None


class JobChanged(NamedTuple):
    """An unfinished job got a new spec. `front`: it was also moved before all jobs of equal urgency."""

    at: float
    seq: int
    spec: JobSpec
    by: str
    front: bool = False


class JobHeld(NamedTuple):
    """The job does not start until it is released, or if not `held`, it has been released."""

    at: float
    seq: int
    held: bool
    by: str


class OutputGrew(NamedTuple):
    """The output of a running attempt may be shown up to `upto` bytes of `stream` (1 or 2)."""

    at: float
    seq: int
    attempt: int
    stream: int
    upto: int
    output: Any


class InputEnded(NamedTuple):
    """The input has ended, after `jobs` jobs. `complete` is false if reading ended early; `why` says why."""

    at: float
    jobs: int
    complete: bool
    why: str = ""


class SlotsChanged(NamedTuple):
    """pqrun uses `slots` slots at most from now on, because the machine refused a start for `why`."""

    at: float
    slots: int
    why: str


class StartsHeld(NamedTuple):
    """A limit of load or memory holds back starts, for the first time in this run."""

    at: float
    why: str


class WorkersChanged(NamedTuple):
    """A request set the number of workers."""

    at: float
    workers: int
    by: str


class PoolChanged(NamedTuple):
    """A request created a pool, or changed its size.

    With the name `tag:x`, `size` jobs with the tag x may run at a time; 0: any number.
    """

    at: float
    name: str
    size: int
    by: str


class RunPaused(NamedTuple):
    """A request paused the run (nothing new starts), or ended the pause if `paused` is false."""

    at: float
    paused: bool
    by: str


class RunStopping(NamedTuple):
    """The run starts nothing more. `cause` is `signal SIGINT`, `halt`, `deadline` or `stop`, for example.

    With `drain`, running jobs may finish; without it they are asked to end, or killed with `force`.
    """

    at: float
    cause: str
    drain: bool
    force: bool = False
    by: str = ""


JobEvent = (
    JobAdded
    | JobQueued
    | JobWaiting
    | JobDelayed
    | JobRemoved
    | JobEnded
    | JobReopened
    | JobDropped
    | JobChanged
    | JobHeld
)
AttemptEvent = (
    AttemptSubmitted
    | AttemptRefused
    | AttemptStarted
    | AttemptRestarted
    | AttemptStopping
    | AttemptEnded
    | StatusReported
    | OutputGrew
)
RunEvent = InputEnded | SlotsChanged | StartsHeld | WorkersChanged | PoolChanged | RunPaused | RunStopping
Event = JobEvent | AttemptEvent | RunEvent

Handler = Callable[[Any, Any], None]


class Observer:
    """A receiver of events. Its methods are called on the dispatcher thread.

    `handlers` names a method for each type of event that the observer wants. The method gets the event and,
    after the table has folded the event, the row of the event's job (None if the event is about the run).
    `wants_past`: the observer also gets the events of earlier processes of the run.
    """

    handlers: Mapping[type, Handler] = {}
    wants_past = False

    def tick(self) -> float:
        """Act after each delivery of events, and return the seconds until the next call is wanted."""
        return inf

    def close(self) -> None:
        """Handle the end of the run: no more events will come."""
