# SPDX-License-Identifier: LGPL-3.0-or-later
"""Moments at which a job's state has to be looked at again. No clock: moments are numbers.

An alarm belongs to the state object that set it, and is stale as soon as the job has moved on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from math import inf

from pqrun.lifecycle import State

FEW = 64


class Alarms:
    """A heap of alarms; `state_of` tells a job's present state, `None` if it is gone."""

    def __init__(self, state_of: Callable[[int], State | None]) -> None:
        self._state_of = state_of
        self._heap: list[tuple[float, int, int, State]] = []
        self._order = 0
        self._rebuild_at = FEW

    def set(self, when: float, seq: int, state: State) -> None:
        """Rings at `when`, if that job is still in that very state then."""
        if len(self._heap) >= self._rebuild_at:
            # Else 200,000 limited jobs behind a long one would leave 200,000 alarms.
            self._heap = [alarm for alarm in self._heap if not self._stale(alarm)]
            heapify(self._heap)
            self._rebuild_at = max(FEW, 2 * len(self._heap))
        self._order += 1
        heappush(self._heap, (when, self._order, seq, state))

    def due(self, now: float) -> Iterator[int]:
        """The jobs whose alarm rings, in order; more may be set meanwhile."""
        while self._heap and self._heap[0][0] <= now:
            alarm = heappop(self._heap)
            if not self._stale(alarm):
                yield alarm[2]

    def next(self) -> float:
        """When the next one rings; `inf`: none is set."""
        while self._heap and self._stale(self._heap[0]):
            heappop(self._heap)
        return self._heap[0][0] if self._heap else inf

    def _stale(self, alarm: tuple[float, int, int, State]) -> bool:
        return self._state_of(alarm[2]) is not alarm[3]
