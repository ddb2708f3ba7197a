# SPDX-License-Identifier: LGPL-3.0-or-later
"""The clock of a run. Only this module asks the machine for the time of decisions."""

from __future__ import annotations

import time
from time import monotonic
from typing import Protocol

MAX_LOOK_SECONDS = 0.01


class Clock(Protocol):
    """A clock. `now` is the time in seconds for decisions; `wall` converts it to seconds since the epoch.

    `drift`: how many seconds the wall clock is ahead of `now`. If some job waits for a time of the wall clock, the
    drift must be asked for every `check_seconds`, because no other event tells that the wall clock was set.
    """

    check_seconds: float

    def now(self) -> float: ...
    def wall(self, at: float) -> float: ...
    def drift(self) -> float: ...


def format_moment(at: float) -> str:
    """Return a time of the wall clock for people: `22:00`, with the day unless that is today."""
    moment = time.localtime(at)
    day = "" if moment[:3] == time.localtime()[:3] else "%Y-%m-%d "
    return time.strftime(f"{day}%H:%M{':%S' if moment.tm_sec else ''}", moment)


class SystemClock:
    """Monotonic seconds, without the time during which pqrun was suspended.

    They are counted from the epoch, by one look at the wall clock at the start, so that times in a
    journal and times of this process are on one scale. Later jumps of the wall clock change nothing.
    """

    check_seconds = 5.0

    def __init__(self) -> None:
        self._drift = 0.0
        self._pauses: list[tuple[float, float]] = []  # the moment of each, and the seconds of all until then
        self._paused_at: float | None = None
        self._start = self._offset = time.time() - monotonic()

    def now(self) -> float:
        """Return the time in seconds. It never goes back."""
        still = self._paused_at
        return monotonic() + self._offset if still is None else still

    def wall(self, at: float) -> float:
        """Return the seconds since the epoch at the time `at`; a pause changes no time before it."""
        for since, seconds in reversed(self._pauses):
            if at >= since:
                return at + seconds
        return at

    def drift(self) -> float:
        """Return how many seconds the wall clock is ahead of `now`: it was set, or pqrun or the machine was suspended."""
        before = monotonic()
        wall = time.time()
        # If this thread lost the CPU between the two looks, their difference says nothing.
        if monotonic() - before < MAX_LOOK_SECONDS:
            self._drift = wall - self.now()
        return self._drift

    def pause(self) -> None:
        """Stop the clock before pqrun is suspended, because that time must not count against timeouts."""
        self._paused_at = self.now()

    def resume(self) -> None:
        """Let the clock go on."""
        if self._paused_at is not None:
            self._offset = self._paused_at - monotonic()
            self._pauses.append((self._paused_at, self._start - self._offset))
            self._paused_at = None
