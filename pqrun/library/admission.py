# SPDX-License-Identifier: LGPL-3.0-or-later
"""The admission of jobs to a queue: checks, room, and blocking until there is room.

While all slots are busy, `put` makes no turn: the jobs are collected, and the next turn of the engine
queues all of them at once. Lock order: the engine's lock, then the lock of `Admission`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Condition, Lock
from typing import Any

from pqrun.core.job import Command, JobSpec, RetryPolicy, new
from pqrun.core.scheduler import Scheduler
from pqrun.engine.clock import Clock
from pqrun.library.config import Config, Job, QueueClosed, QueueFull, WaitDeadline
from pqrun.library.futures import Handle, JobHandles


class Admission:
    """The entrance of a queue.

    `knock` is called without a lock when jobs have been put in; `cancel` is called by a future's `cancel`.
    """

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
        self._usual: dict[int, tuple[Any, ...]] = {}
        self._lock = Lock()
        self._room = Condition(self._lock)
        self._blocked = 0

    def put(self, jobs: Sequence[Job[Any]], *, block: bool, timeout: float | None) -> list[Handle]:
        """Put in all jobs or raise `QueueFull`; with `block`, put in parts as room appears.

        Raises `QueueClosed`, and `ValueError` for an invalid job. `timeout` in seconds.
        """
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
        """Queue the jobs that were put in since the last turn.

        Called at the beginning of each turn, under the engine's lock.
        """
        if self._arrived:
            with self._lock:
                arrived, self._arrived = self._arrived, []
                numbers = scheduler.add([spec for spec, _ in arrived], now)
                for number, (_, handle) in zip(numbers, arrived, strict=True):
                    handle.seq = number
                    self._handles.by_seq[number] = handle

    def recheck(self) -> None:
        """Wake as many blocked `put` calls as there is room for. Called after each turn."""
        if self._blocked:
            with self._lock:
                if (room := self._left()) > 0:
                    self._room.notify(room)

    def size(self) -> int:
        """Return the number of queued jobs, including those that the next turn will queue."""
        with self._lock:
            return self._config.max_queue_size - self._left()

    def close(self, why: BaseException | None = None) -> None:
        """Refuse all further jobs and wake blocked `put` calls. `why`: the failure of the queue, if any."""
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
        usual = self._usual.get(job.max_retries) or self._usual_fields(job.max_retries)
        return new(JobSpec, (job.id, work, job.priority, timeout or None, *usual)), handle

    def _usual_fields(self, retries: int) -> tuple[Any, ...]:
        """Return the fields after `timeout` that all jobs with this number of retries share."""
        config = self._config
        policy = RetryPolicy(retries, config.retry_delay, config.backoff, max_delay=config.max_delay)
        usual = JobSpec("", None, grace=config.grace, retry=policy)
        self._usual[retries] = fields = usual[JobSpec._fields.index("timeout") + 1 :]
        return fields

    def _admit(self, offers: Sequence[tuple[JobSpec, Handle]], done: int, *, all_or_none: bool) -> int:
        """Admit the jobs that fit, beginning with number `done`; return how many are in then.

        The caller holds the lock. Raises `QueueClosed`, and `ValueError` for the id of an unfinished job.
        """
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
                raise ValueError(f"id: an unfinished job `{spec.id}` exists already")
            ids.add(spec.id)
        now = self._clock.now()
        try:
            for spec, handle in fresh:
                unfinished[spec.id] = handle
                handle.job.submitted_at = now
                handle.job.retry_count = 0
            self._arrived += fresh
        except BaseException:  # Ctrl-C in the main thread: without this the ids would stay taken for ever
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
                raise self._full(f"no room within {deadline.seconds} s", accepted)

    def _full(self, why: str, accepted: Sequence[Handle] = ()) -> QueueFull:
        return QueueFull(f"the queue is full ({self._config.max_queue_size} jobs): {why}", accepted)
