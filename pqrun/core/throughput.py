# SPDX-License-Identifier: LGPL-3.0-or-later
"""The rate at which jobs end, and the estimated time left, both measured over the last minute."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

WINDOW_SECONDS = 60.0
MIN_ENDS = 5
SETTLING_SECONDS = 3.0


class Throughput:
    """Counts of ended jobs in slices of a second. If few ended in the last minute, the last few count.

    `expected` returns the seconds, at a time, until a number of jobs has ended by the times of earlier runs. It is
    asked while the rate is unknown.
    """

    def __init__(self, began: float, expected: Callable[[float, int], float | None] | None = None) -> None:
        self.began = began
        self.expected = expected
        self._slices: deque[list[float]] = deque()
        self._in_window = 0
        self._recent: deque[float] = deque(maxlen=MIN_ENDS)

    def count(self, at: float, jobs: int = 1) -> None:
        """Count jobs that ended at this time."""
        self._recent.extend([at] * min(jobs, MIN_ENDS))
        self._in_window += jobs
        if self._slices and at - self._slices[-1][0] < 1.0:
            self._slices[-1][1] += jobs
        else:
            self._slices.append([at, jobs])
            self._forget(at)

    def per_second(self, now: float) -> float | None:
        """Return the jobs ended per second, or None while too few have ended to tell."""
        if len(self._recent) < MIN_ENDS or now - self.began < SETTLING_SECONDS:
            return None
        self._forget(now)
        if self._in_window >= MIN_ENDS:
            return self._in_window / min(WINDOW_SECONDS, now - self.began)
        return MIN_ENDS / max(now - self._recent[0], WINDOW_SECONDS)

    def eta(
        self, now: float, left: int, *, waiting: int = 0, delayed: int = 0, last_retry: float = 0.0
    ) -> float | None:
        """Return the estimated seconds until `left` more jobs have ended, or None if that is unknown.

        `waiting` of them wait for a retry or, `delayed` of these, for a time; the last of them has run in
        `last_retry` seconds. A delayed job takes no worker until then, so it does not count at the present rate.
        """
        rate = self.per_second(now)
        if left <= 0:
            return None
        if not rate and waiting < left:
            return None if self.expected is None else self.expected(now, left)
        by_rate = (left - delayed) / rate if rate else 0.0
        return max(by_rate, last_retry) if waiting else by_rate

    def _forget(self, now: float) -> None:
        while self._slices and now - self._slices[0][0] > WINDOW_SECONDS:
            self._in_window -= int(self._slices.popleft()[1])
