# SPDX-License-Identifier: LGPL-3.0-or-later
"""How jobs get into a queue: checked, all or none if there is room, else after a wait if that is wanted.

Whoever puts a job in does not make a turn for it while all slots are busy: it arrives, and the next
turn takes in all that have arrived. Lock order: the engine's, then this one's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Condition, Lock
from typing import Any

from pqrun.core.job import Command, JobSpec, RetryPolicy
from pqrun.core.scheduler import Scheduler
from pqrun.engine.clock import Clock
from pqrun.library.config import Config, Job, QueueClosed, QueueFull, WaitDeadline
from pqrun.library.futures import Handle, JobHandles


class Admission:
    """The way in. `knock` is called when somebody has arrived, `cancel` by handles."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        scheduler: Scheduler,
        handles: JobHandles,
        *,
        knock: Callable[[], object],
        cancel: Callable[[Handle], object],
    ) -> None:
        self._config = config
        self._clock = clock
        self._scheduler = scheduler
        self._handles = handles
        self._notify = knock
        self._cancel = cancel
        self._closed: BaseException | bool = False
        self._arrived: list[tuple[JobSpec, Handle]] = []
        self._policies: dict[int, RetryPolicy] = {}
        self._lock = Lock()
        self._room = Condition(self._lock)
        self._blocked = 0

    def put(self, jobs: Sequence[Job[Any]], *, block: bool, timeout: float | None) -> list[Handle]:
        """All of them, or `QueueFull`; with `block` one part after the other."""
        offers = [self._offer(job) for job in jobs]
        with self._lock:
            done = self._admit(offers, 0, all_or_none=not block)
        if done < len(offers):
            if not block:
                raise self._full(f"no room for {len(offers)} more")
            self._wait_and_admit(offers, done, WaitDeadline(timeout))
        elif offers:
            self._notify()
        return [handle for _, handle in offers]

    def take_in(self, scheduler: Scheduler, now: float) -> None:
        """At the beginning of a turn: who has arrived is queued."""
        if self._arrived:
            with self._lock:
                arrived, self._arrived = self._arrived, []
                numbers = scheduler.add([spec for spec, _ in arrived], now)
                for number, (_, handle) in zip(numbers, arrived, strict=True):
                    handle.seq = number
                    self._handles.by_seq[number] = handle

    def recheck(self) -> None:
        """After a turn: whoever waits for room is told how much there is."""
        if self._blocked:
            with self._lock:
                if (room := self._left()) > 0:
                    self._room.notify(room)

    def size(self) -> int:
        """How many are queued."""
        with self._lock:
            return self._config.max_queue_size - self._left()

    def close(self, why: BaseException | None = None) -> None:
        """Nobody gets in any more."""
        with self._lock:
            self._closed = why or True
            self._room.notify_all()

    def _left(self) -> int:
        return self._config.max_queue_size - len(self._scheduler.backlog) - len(self._arrived)

    def _offer(self, job: Job[Any]) -> tuple[JobSpec, Handle]:
        job.check()
        config = self._config
        handle = Handle(job, self._cancel)
        work = job.payload if isinstance(job.payload, Command) else handle
        timeout = config.default_timeout if job.timeout is None else job.timeout
        policy = self._policies.get(job.max_retries) or self._policy(job.max_retries)
        return JobSpec(job.id, work, job.priority, timeout or None, None, config.grace, policy), handle

    def _policy(self, retries: int) -> RetryPolicy:
        config = self._config
        policy = RetryPolicy(retries, config.retry_delay, config.backoff, max_delay=config.max_delay)
        self._policies[retries] = policy
        return policy

    def _admit(self, offers: Sequence[tuple[JobSpec, Handle]], done: int, *, all_or_none: bool) -> int:
        """Lets in who fits, from number `done` on; how many are in then."""
        if self._closed:
            cause = None if self._closed is True else self._closed
            raise QueueClosed("the queue has failed" if cause else "the queue has been shut down") from cause
        left = self._left()
        if left < len(offers) - done:
            if all_or_none or left <= 0:
                return done
            offers = offers[: done + left]
        fresh = offers[done:] if done else offers
        unfinished = self._handles.by_id
        ids: set[str] = set()
        for spec, _ in fresh:
            if spec.id in unfinished or spec.id in ids:
                raise ValueError(f"id: there is an unfinished job `{spec.id}` already")
            ids.add(spec.id)
        now = self._clock.now()
        try:
            for spec, handle in fresh:
                unfinished[spec.id] = handle
                handle.job.submitted_at = now
                handle.job.retry_count = 0
            self._arrived += fresh
        except BaseException:  # the main thread was interrupted: then none of them has come
            for spec, _ in fresh:
                unfinished.pop(spec.id, None)
            raise
        return done + len(fresh)

    def _wait_and_admit(
        self, offers: Sequence[tuple[JobSpec, Handle]], done: int, deadline: WaitDeadline
    ) -> None:
        while done < len(offers):
            with self._lock:
                self._blocked += 1
                try:
                    in_time = self._room.wait_for(lambda: self._closed or self._left() > 0, deadline.left)
                finally:
                    self._blocked -= 1
                before, done = done, self._admit(offers, done, all_or_none=False)
            if done > before:
                self._notify()
            elif not in_time:
                accepted = [handle for _, handle in offers[:done]]
                raise self._full(f"no room came up within {deadline.seconds} s", accepted)

    def _full(self, why: str, accepted: Sequence[Handle] = ()) -> QueueFull:
        return QueueFull(f"the queue is full ({self._config.max_queue_size} jobs): {why}", accepted)
