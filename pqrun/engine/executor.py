# SPDX-License-Identifier: LGPL-3.0-or-later
"""The protocol between the engine and whatever runs attempts.

An executor reports through `Reporter`. Each attempt gives at most one `Started`, then exactly one
`Ended` or `Refused`; a stop that can't be obeyed is answered with `Ended(Lost(…))`. Scheduling,
retries and priorities are never an executor's business.
"""

from __future__ import annotations

from typing import Protocol

from pqrun.core.job import Attempt, AttemptId
from pqrun.core.notices import ExecutorNotice


class Reporter(Protocol):
    """Where news go: `post` from any thread, at once; `turn` also carries out what follows."""

    def post(self, *news: ExecutorNotice, urgent: bool = True) -> None: ...
    def turn(self, *news: ExecutorNotice) -> None: ...


class Executor(Protocol):
    """Runs attempts somewhere."""

    def capacity(self) -> int:
        """Slots in all; who counts what is taken is the scheduler."""

    def start(self, attempt: Attempt) -> None:
        """Takes an attempt; never blocks, never raises for the user's fault."""

    def stop(self, key: AttemptId, *, force: bool) -> None:
        """Asks it to end, or kills it; unknown or ended: no-op; never blocks."""

    def close(self) -> None:
        """Nothing runs and nothing is open afterwards; may wait."""
