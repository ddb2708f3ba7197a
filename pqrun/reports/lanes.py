# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which worker's lane of a trace an attempt is drawn in."""

from __future__ import annotations

from heapq import heapify, heappop, heappush


class Lanes:
    """Who is in which lane: the worker's number if it is known, else the lowest that is free."""

    def __init__(self) -> None:
        self.highest = 0
        self._free: list[int] = []
        self._taken: dict[int, int] = {}
        self._since: dict[int, float] = {}

    def enter(self, seq: int, at: float) -> None:
        """A job gets a lane."""
        self._since[seq] = at
        if not self._free:
            self.highest += 1
            heappush(self._free, self.highest)
        self._taken[seq] = heappop(self._free)

    def move(self, seq: int, where: str) -> None:
        """It runs in that worker, as in `slot 3`."""
        word, _, number = where.partition(" ")
        if word == "slot" and number.isdigit() and seq in self._taken:
            wanted, has = int(number), self._taken[seq]
            while self.highest < wanted:
                self.highest += 1
                heappush(self._free, self.highest)
            for other, lane in self._taken.items():
                if lane == wanted:
                    self._taken[other] = has
                    break
            else:
                self._free = [has, *(lane for lane in self._free if lane != wanted)]
                heapify(self._free)
            self._taken[seq] = wanted

    def leave(self, seq: int) -> int:
        """Its lane, free again."""
        lane = self._taken.pop(seq)
        del self._since[seq]
        heappush(self._free, lane)
        return lane

    def of(self, seq: int) -> int:
        """Its lane."""
        return self._taken.get(seq, 0)

    @property
    def taken(self) -> int:
        """How many are taken."""
        return len(self._taken)

    def all(self) -> list[tuple[int, float, int]]:
        """Who is in which, and since when."""
        return [(seq, self._since[seq], lane) for seq, lane in self._taken.items()]
