# SPDX-License-Identifier: LGPL-3.0-or-later
"""Time, handed in; the only module that asks the machine for it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Seconds for decisions (`now`), and the same moments as people read them (`wall`)."""

    def now(self) -> float: ...
    def wall(self, at: float) -> float: ...


class SystemClock:
    """Monotonic seconds without the time during which pqrun was stopped.

    They are counted from the epoch, by one look at the wall clock, so that moments in a journal and
    moments of this process are on one scale; later jumps of the wall clock change nothing.
    """

    def __init__(self) -> None:
        self._paused_seconds = 0.0
        self._paused_at: float | None = None
        self._start = time.time() - time.monotonic()

    def now(self) -> float:
        """Seconds; never goes back."""
        still = self._paused_at
        return time.monotonic() + self._start - self._paused_seconds if still is None else still

    def wall(self, at: float) -> float:
        """Seconds since the epoch at that moment."""
        return at + self._paused_seconds

    def pause(self) -> None:
        """What passes from now on is spent stopped: it counts against nobody's limit."""
        self._paused_at = self.now()

    def resume(self) -> None:
        """Until now."""
        if self._paused_at is not None:
            self._paused_seconds = time.monotonic() + self._start - self._paused_at
            self._paused_at = None
