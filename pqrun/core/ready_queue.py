# SPDX-License-Identifier: LGPL-3.0-or-later
"""[hot path] The queue of ready jobs: decides which of them may start next. No clock, process or file.

A `StartingOrder` holds the places of the jobs. A job that lacks slots or pool units is parked with all jobs of the
same shape (slots and pools), and is looked at again only when the resource that it lacks is freed. So every operation
takes O(log n) for n queued jobs, and the usual ones less.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from heapq import heapify, heappop, heappush

from pqrun.core.job import TAG_POOL, JobSpec, Pool
from pqrun.core.task import Task

MAX_SKIPS = 100
Entry = tuple[int, int, int]
"""The place of a job: its urgency with the sign changed, its number within that urgency, and its own number."""
MIN_REBUILD_SIZE = 64


class StartingOrder:
    """A priority queue of entries, of which the smallest comes first.

    Most jobs come in the order in which they start: each behind all others of its urgency. So each urgency has a line,
    where both ends take the same time whatever the length. A heap holds only what comes out of order (retries, jobs
    moved to the front, jobs ordered by their durations). A heap of 20,000 jobs takes 15 comparisons for each job, of
    tuples that no cache of the processor holds.
    """

    def __init__(self) -> None:
        self._lines: dict[int, deque[Entry]] = {}
        self._levels: list[int] = []  # of the lines that are not empty, in order
        self._strays: list[Entry] = []

    def push(self, entry: Entry) -> None:
        """Add an entry."""
        line = self._lines.get(entry[0])
        if line and line[-1] < entry:
            line.append(entry)
        elif line:
            heappush(self._strays, entry)
        else:
            self._lines.setdefault(entry[0], deque()).append(entry)
            insort(self._levels, entry[0])

    def pop(self) -> Entry | None:
        """Remove and return the smallest entry, None if there is none."""
        levels, strays = self._levels, self._strays
        if levels:
            line = self._lines[levels[0]]
            if not strays or line[0] < strays[0]:
                entry = line.popleft()
                if not line:
                    del levels[0]
                return entry
        return heappop(strays) if strays else None

    def drop_stale(self, most: int, is_valid: Callable[[Entry], bool]) -> None:
        """Drop the entries that are not valid, if there are more than `most` in all and more than `MIN_REBUILD_SIZE`."""
        size = len(self._strays) + sum(map(len, self._lines.values()))
        if size > most and size > MIN_REBUILD_SIZE:
            lines = {level: deque(filter(is_valid, line)) for level, line in self._lines.items()}
            self._lines = {level: line for level, line in lines.items() if line}
            self._levels = sorted(self._lines)
            self._strays = list(filter(is_valid, self._strays))
            heapify(self._strays)


class StarvationGuard:
    """A guard for jobs that others pass over because they need more slots or pool units than are free.

    A job that has seen `MAX_SKIPS` starts since it was first passed over gets a reservation:
    `reserved_for` is its number (0 if there is no reservation), and jobs behind it may not take what it
    needs. `entry_of` returns a job's present place in the queue, or None if the job has left it.
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
        """Count the start of a job. Return whether the reservation was for this job."""
        self._starts += 1
        if seq != self.reserved_for:
            return False
        self._next_turn = self._starts + MAX_SKIPS
        return True

    def count_skip(self, seq: int) -> None:
        """Record that a job can't start now while others may. Its skips are counted from the first time."""
        if seq not in self._since:
            self._since[seq] = self._starts
            self._waiting.append((self._starts, seq))

    def forget(self, seq: int) -> None:
        """Forget a job that has left the queue, and its reservation."""
        if self._since and self._since.pop(seq, None) is not None and seq == self.reserved_for:
            self.reserved_for = 0

    def refresh(self) -> None:
        """Find the jobs that were passed over too often, and make the next reservation if one is due."""
        while self._waiting and self._starts - self._waiting[0][0] >= MAX_SKIPS:
            since, seq = self._waiting.popleft()
            if self._since.get(seq) == since and (entry := self._entry_of(seq)) is not None:
                heappush(self._lost, entry)
        while self._lost and not self.reserved_for and self._starts >= self._next_turn:
            entry = heappop(self._lost)
            now = self._entry_of(entry[2]) if entry[2] in self._since else None
            if now is entry:
                self.reserved_for = entry[2]
            elif now is not None:  # the job has another place in the queue by now
                heappush(self._lost, now)


SLOTS = ""

Shape = tuple[int, tuple[tuple[str, int], ...]]


class Pools:
    """The free units of each pool, and the names of the units if the pool is indexed."""

    def __init__(self, pools: Iterable[Pool]) -> None:
        self.sizes: dict[str, int] = {}
        self.free: dict[str, int] = {}
        self._items: dict[str, list[str]] = {}
        for pool in pools:
            self.resize(pool)

    def resize(self, pool: Pool) -> None:
        """Add a pool, or change the size of a counted pool. Units in use stay in use."""
        self.free[pool.name] = self.free.get(pool.name, 0) + pool.size - self.sizes.get(pool.name, 0)
        self.sizes[pool.name] = pool.size
        if pool.items:
            self._items[pool.name] = sorted(pool.items, reverse=True)

    def remove(self, name: str) -> None:
        """Remove a counted pool of which no job needs a unit any more."""
        del self.sizes[name], self.free[name]

    def tag_limits(self) -> dict[str, int]:
        """Return how many jobs with a tag may run at a time, for each tag that is limited."""
        return {
            name.removeprefix(TAG_POOL): size
            for name, size in self.sizes.items()
            if name.startswith(TAG_POOL)
        }

    def is_indexed(self, name: str) -> bool:
        """Return whether the units of the pool have names."""
        return name in self._items

    def take(self, wanted: tuple[tuple[str, int], ...]) -> tuple[tuple[str, str], ...]:
        """Take units, which must be free. Return each pool's share as a text for the job's environment."""
        taken = []
        for name, count in wanted:
            self.free[name] -= count
            items = self._items.get(name)
            share = str(count) if items is None else ",".join(items.pop() for _ in range(count))
            taken.append((name, share))
        return tuple(taken)

    def give_back(self, wanted: tuple[tuple[str, int], ...], taken: tuple[tuple[str, str], ...]) -> None:
        """Give back units; the reverse of `take`."""
        for (name, count), (_, share) in zip(wanted, taken, strict=True):
            self.free[name] += count
            if name in self._items:
                self._items[name].extend(share.split(",") if share else ())
                self._items[name].sort(reverse=True)


class ReadyQueue:
    """The ready jobs in starting order: highest urgency first, then first come, first served.

    `known` holds all unfinished jobs by number; a job with an `entry` is in the queue. `count`: the number of
    jobs in the queue. `passed_over`: whether a job was ever passed over; until then nothing is parked, and the
    guards need not be asked. `limited_tags`: of the jobs with such a tag, each needs a unit of the tag's pool.
    """

    def __init__(self, pools: Iterable[Pool], known: Mapping[int, Task]) -> None:
        self.pools = Pools(pools)
        self._order = StartingOrder()
        self._known = known
        self.count = 0
        self._parked: dict[Shape, list[Entry]] = {}
        self._parked_by_resource: dict[str, dict[Shape, None]] = {}
        self.places = 0
        self._by_slots = StarvationGuard(self._entry_of)
        self._by_pools = StarvationGuard(self._entry_of)
        self.passed_over = False
        self.limited_tags = frozenset(self.pools.tag_limits())

    def __len__(self) -> int:
        return self.count

    def change(self, job: Task, *, front: bool) -> None:
        """Update a job that has changed. With `front`, move it before its equals, now or when it enters."""
        if front:
            self.places += 1
            job.place = -self.places
        queued = job.entry is not None
        if queued:
            self.remove(job)
        self._set_shape(job)
        if queued:
            self.enter(job, again=True)

    def reshape(self, job: Task) -> None:
        """Have a job need what its spec and the limits of its tags say now. A job that has units keeps them."""
        if self._shape_of(job.spec) != job.shape:
            self.change(job, front=False)

    def limit_tag(self, tag: str, size: int, running: Iterable[tuple[Task, bool]]) -> None:
        """Let `size` jobs with a tag run at a time, or with 0 any number. Units in use stay in use.

        `running`: each job that holds slots, and whether it has the tag. All other jobs with the tag must be
        reshaped before the next `take`.
        """
        name = TAG_POOL + tag
        if size:
            is_new = name not in self.pools.sizes
            self.pools.resize(Pool(name, size))
            for job, tagged in running if is_new else ():
                if tagged:
                    job.shape = (job.shape[0], ((name, 1), *job.shape[1]))
                    job.shares = (*self.pools.take(((name, 1),)), *job.shares)
        elif name in self.pools.sizes:
            for job, _ in running:
                job.shape = (job.shape[0], tuple(need for need in job.shape[1] if need[0] != name))
                job.shares = tuple(share for share in job.shares if share[0] != name)
            self.pools.remove(name)
        self.limited_tags = frozenset(self.pools.tag_limits())
        self.resource_freed(name)

    def _set_shape(self, job: Task) -> None:
        shape = self._shape_of(job.spec)
        if job.shape != shape and not job.shares:  # keep the tuple that most jobs share, to save memory
            job.shape = shape

    def _shape_of(self, spec: JobSpec) -> Shape:
        if self.limited_tags.isdisjoint(spec.tags):
            return (spec.slots, spec.pools)
        limits = tuple((TAG_POOL + tag, 1) for tag in dict.fromkeys(spec.tags) if tag in self.limited_tags)
        return (spec.slots, limits + spec.pools)

    def enter(self, job: Task, *, again: bool = False) -> None:
        """Put a job in the queue, behind its equals; with `again`, at the place that it had before."""
        seq = job.seq
        if not again:  # any higher number will do; with that of the job, both are one object, to save memory
            self.places = job.place = seq if seq > self.places else self.places + 1
        self.count += 1
        job.entry = entry = (-job.urgency, job.place, seq)
        self._order.push(entry)

    def move(self, jobs: Iterable[Task]) -> None:
        """Move jobs whose urgency has changed. A job that is not in the queue stays out."""
        for job in jobs:
            if job.entry is not None:
                self.push(job, (-job.urgency, job.place, job.seq))

    def push(self, job: Task, entry: Entry) -> None:
        """Put a job at this place, whether it is in the queue or not."""
        self.count += job.entry is None
        job.entry = entry
        self._order.push(entry)

    def remove(self, job: Task) -> None:
        """Remove a job from the queue. Its entries become stale and are dropped later."""
        self.count -= 1
        job.entry = None
        if self.passed_over:
            self._by_slots.forget(job.seq)
            self._by_pools.forget(job.seq)
            self._unpark_next(job.shape)
        self._order.drop_stale(4 * self.count, self._valid)

    def give_back(self, job: Task) -> None:
        """Free the slots and pool units of an attempt that ended."""
        taken = job.shares
        if taken:
            self.pools.give_back(job.shape[1], taken)
            job.shares = ()
            self._set_shape(job)
        if self._parked_by_resource:
            self.resource_freed(SLOTS, *(name for name, _ in taken))

    def resource_freed(self, *resources: str) -> None:
        """Unpark the best job of each shape that lacked one of these resources, because more may be free."""
        for resource in resources:
            for shape in self._parked_by_resource.pop(resource, ()):
                self._unpark_next(shape)

    def take(self, capacity: int, free: int) -> Task | None:
        """Remove and return the next job that may start with `free` of `capacity` slots, or None."""
        if self.passed_over:
            self._by_slots.refresh()
            self._by_pools.refresh()
        if free <= 0:
            return None
        order = self._order
        while entry := order.pop():
            job = self._known.get(entry[2])
            if job is None or job.entry is not entry:  # stale
                continue
            slots, pools = job.shape
            lack = self._missing_resource(job, capacity, free) if slots > 1 or pools else None
            if self.passed_over and lack is None:
                lack = self._reserved_for_another(entry, job, capacity, free)
                if lack == SLOTS:  # the free slots are reserved, so no job behind this one may start
                    order.push(entry)
                    return None
            if lack is not None:
                self._park(job, entry, lack)
                continue
            if self.passed_over:
                self._count_start(job)
                self.remove(job)
            else:
                self.count = count = self.count - 1
                job.entry = None
                if not count & 63:  # now and then
                    order.drop_stale(4 * count, self._valid)
            return job
        return None

    def _count_start(self, job: Task) -> None:
        """Count a start, and unpark all shapes if the reservation was for this job."""
        if self._by_slots.start(job.seq) | self._by_pools.start(job.seq):
            self.resource_freed(*list(self._parked_by_resource))

    def _entry_of(self, seq: int) -> Entry | None:
        job = self._known.get(seq)
        return None if job is None else job.entry

    def _valid(self, entry: Entry) -> bool:
        job = self._known.get(entry[2])
        return job is not None and job.entry is entry

    def _missing_resource(self, job: Task, capacity: int, free: int) -> str | None:
        """Return the resource of which too little is free for the job, or None."""
        slots, pools = job.shape
        if slots > free and min(slots, capacity) > free:
            return SLOTS
        return self._missing_pool(job) if pools else None

    def _missing_pool(self, job: Task) -> str | None:
        """Return the pool of which too little is free for the job, or None."""
        for name, count in job.shape[1]:
            if self.pools.free.get(name, 0) < count:
                return name
        return None

    def _reserved_for_another(self, entry: Entry, job: Task, capacity: int, free: int) -> str | None:
        """Return the resource that is free but reserved for a job before this place, or None."""
        if not (self._by_slots.reserved_for or self._by_pools.reserved_for):
            return None
        other = self._before(entry, self._by_pools.reserved_for)
        lack = None if other is None else self._missing_resource(other, capacity, free)
        if other is not None and lack is not None:
            # As long as the limit of a tag holds it back, its other pools would stay idle.
            kept = TAG_POOL if lack.startswith(TAG_POOL) else ""
            for name, _ in other.shape[1]:
                if name.startswith(kept) and any(name == own for own, _ in job.shape[1]):
                    return name
        other = self._before(entry, self._by_slots.reserved_for)
        if other is None or self._missing_pool(other) is not None:  # slots kept for it would stay idle
            return None
        return SLOTS if self._missing_resource(other, capacity, free) == SLOTS else None

    def _before(self, entry: Entry, seq: int) -> Task | None:
        """Return the job number `seq` if its place is before `entry`, else None."""
        other = self._known.get(seq)
        return other if other is not None and other.entry is not None and other.entry < entry else None

    def _park(self, job: Task, entry: Entry, lack: str) -> None:
        """Park a job with the others of its shape until the resource that it lacks is freed."""
        self.passed_over = True
        (self._by_slots if lack == SLOTS else self._by_pools).count_skip(job.seq)
        self._parked_by_resource.setdefault(lack, {})[job.shape] = None
        heappush(self._parked.setdefault(job.shape, []), entry)

    def _unpark_next(self, shape: Shape) -> None:
        """Return the best parked job of this shape to its place."""
        parked = self._parked.get(shape)
        while parked:
            entry = heappop(parked)
            if self._valid(entry):
                self._order.push(entry)
                break
        if parked is not None and not parked:
            del self._parked[shape]
