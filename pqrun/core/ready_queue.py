# SPDX-License-Identifier: LGPL-3.0-or-later
"""The ready jobs, and which of them may start next. No clock, no process, no file.

One heap of small tuples holds them in the promised order. A job that finds no room (slots or a
pool) is parked with all that ask for the same, so that it is looked at again only when what it
lacks is given back: everything is O(log n) in what is queued.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from heapq import heapify, heappop, heappush
from typing import Protocol

from pqrun.core.job import Pool

MAX_SKIPS = 100

Entry = tuple[int, int, int]


class StarvationGuard:
    """Counts starts; `turn` is the job whose turn it is, 0 if nobody's.

    `entry_of` tells a job's present place in the queue, None if it is out of it.
    """

    def __init__(self, entry_of: Callable[[int], Entry | None]) -> None:
        self.reserved_for = 0
        self._entry_of = entry_of
        self._starts = 0
        self._next_turn = 0
        self._since: dict[int, int] = {}
        self._waiting: deque[tuple[int, int]] = deque()
        self._lost: list[Entry] = []

    def start(self, seq: int) -> bool:
        """A job starts, and passes over all that wait; whether it was its turn."""
        self._starts += 1
        if seq != self.reserved_for:
            return False
        self._next_turn = self._starts + MAX_SKIPS
        return True

    def count_skip(self, seq: int) -> None:
        """A job can't start now, and others will; it is counted from the first time on."""
        if seq not in self._since:
            self._since[seq] = self._starts
            self._waiting.append((self._starts, seq))

    def forget(self, seq: int) -> None:
        """A job is out of the queue."""
        if self._since and self._since.pop(seq, None) is not None and seq == self.reserved_for:
            self.reserved_for = 0

    def refresh(self) -> None:
        """Who has lost his patience by now, and whose turn is it?"""
        while self._waiting and self._starts - self._waiting[0][0] >= MAX_SKIPS:
            since, seq = self._waiting.popleft()
            if self._since.get(seq) == since and (entry := self._entry_of(seq)) is not None:
                heappush(self._lost, entry)
        while self._lost and not self.reserved_for and self._starts >= self._next_turn:
            entry = heappop(self._lost)
            now = self._entry_of(entry[2]) if entry[2] in self._since else None
            if now is entry:
                self.reserved_for = entry[2]
            elif now is not None:  # it has been moved
                heappush(self._lost, now)


SLOTS = ""

Shape = tuple[int, tuple[tuple[str, int], ...]]


class ResourceRequest(Protocol):
    """What a job asks for."""

    @property
    def slots(self) -> int: ...
    @property
    def pools(self) -> tuple[tuple[str, int], ...]: ...


class ShapeHead(Protocol):
    """What the heap knows of a job: its place, and what it asks for."""

    seq: int
    entry: Entry | None
    shape: Shape


class ReadyJob(ShapeHead, Protocol):
    """A job that comes into the queue: how urgent it is, and what it asks for by now."""

    place: int

    @property
    def urgency(self) -> int: ...
    @property
    def spec(self) -> ResourceRequest: ...


class Pools:
    """Who holds how much of each pool, and which names of it."""

    def __init__(self, pools: Iterable[Pool]) -> None:
        self.sizes: dict[str, int] = {}
        self.free: dict[str, int] = {}
        self._items: dict[str, list[str]] = {}
        for pool in pools:
            self.resize(pool)

    def resize(self, pool: Pool) -> None:
        """A new pool, or a new size for a counted one; what is held stays held."""
        self.free[pool.name] = self.free.get(pool.name, 0) + pool.size - self.sizes.get(pool.name, 0)
        self.sizes[pool.name] = pool.size
        if pool.items:
            self._items[pool.name] = sorted(pool.items, reverse=True)

    def is_indexed(self, name: str) -> bool:
        """Whether its shares have names."""
        return name in self._items

    def take(self, wanted: tuple[tuple[str, int], ...]) -> tuple[tuple[str, str], ...]:
        """Takes what must be free; answers each pool's share as the job will see it."""
        taken = []
        for name, count in wanted:
            self.free[name] -= count
            items = self._items.get(name)
            share = str(count) if items is None else ",".join(items.pop() for _ in range(count))
            taken.append((name, share))
        return tuple(taken)

    def give_back(self, wanted: tuple[tuple[str, int], ...], taken: tuple[tuple[str, str], ...]) -> None:
        """The reverse of `take`."""
        for (name, count), (_, share) in zip(wanted, taken, strict=True):
            self.free[name] += count
            if name in self._items:
                self._items[name].extend(share.split(",") if share else ())
                self._items[name].sort(reverse=True)


class ReadyQueue:
    """Jobs in starting order: highest first, then first come; `take` gives the next that fits.

    `known` has all jobs by number; those with an `entry` are in here.
    """

    def __init__(self, pools: Iterable[Pool], known: Mapping[int, ShapeHead]) -> None:
        self.pools = Pools(pools)
        self._heap: list[Entry] = []
        self._known = known
        self._count = 0
        self._parked: dict[Shape, list[Entry]] = {}
        self._parked_by_resource: dict[str, dict[Shape, None]] = {}
        self.places = 0
        self._by_slots = StarvationGuard(self._entry_of)
        self._by_pools = StarvationGuard(self._entry_of)
        self._passed_over = False  # nobody has been yet, so there is nobody's patience to count

    def __len__(self) -> int:
        return self._count

    def change(self, job: ReadyJob, *, front: bool) -> None:
        """It asks for something else; `front`: and goes before all of its equals, now or when it comes in."""
        if front:
            self.places += 1
            job.place = -self.places
        if job.entry is not None:
            self.remove(job)
            self.enter(job, again=True)

    def enter(self, job: ReadyJob, *, again: bool = False) -> None:
        """Puts a job in, behind its equals; or `again` at the place that it has."""
        if not again:
            self.places += 1
            job.place = self.places
        shape = (job.spec.slots, job.spec.pools)
        if job.shape != shape:  # most have theirs in common
            job.shape = shape
        self.push(job, (-job.urgency, job.place, job.seq))

    def move(self, jobs: Iterable[ReadyJob]) -> None:
        """They are more or less urgent than they were; those that are not in stay out."""
        for job in jobs:
            if job.entry is not None:
                self.push(job, (-job.urgency, job.place, job.seq))

    def push(self, job: ShapeHead, entry: Entry) -> None:
        """Puts a job in, or to another place if it is in already."""
        self._count += job.entry is None
        job.entry = entry
        heappush(self._heap, entry)

    def remove(self, job: ShapeHead) -> None:
        """Takes a job out from wherever it is; its tuples in the heaps turn stale."""
        self._count -= 1
        job.entry = None
        if self._passed_over:
            self._by_slots.forget(job.seq)
            self._by_pools.forget(job.seq)
        if self._parked:
            self._unpark_next(job.shape)
        if len(self._heap) > 64 and len(self._heap) > 4 * self._count:
            self._heap = [entry for entry in self._heap if self._valid(entry)]
            heapify(self._heap)

    def give_back(self, job: ShapeHead, taken: tuple[tuple[str, str], ...]) -> None:
        """A job's attempt ended: its slots and pool shares are free again."""
        if taken:
            self.pools.give_back(job.shape[1], taken)
        if self._parked_by_resource:
            self.resource_freed(SLOTS, *(name for name, _ in taken))

    def resource_freed(self, *resources: str) -> None:
        """There may be more of these now: the best of each parked shape that lacked one competes."""
        for resource in resources:
            for shape in self._parked_by_resource.pop(resource, ()):
                self._unpark_next(shape)

    def take(self, capacity: int, free: int) -> ShapeHead | None:
        """The next job that may start with `free` of `capacity` slots; it is out of the queue then."""
        if self._passed_over:
            self._by_slots.refresh()
            self._by_pools.refresh()
        while free > 0 and self._heap:
            entry = heappop(self._heap)
            job = self._known.get(entry[2])
            if job is None or job.entry is not entry:  # stale
                continue
            lack = self._missing_resource(job, capacity, free)
            if lack is None and (self._by_slots.reserved_for or self._by_pools.reserved_for):
                lack = self._reserved_for_another(entry, job, capacity, free)
                if lack == SLOTS:  # and so for all that come after it
                    heappush(self._heap, entry)
                    return None
            if lack is not None:
                self._park(job, entry, lack)
                continue
            its_turn = self._passed_over and self._by_slots.start(job.seq) | self._by_pools.start(job.seq)
            self.remove(job)
            if its_turn:
                self.resource_freed(*list(self._parked_by_resource))
            return job
        return None

    def _entry_of(self, seq: int) -> Entry | None:
        job = self._known.get(seq)
        return None if job is None else job.entry

    def _valid(self, entry: Entry) -> bool:
        job = self._known.get(entry[2])
        return job is not None and job.entry is entry

    def _missing_resource(self, job: ShapeHead, capacity: int, free: int) -> str | None:
        slots, pools = job.shape
        if slots > free and min(slots, capacity) > free:
            return SLOTS
        return self._missing_pool(job) if pools else None

    def _missing_pool(self, job: ShapeHead) -> str | None:
        for name, count in job.shape[1]:
            if self.pools.free.get(name, 0) < count:
                return name
        return None

    def _reserved_for_another(self, entry: Entry, job: ShapeHead, capacity: int, free: int) -> str | None:
        """What is free, but kept for one before it that could never start otherwise."""
        other = self._before(entry, self._by_pools.reserved_for)
        if other is not None and self._missing_resource(other, capacity, free) is not None:
            for name, _ in other.shape[1]:
                if any(name == own for own, _ in job.shape[1]):
                    return name
        other = self._before(entry, self._by_slots.reserved_for)
        if other is None or self._missing_pool(other) is not None:  # no use in keeping slots for it
            return None
        return SLOTS if self._missing_resource(other, capacity, free) == SLOTS else None

    def _before(self, entry: Entry, seq: int) -> ShapeHead | None:
        """That job, if it comes before this place."""
        other = self._known.get(seq)
        return other if other is not None and other.entry is not None and other.entry < entry else None

    def _park(self, job: ShapeHead, entry: Entry, lack: str) -> None:
        self._passed_over = True
        (self._by_slots if lack == SLOTS else self._by_pools).count_skip(job.seq)
        self._parked_by_resource.setdefault(lack, {})[job.shape] = None
        heappush(self._parked.setdefault(job.shape, []), entry)

    def _unpark_next(self, shape: Shape) -> None:
        parked = self._parked.get(shape)
        while parked:
            entry = heappop(parked)
            if self._valid(entry):
                heappush(self._heap, entry)
                break
        if parked is not None and not parked:
            del self._parked[shape]
