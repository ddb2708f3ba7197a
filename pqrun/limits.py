# SPDX-License-Identifier: LGPL-3.0-or-later
"""What holds back starts, or ends a run early. No clock: moments are numbers."""

from __future__ import annotations

from math import inf

from pqrun.model import Halt, Outcome

AGAIN_AFTER_REFUSAL = 0.25
QUIET_ROUNDS = 8


class Ceiling:
    """How many slots the machine bears: lowered when it refuses a start, raised by and by."""

    def __init__(self) -> None:
        self.slots: float = inf
        self._unrefused = 0
        self._again_at = -inf

    def refused(self, used: int, now: float) -> int | None:
        """A start was refused while so many slots were used; the new ceiling, if it is lower."""
        self._unrefused = 0
        if not used:
            self._again_at = now + AGAIN_AFTER_REFUSAL
        fits = max(1, used)
        if fits >= self.slots:
            return None
        self.slots = fits
        return fits

    def went_well(self) -> None:
        """An attempt ended; after many of them one more at a time is tried."""
        if self.slots < inf:
            self._unrefused += 1
            if self._unrefused >= QUIET_ROUNDS * self.slots:
                self.slots += 1
                self._unrefused = 0

    def closed(self, now: float) -> bool:
        """Whether not even one may start now."""
        if now >= self._again_at:
            self._again_at = -inf
        return self._again_at > now

    @property
    def opens_at(self) -> float:
        """When one may start again; `inf` if nothing is in the way."""
        return self._again_at if self._again_at > -inf else inf


class Halting:
    """Counts how jobs end, and says when that is enough."""

    def __init__(self, halt: Halt | None) -> None:
        self._halt = halt
        self._counts = {"fail": 0, "success": 0, "done": 0}

    def count(self, outcome: Outcome, *, allowed: bool) -> None:
        """A job has ended."""
        self._counts["done"] += 1
        if outcome is Outcome.OK:
            self._counts["success"] += 1
        elif outcome in (Outcome.FAILED, Outcome.TIMEOUT) and not allowed:
            self._counts["fail"] += 1

    def reached(self, jobs: int) -> Halt | None:
        """The policy, if its number is reached among so many jobs."""
        if self._halt is None:
            return None
        limit = self._halt.number * jobs / 100 if self._halt.percent else self._halt.number
        return self._halt if self._counts[self._halt.what] >= max(limit, 1) else None
