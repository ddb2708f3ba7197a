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
        self._left_out = 0.0
        self._stood_still_at: float | None = None
        self._start = time.time() - time.monotonic()

    def now(self) -> float:
        """Seconds; never goes back."""
        still = self._stood_still_at
        return time.monotonic() + self._start - self._left_out if still is None else still

    def wall(self, at: float) -> float:
        """Seconds since the epoch at that moment."""
        return at + self._left_out

    def stand_still(self) -> None:
        """What passes from now on is spent stopped: it counts against nobody's limit."""
        self._stood_still_at = self.now()

    def go_on(self) -> None:
        """Until now."""
        if self._stood_still_at is not None:
            self._left_out = time.monotonic() + self._start - self._stood_still_at
            self._stood_still_at = None
