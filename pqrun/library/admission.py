# SPDX-License-Identifier: LGPL-3.0-or-later
"""The admission of jobs to a queue: checks, room, and blocking until there is room.

[hot path] While all slots are busy, `put` makes no turn: the jobs are collected, and the next turn of the
engine queues all of them at once. Lock order: the engine's lock, then the lock of `Admission`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Condition, Lock, RLock
from typing import Any

from pqrun.core.job import Command, JobSpec, Priority, RetryPolicy, new
from pqrun.core.scheduler import Scheduler
from pqrun.engine.clock import Clock
from pqrun.library.config import Config, Job, QueueClosed, QueueFull, WaitDeadline
from pqrun.library.futures import Handle, JobHandles

MAX_SHARED_SPECS = 1000


class Admission:
    """The entrance of a queue.

    `notify` is called without a lock when jobs have been put in, and told whether they are the first since the last
    turn. `open_commands` is called before a shell job is put in. `cancel` is called by a future's `cancel`.
    `has_listeners` says whether the program gets the events of the queue.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        scheduler: Scheduler,
        handles: JobHandles,
        *,
        open_commands: Callable[[], object],
        notify: Callable[[bool], object],
        cancel: Callable[[Handle], object],
        has_listeners: Callable[[], bool],
    ) -> None:
        self._config = config
        self._clock = clock
        self._scheduler = scheduler
        self._handles = handles
        self._open_commands = open_commands
        self._notify = notify
        self._has_listeners = has_listeners
        self.cancel = cancel
        self.resolving = RLock()
        self._closed = False
        self._failure: BaseException | None = None
        self._arrived: list[Handle] = []
        self._specs: dict[tuple[Priority, float | None, int], JobSpec] = {}
        self._lock = Lock()
        self._room = Condition(self._lock)
        self._blocked = 0

    def put(self, jobs: Sequence[Job[Any]], *, block: bool, timeout: float | None) -> list[Handle]:
        """Put in all jobs or raise `QueueFull`; with `block`, put in parts as room appears.

        Raises `QueueClosed`, and `ValueError` for an invalid job. `timeout` in seconds.
        """
        handles = []
        for job in jobs:
            job.check()
            key = (job.priority, job.timeout, job.max_retries)
            spec = self._specs.get(key) or self._shared_spec(*key)
            handles.append(handle := Handle(job, spec, self))
            if isinstance(job.payload, Command):
                self._open_commands()
                handle.spec = own_spec(handle, job.payload)
        with self._lock:
            first = not self._arrived
            done = self._admit(handles, 0, all_or_none=not block)
        if done < len(handles):
            if not block:
                raise self._full(f"no room for {len(handles)} more")
            self._wait_and_admit(handles, done, WaitDeadline(timeout))
        elif handles:
            self._notify(first)
        return handles

    def take_in(self, scheduler: Scheduler, now: float) -> None:
        """Queue the jobs that were put in since the last turn.

        Called at the beginning of each turn, under the engine's lock.
        """
        if self._arrived:
            with self._lock:
                arrived, self._arrived = self._arrived, []
                if self._has_listeners():
                    for handle in arrived:
                        if not handle.spec.id:
                            handle.spec = own_spec(handle, handle)
                by_seq = self._handles.by_seq
                for handle, number in zip(
                    arrived, scheduler.add([one.spec for one in arrived], now), strict=True
                ):
                    handle.seq = number
                    by_seq[number] = handle

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

    def close(self, failure: BaseException | None = None) -> None:
        """Refuse all further jobs and wake blocked `put` calls. `failure`: that of the queue, if any."""
        with self._lock:
            self._closed, self._failure = True, failure
            self._room.notify_all()

    def _left(self) -> int:
        return self._config.max_queue_size - len(self._scheduler.backlog) - len(self._arrived)

    def _shared_spec(self, priority: Priority, timeout: float | None, retries: int) -> JobSpec:
        """Make the spec of all calls with these settings. It has neither an id nor work: a handle has both."""
        config = self._config
        policy = RetryPolicy(retries, config.retry_delay, config.backoff, max_delay=config.max_delay)
        seconds = config.default_timeout if timeout is None else timeout
        spec = JobSpec("", None, priority, seconds or None, grace=config.grace, retry=policy)
        if len(self._specs) >= MAX_SHARED_SPECS:  # a program that computes its timeouts
            self._specs.clear()
        self._specs[priority, timeout, retries] = spec
        return spec

    def _admit(self, handles: Sequence[Handle], done: int, *, all_or_none: bool) -> int:
        """Admit the jobs that fit, beginning with number `done`; return how many are in then.

        The caller holds the lock. Raises `QueueClosed`, and `ValueError` for the id of an unfinished job.
        """
        if self._closed:
            why = "has been shut down" if self._failure is None else "has failed"
            raise QueueClosed(f"the queue {why}") from self._failure
        left = (
            self._config.max_queue_size - len(self._scheduler.backlog) - len(self._arrived)
        )  # `_left`, without a call
        if left < len(handles) - done:
            if all_or_none or left <= 0:
                return done
            handles = handles[: done + left]
        fresh = handles[done:] if done else handles
        unfinished = self._handles.by_id
        now = self._clock.now()
        try:
            for handle in fresh:
                if unfinished.setdefault(handle.id, handle) is not handle:
                    raise ValueError(f"id: an unfinished job `{handle.id}` exists already")
            for handle in fresh:
                handle.job.submitted_at = now
                handle.job.retry_count = 0
            self._arrived += fresh
        except BaseException:  # also Ctrl-C in the main thread: else the ids would stay taken for ever
            for handle in fresh:
                if unfinished.get(handle.id) is handle:
                    del unfinished[handle.id]
            raise
        return done + len(fresh)

    def _wait_and_admit(self, handles: Sequence[Handle], done: int, deadline: WaitDeadline) -> None:
        while done < len(handles):
            with self._lock:
                self._blocked += 1
                try:
                    in_time = self._room.wait_for(lambda: self._closed or self._left() > 0, deadline.left)
                finally:
                    self._blocked -= 1
                first = not self._arrived
                before, done = done, self._admit(handles, done, all_or_none=False)
            if done > before:
                self._notify(first)
            elif not in_time:
                raise self._full(f"no room within {deadline.seconds} s", handles[:done])

    def _full(self, why: str, accepted: Sequence[Handle] = ()) -> QueueFull:
        size = self._config.max_queue_size
        return QueueFull(f"the queue is full ({size} job{'s' if size != 1 else ''}): {why}", accepted)


def own_spec(handle: Handle, work: Command | Handle) -> JobSpec:
    """Return the spec of one job with its id and its work: a command has them, and a listener sees them."""
    return new(JobSpec, (handle.id, work, *handle.spec[2:]))
