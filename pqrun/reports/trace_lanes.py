# SPDX-License-Identifier: LGPL-3.0-or-later
"""The lanes of a timeline, one for each job that runs at a time."""

from __future__ import annotations

from heapq import heapify, heappop, heappush


class TraceLanes:
    """The lane of each running job: its worker's number if that is known, else the lowest free number."""

    def __init__(self) -> None:
        self.highest = 0
        self._free: list[int] = []
        self._taken: dict[int, int] = {}
        self._since: dict[int, float] = {}

    def enter(self, seq: int, at: float) -> None:
        """Give the job the lowest free lane. `at`: the start, in seconds on the engine's clock."""
        self._since[seq] = at
        if not self._free:
            self.highest += 1
            heappush(self._free, self.highest)
        self._taken[seq] = heappop(self._free)

    def move(self, seq: int, where: str) -> None:
        """Move the job to its worker's lane, as in `slot 3`; another job in that lane takes the old one."""
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
        """Free the job's lane and return its number."""
        lane = self._taken.pop(seq)
        del self._since[seq]
        heappush(self._free, lane)
        return lane

    def of(self, seq: int) -> int:
        """Return the job's lane, or 0 if the job has none."""
        return self._taken.get(seq, 0)

    @property
    def taken(self) -> int:
        """The number of lanes in use."""
        return len(self._taken)

    def all(self) -> list[tuple[int, float, int]]:
        """Return the sequence number, start and lane of each running job."""
        return [(seq, self._since[seq], lane) for seq, lane in self._taken.items()]
