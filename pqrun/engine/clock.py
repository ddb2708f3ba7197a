# SPDX-License-Identifier: LGPL-3.0-or-later
"""The clock of a run. Only this module asks the machine for the time of decisions."""

from __future__ import annotations

import time
from time import monotonic
from typing import Protocol


class Clock(Protocol):
    """A clock. `now` is the time in seconds for decisions; `wall` converts it to seconds since the epoch."""

    def now(self) -> float: ...
    def wall(self, at: float) -> float: ...


class SystemClock:
    """Monotonic seconds, without the time during which pqrun was suspended.

    They are counted from the epoch, by one look at the wall clock at the start, so that times in a
    journal and times of this process are on one scale. Later jumps of the wall clock change nothing.
    """

    def __init__(self) -> None:
        self._paused_seconds = 0.0
        self._paused_at: float | None = None
        self._start = self._offset = time.time() - monotonic()

    def now(self) -> float:
        """Return the time in seconds. It never goes back."""
        still = self._paused_at
        return monotonic() + self._offset if still is None else still

    def wall(self, at: float) -> float:
        """Return the seconds since the epoch at the time `at`."""
        return at + self._paused_seconds

    def pause(self) -> None:
        """Stop the clock before pqrun is suspended, because that time must not count against timeouts."""
        self._paused_at = self.now()

    def resume(self) -> None:
        """Let the clock go on."""
        if self._paused_at is not None:
            self._offset = self._paused_at - monotonic()
            self._paused_seconds = self._start - self._offset
            self._paused_at = None
