# SPDX-License-Identifier: LGPL-3.0-or-later
"""The list of jobs in `top`, filtered and sorted. Pure.

Of 10,000 jobs a few change in a second, so a change moves one entry of the sorted list. Only a new
filter, a new order or more than `MAX_SORTED_LIVE` changes sort the whole list again.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from pqrun.core.job import Need
from pqrun.core.job_row import HELD, PENDING, QUEUED, RUNNING, UNFINISHED, WAITING
from pqrun.core.past import LeftJob, chain_of

CHANGEABLE = (WAITING, QUEUED, PENDING, HELD)
BAD = ("failed", "timeout")
STATES = (RUNNING, *CHANGEABLE, *BAD, "interrupted", "cancelled", "skipped", "ok")
PRIORITIES = ("low", "normal", "high", "critical")
SORTS = ("urgent", "number", "name", "state", "priority", "tries", "time")
MAX_SORTED_LIVE = 400
_RANK = {
    "running": 0, "waiting": 1, "failed": 2, "timeout": 2, "interrupted": 3, "queued": 4, "pending": 5, "held": 6,
}  # fmt: skip
Key = tuple[Any, ...]


class ListedJob(NamedTuple):
    """A job as `top` lists it. Times are seconds of the wall clock.

    All text but the id is free of control characters. `cpus` and `memory` are of the last attempt that ended:
    the CPUs that it kept busy on average, and its peak in bytes. `due`: when a waiting job is tried again, or
    starts if it waits for its time, `not_before`.
    """

    seq: int
    id: str
    name: str
    command: str
    state: str
    priority: int = 1
    tags: tuple[str, ...] = ()
    attempts: int = 0
    most: int = 1
    timeout: float | None = None
    queued: float | None = None
    began: float | None = None
    ended: float | None = None
    how: str = ""
    message: str = ""
    cpus: float | None = None
    memory: int | None = None
    due: float | None = None
    not_before: float | None = None
    needs: tuple[Need, ...] = ()

    @property
    def unfinished(self) -> bool:
        """Whether the job has not ended, so that it can be changed."""
        return self.state in UNFINISHED

    def seconds(self, now: float) -> float | None:
        """Return how long the job has run, has been in the queue, or will wait for its retry, in seconds."""
        if self.state == "running":
            return None if self.began is None else max(0.0, now - self.began)
        if self.state == "queued":
            return None if self.queued is None else max(0.0, now - self.queued)
        if self.state == "waiting":
            return None if self.due is None else max(0.0, self.due - now)
        if self.began is None or self.ended is None or self.state in ("pending", "held"):
            return None
        return max(0.0, self.ended - self.began)


class JobFilter(NamedTuple):
    """A filter of jobs; an empty field accepts every job. `state` may also be `bad` or `unfinished`."""

    state: str = ""
    priority: str = ""
    tag: str = ""
    words: tuple[str, ...] = ()

    @classmethod
    def parsed(cls, text: str) -> JobFilter:
        """Parse what the user typed: `state:failed priority:low tag:x`, and words to find in a job."""
        found = {"state": "", "priority": "", "tag": ""}
        words = []
        for word in text.split():
            kind, colon, value = word.partition(":")
            if colon and value and kind in found:
                found[kind] = value.lower() if kind != "tag" else value
            else:
                words.append(word.lower())
        return cls(**found, words=tuple(words))

    def __str__(self) -> str:
        kinds = (("state", self.state), ("priority", self.priority), ("tag", self.tag))
        return " ".join([*(f"{kind}:{value}" for kind, value in kinds if value), *self.words])

    def lets_pass(self, job: ListedJob) -> bool:
        """Return whether a job is listed."""
        if self.state and job.state != self.state:
            group = {"bad": BAD, "unfinished": UNFINISHED}.get(self.state, ())
            if job.state not in group:
                return False
        if self.priority and PRIORITIES[job.priority] != self.priority:
            return False
        if self.tag and self.tag not in job.tags:
            return False
        if not self.words:
            return True
        text = "\n".join((job.id, job.name, job.command, job.how, job.message, *job.tags)).lower()
        return all(word in text for word in self.words)


def _urgent(job: ListedJob) -> Key:
    rank = _RANK.get(job.state, 6)
    if rank == 4:
        return (rank, -job.priority, job.queued or 0.0)
    if rank in (0, 5):
        return (rank, 0, job.seq)
    return (rank, 0, -(job.ended or 0.0))


def _time(job: ListedJob) -> Key:
    if job.state == "running":
        return (0, job.began or 0.0)
    if job.state == "waiting":
        return (3, job.due or 0.0)
    seconds = job.seconds(0.0)
    if job.state == "queued":
        return (2, job.queued or 0.0)
    return (1, -seconds) if seconds is not None else (3, 0.0)


_KEYS = {
    "urgent": _urgent,
    "number": lambda job: (),
    "name": lambda job: (job.name,),
    "state": lambda job: (STATES.index(job.state),),
    "priority": lambda job: (-job.priority,),
    "tries": lambda job: (-job.attempts,),
    "time": _time,
}


class JobList:
    """All jobs of a run by number, and the listed ones in order."""

    def __init__(self) -> None:
        self.all: dict[int, ListedJob] = {}
        self.counts: Counter[str] = Counter()
        self.tags: Counter[str] = Counter()
        self.filter = JobFilter()
        self.sort = "urgent"
        self.reverse = False
        self._keys: list[Key] = []

    def __len__(self) -> int:
        return len(self._keys)

    def at(self, row: int) -> ListedJob:
        """Return the job in a row."""
        return self.all[self._keys[-1 - row if self.reverse else row][-1]]

    def last_due(self) -> float:
        """Return when the last of the waiting jobs is tried again; 0 if none waits."""
        waiting = self.all.values() if self.counts["waiting"] else ()
        return max((job.due or 0.0 for job in waiting if job.state == "waiting"), default=0.0)

    def longest_chain(self, now: float, average: float) -> float:
        """Return the seconds of the longest chain of needs, if each job takes the average."""
        if not self.counts["pending"]:
            return 0.0
        count = sum(self.counts[state] for state in UNFINISHED)
        return chain_of(self._left(), count, average=average, now=now)

    def _left(self) -> Iterator[LeftJob]:
        for job in self.all.values():
            if job.unfinished:
                yield LeftJob(job.id, job.state, job.began, job.due or 0.0, job.needs)

    def row_of(self, seq: int) -> int | None:
        """Return the row of a job, or None if it is not listed."""
        job = self.all.get(seq)
        if job is None:
            return None
        key = self._key(job)
        at = bisect_left(self._keys, key)
        if at == len(self._keys) or self._keys[at] != key:
            return None
        return len(self._keys) - 1 - at if self.reverse else at

    def update(self, changed: Sequence[ListedJob], gone: Iterable[int] = (), *, anew: bool = False) -> None:
        """Add, replace and remove jobs; with `anew`, `changed` replaces all jobs."""
        if anew:
            self.all.clear()
            self.counts.clear()
            self.tags.clear()
        piecemeal = not anew and len(changed) <= MAX_SORTED_LIVE
        for seq in gone:
            if (old := self.all.pop(seq, None)) is not None:
                self._forget(old, listed=piecemeal)
        for job in changed:
            if (old := self.all.get(job.seq)) is not None:
                self._forget(old, listed=piecemeal)
            self.all[job.seq] = job
            self.counts[job.state] += 1
            self.tags.update(job.tags)
            if piecemeal and self.filter.lets_pass(job):
                insort(self._keys, self._key(job))
        if not piecemeal:
            self._sort()

    def filter_by(self, wanted: JobFilter) -> None:
        """Set the filter."""
        self.filter = wanted
        self._sort()

    def sort_by(self, name: str, *, reverse: bool = False) -> None:
        """Set the order."""
        self.sort, self.reverse = name, reverse
        self._sort()

    def states_there(self) -> list[str]:
        """Return the states that occur, after `bad` if a job failed or timed out."""
        found = [state for state in STATES if self.counts[state]]
        return [*(["bad"] if any(self.counts[state] for state in BAD) else []), *found]

    def tags_there(self) -> list[str]:
        """Return the tags that occur, sorted."""
        return sorted(tag for tag, count in self.tags.items() if count > 0)

    def _key(self, job: ListedJob) -> Key:
        return (*_KEYS[self.sort](job), job.seq)

    def _forget(self, job: ListedJob, *, listed: bool) -> None:
        self.counts[job.state] -= 1
        self.tags.subtract(job.tags)
        if listed:
            key = self._key(job)
            at = bisect_left(self._keys, key)
            if at < len(self._keys) and self._keys[at] == key:
                del self._keys[at]

    def _sort(self) -> None:
        passes = self.filter.lets_pass
        self._keys = sorted(map(self._key, filter(passes, self.all.values())))


def next_of(choices: Sequence[str], present: str) -> str:
    """Return the choice after the present one, in a ring that starts with the empty choice."""
    ring = ["", *choices]
    return ring[(ring.index(present) + 1) % len(ring)] if present in ring else ring[0]
