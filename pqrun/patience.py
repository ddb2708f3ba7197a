# SPDX-License-Identifier: LGPL-3.0-or-later
"""Who has been passed over too often, so that others have to wait now. No clock, process or file.

What is kept for one job is idle until it is enough, and that is dear: so for one at a time, and for
the next not before as many others have started.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush

PATIENCE = 100

Entry = tuple[int, int, int]


class Patience:
    """Counts starts; `turn` is the job whose turn it is, 0 if nobody's.

    `entry_of` tells a job's present place in the queue, None if it is out of it.
    """

    def __init__(self, entry_of: Callable[[int], Entry | None]) -> None:
        self.turn = 0
        self._entry_of = entry_of
        self._starts = 0
        self._next_turn = 0
        self._since: dict[int, int] = {}
        self._waiting: deque[tuple[int, int]] = deque()
        self._lost: list[Entry] = []

    def start(self, seq: int) -> bool:
        """A job starts, and passes over all that wait; whether it was its turn."""
        self._starts += 1
        if seq != self.turn:
            return False
        self._next_turn = self._starts + PATIENCE
        return True

    def pass_over(self, seq: int) -> None:
        """A job can't start now, and others will; it is counted from the first time on."""
        if seq not in self._since:
            self._since[seq] = self._starts
            self._waiting.append((self._starts, seq))

    def forget(self, seq: int) -> None:
        """A job is out of the queue."""
        if self._since and self._since.pop(seq, None) is not None and seq == self.turn:
            self.turn = 0

    def look(self) -> None:
        """Who has lost his patience by now, and whose turn is it?"""
        while self._waiting and self._starts - self._waiting[0][0] >= PATIENCE:
            since, seq = self._waiting.popleft()
            if self._since.get(seq) == since and (entry := self._entry_of(seq)) is not None:
                heappush(self._lost, entry)
        while self._lost and not self.turn and self._starts >= self._next_turn:
            entry = heappop(self._lost)
            now = self._entry_of(entry[2]) if entry[2] in self._since else None
            if now is entry:
                self.turn = entry[2]
            elif now is not None:  # it has been moved
                heappush(self._lost, now)
