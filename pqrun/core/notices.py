# SPDX-License-Identifier: LGPL-3.0-or-later
"""The notices that executors report to the scheduler, as frozen data.

Times are in seconds of the engine's clock; `key` names the attempt.
"""

from typing import Any, NamedTuple

from pqrun.core.job import NO_REPORT, AttemptId, Exit, SelfReport, Usage


class ProcessStarted(NamedTuple):
    """The attempt has been running since `at`; `where` is the slot or the host."""

    key: AttemptId
    at: float
    where: str


class ProcessRestarted(NamedTuple):
    """The cluster has started the attempt a second time, at `where`, without a request from pqrun."""

    key: AttemptId
    where: str


class OutputIdle(NamedTuple):
    """The attempt has printed nothing for its `idle_timeout`."""

    key: AttemptId


class StatusReceived(NamedTuple):
    """The attempt reported its status or its progress (0 to 1)."""

    key: AttemptId
    status: str | None
    progress: float | None


class OutputAdvanced(NamedTuple):
    """The attempt's output may be shown up to `upto` bytes of `stream` (1 or 2)."""

    key: AttemptId
    stream: int
    upto: int
    output: Any


class ProcessFinished(NamedTuple):
    """The attempt has ended and all its processes are gone, except leftovers that are kept.

    `stopped`: pqrun's signal reached the process while it was alive. `where`: the host, empty for this
    machine. `slot`: the slot, from an attempt so short that no `ProcessStarted` was posted; else empty.
    """

    key: AttemptId
    exit: Exit
    stopped: bool
    began: float
    ended: float
    usage: Usage = Usage()
    said: SelfReport = NO_REPORT
    output: Any = None
    where: str = ""
    slot: str = ""


class StartRejected(NamedTuple):
    """The machine can't start the attempt now, for want of file descriptors, processes or threads."""

    key: AttemptId
    why: str


ExecutorNotice = (
    ProcessStarted
    | ProcessRestarted
    | OutputIdle
    | StatusReceived
    | OutputAdvanced
    | ProcessFinished
    | StartRejected
)
