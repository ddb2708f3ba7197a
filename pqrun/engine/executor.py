# SPDX-License-Identifier: LGPL-3.0-or-later
"""The protocol between the engine and an executor, which runs attempts.

An executor reports through a `Reporter`. Each attempt gives at most one `ProcessStarted`, then
exactly one `ProcessFinished` or `StartRejected`. A stop that can't be obeyed is answered with a
`ProcessFinished` whose exit is `LostExit`. Scheduling, retries and priorities belong to the scheduler.
"""

from __future__ import annotations

from typing import Protocol

from pqrun.core.job import Attempt, AttemptId
from pqrun.core.notices import ExecutorNotice


class Reporter(Protocol):
    """The receiver of notices. Both methods may be called on any thread and never wait for another turn.

    `post` leaves the notices for the next turn; `turn` also runs a turn, which carries out what follows.
    """

    def post(self, *notices: ExecutorNotice, urgent: bool = True) -> None: ...
    def turn(self, *notices: ExecutorNotice) -> None: ...


class Executor(Protocol):
    """A place where attempts run. `capacity`, `start` and `stop` are called under the engine's lock."""

    def capacity(self) -> int:
        """Return the number of slots in all; the scheduler counts those in use."""

    def start(self, attempt: Attempt) -> None:
        """Start an attempt. Never blocks, and never raises for a mistake of the user."""

    def stop(self, key: AttemptId, *, force: bool) -> None:
        """Ask the attempt to end, or kill it. Never blocks; an unknown or ended attempt is ignored."""

    def close(self) -> None:
        """Stop everything and release all resources. May wait."""
