# SPDX-License-Identifier: LGPL-3.0-or-later
"""A pool of threads that take the next attempt, whatever its work.

A slot runs the engine's turn itself with its report, and then takes what that turn started: no
hand-over to another thread, and never a wait for the screen.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, Protocol

from pqrun.core.job import Attempt, AttemptId
from pqrun.core.notices import ProcessFinished, StartRejected
from pqrun.engine.executor import Reporter
from pqrun.engine.threads import NoThread, start_thread


class WorkerTask(Protocol):
    """One attempt at work."""

    def run(self, slot: int) -> ProcessFinished | StartRejected:
        """Does the work, in a slot's thread; returns when nothing of it is left."""

    def stop(self, *, force: bool) -> None:
        """From another thread: ask it to end, or kill it; never blocks."""


class ThreadPoolExecutor:
    """Runs up to `count` attempts at a time, each in a thread of its own.

    `short` is called when the machine has refused a start: other parts of the run may do without something.
    """

    def __init__(
        self,
        count: int,
        make: Callable[[Attempt], WorkerTask],
        reporter: Reporter,
        fail: Callable[[BaseException], None],
    ) -> None:
        self._count = count
        self._make = make
        self._reporter = reporter
        self._fail = fail
        self._live: dict[AttemptId, WorkerTask] = {}
        self._queue: SimpleQueue[tuple[AttemptId, WorkerTask] | None] = SimpleQueue()
        self.threads: list[Thread] = []
        self._closing = False
        self.short: Callable[[], None] = lambda: None

    def capacity(self) -> int:
        """Slots in all."""
        return self._count

    @property
    def busy(self) -> int:
        """How many attempts have not ended."""
        return len(self._live)

    def resize(self, count: int) -> None:
        """So many from now on; what runs goes on."""
        self._count = count

    def start(self, attempt: Attempt) -> None:
        """Queues an attempt for the next free thread; a new one if there are fewer than attempts."""
        if len(self.threads) <= len(self._live):
            number = len(self.threads) + 1
            thread = Thread(target=self._slot, args=(number,), name=f"pqrun-slot-{number}", daemon=True)
            try:
                start_thread(thread)
            except NoThread as error:
                self.short()
                self._reporter.post(StartRejected(attempt.key, error.why))
                return
            self.threads.append(thread)
        task = self._make(attempt)
        self._live[attempt.key] = task
        self._queue.put((attempt.key, task))

    def stop(self, key: AttemptId, *, force: bool) -> None:
        """Asks an attempt to end, or kills it; unknown or ended: no-op."""
        task = self._live.get(key)
        if task is not None:
            task.stop(force=force)

    def output_of(self, key: AttemptId) -> Any:
        """What a running attempt has printed so far; None if nobody knows."""
        return getattr(self._live.get(key), "output", None)

    def leaders(self) -> dict[AttemptId, int]:
        """The processes that lead running attempts, where there are any."""
        found = {key: getattr(task, "leader", 0) for key, task in list(self._live.items())}
        return {key: pid for key, pid in found.items() if pid}

    def live(self) -> list[WorkerTask]:
        """What has not reported its end."""
        return list(self._live.values())

    def close(self) -> None:
        """Kills what runs, waits for it, and ends the threads."""
        self._closing = True
        for task in self.live():
            task.stop(force=True)
        for _ in self.threads:
            self._queue.put(None)
        for thread in self.threads:
            thread.join()
        self.threads.clear()

    def _slot(self, number: int) -> None:
        while work := self._queue.get():
            key, task = work
            try:
                if self._closing:
                    task.stop(force=True)
                self._report(key, task.run(number))
            except BaseException as error:
                self._live.pop(key, None)
                self._fail(error)
            del work, task  # nothing of it lives on while there is nothing to do

    def _report(self, key: AttemptId, end: ProcessFinished | StartRejected) -> None:
        self._live.pop(key, None)
        if type(end) is StartRejected:
            self.short()
        if self._queue.empty():
            self._reporter.turn(end)
        else:
            # Somebody will make a turn: this thread after the next one, or whom that wakes before.
            self._reporter.post(end)
