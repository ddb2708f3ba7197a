# SPDX-License-Identifier: LGPL-3.0-or-later
"""What executors report to the scheduler, as frozen data. Times are the engine's clock's."""

from __future__ import annotations

from typing import Any, NamedTuple

from pqrun.core.job import NO_REPORT, AttemptId, Exit, SelfReport, Usage


class ProcessStarted(NamedTuple):
    """The attempt runs since `at`; `where` names the slot or the host."""

    key: AttemptId
    at: float
    where: str


class ProcessRestarted(NamedTuple):
    """The attempt was begun a second time, without being asked for."""

    key: AttemptId
    where: str


class OutputIdle(NamedTuple):
    """The attempt has been silent for as long as it may."""

    key: AttemptId


class StatusReceived(NamedTuple):
    """The attempt told its status or progress."""

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
    """The attempt is over and nothing of it is left; `stopped`: our signal met it alive.

    `where`: the host, if it was another one.
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


class StartRejected(NamedTuple):
    """The machine could not start the attempt now (no descriptors, no processes)."""

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
