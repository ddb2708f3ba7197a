# SPDX-License-Identifier: LGPL-3.0-or-later
"""How jobs get into a queue: checked, all or none if there is room, else after a wait if that is wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Condition
from typing import Any, NamedTuple

from pqrun.handles import Handle, Handles
from pqrun.library import Config, Deadline, Job, QueueClosed, QueueFull
from pqrun.model import Command, JobSpec, RetryPolicy
from pqrun.scheduler import Scheduler

Turn = Callable[[Callable[[Scheduler, float], int]], int]


class Offer(NamedTuple):
    """A job that would like to be in the queue."""

    spec: JobSpec
    handle: Handle


class Admission:
    """The way in. `turn` has the engine do something, and answers what that answered."""

    def __init__(
        self,
        config: Config,
        scheduler: Scheduler,
        handles: Handles,
        turn: Turn,
        cancel: Callable[[Handle], object],
    ) -> None:
        self.closed = False
        self._config = config
        self._scheduler = scheduler
        self._handles = handles
        self._turn = turn
        self._cancel = cancel
        self._policies: dict[int, RetryPolicy] = {}
        self._room = Condition()
        self._blocked = 0

    def put(self, jobs: Sequence[Job[Any]], *, block: bool, timeout: float | None) -> list[Handle]:
        """All of them, or `QueueFull`; with `block` one part after the other."""
        offers = [self._offer(job) for job in jobs]
        done = self._admit(offers, 0, all_or_none=not block)
        if done < len(offers):
            if not block:
                raise self._full(f"there is no room for {len(offers)} more")
            self._wait_and_admit(offers, done, Deadline(timeout))
        return [offer.handle for offer in offers]

    def look(self) -> None:
        """After each turn: whoever waits for room is told how much there is."""
        if self._blocked and (room := self._left()) > 0:
            with self._room:
                self._room.notify(room)

    def close(self) -> None:
        """Nobody gets in any more."""
        self.closed = True
        with self._room:
            self._room.notify_all()

    def _left(self) -> int:
        return self._config.max_queue_size - self._scheduler.waiting

    def _offer(self, job: Job[Any]) -> Offer:
        job.check()
        handle = Handle(job, self._cancel)
        work = job.payload if isinstance(job.payload, Command) else handle
        config = self._config
        timeout = config.default_timeout if job.timeout is None else job.timeout
        policy = self._policies.get(job.max_retries) or self._policy(job.max_retries)
        spec = JobSpec(job.id, work, job.priority, timeout or None, grace=config.grace, retry=policy)
        return Offer(spec, handle)

    def _policy(self, retries: int) -> RetryPolicy:
        config = self._config
        policy = RetryPolicy(retries, config.retry_delay, config.backoff, max_delay=config.max_delay)
        self._policies[retries] = policy
        return policy

    def _admit(self, offers: Sequence[Offer], done: int, *, all_or_none: bool) -> int:
        """Puts in what there is room for, from number `done` on; how many are in then."""

        def admit(scheduler: Scheduler, now: float) -> int:
            if self.closed:
                raise QueueClosed("the queue has been shut down")
            fits = offers[done : done + max(0, self._left())]
            if all_or_none and len(fits) < len(offers):
                return done
            ids = set()
            for spec, _ in fits:
                if spec.id in ids or scheduler.find(spec.id) is not None:
                    raise ValueError(f"id: there is an unfinished job `{spec.id}` already")
                ids.add(spec.id)
            numbers = scheduler.add([offer.spec for offer in fits], now)
            for number, (_, handle) in zip(numbers, fits, strict=True):
                self._handles.by_seq[number] = handle
                handle.seq = number
                handle.job.submitted_at = now
                handle.job.retry_count = 0
            return done + len(fits)

        return self._turn(admit)

    def _wait_and_admit(self, offers: Sequence[Offer], done: int, deadline: Deadline) -> None:
        with self._room:
            self._blocked += 1
        try:
            while done < len(offers):
                with self._room:
                    in_time = self._room.wait_for(lambda: self.closed or self._left() > 0, deadline.left)
                before, done = done, self._admit(offers, done, all_or_none=False)
                if done == before and not in_time:
                    accepted = [offer.handle for offer in offers[:done]]
                    raise self._full(f"there was no room within {deadline.seconds} s", accepted)
        finally:
            with self._room:
                self._blocked -= 1

    def _full(self, why: str, accepted: Sequence[Handle] = ()) -> QueueFull:
        return QueueFull(f"the queue is full ({self._config.max_queue_size} jobs): {why}", accepted)
