# SPDX-License-Identifier: LGPL-3.0-or-later
"""[hot path] A pool of threads that run attempts, whatever their work.

A thread that has finished an attempt runs the engine's turn itself and then takes the next attempt. So no
work is handed to another thread, and no thread waits for the screen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from pqrun.core.job import Attempt, AttemptId
from pqrun.core.notices import ProcessFinished, StartRejected
from pqrun.engine.threads import NoThread, start_thread

if TYPE_CHECKING:
    from pqrun.engine.executor import Reporter
    from pqrun.engine.live_run import JobStdin
    from pqrun.output.store import Capture


class WorkerTask(Protocol):
    """One attempt, as a slot runs it.

    `output`: what it has printed so far, None if nothing is captured. `leader`: the pid of its leader, 0 if
    it has no process now. `stdin`: its standard input, if that is open to others.
    """

    @property
    def output(self) -> Capture | None: ...
    @property
    def leader(self) -> int: ...
    @property
    def stdin(self) -> JobStdin | None: ...

    def run(self, slot: int) -> ProcessFinished | StartRejected:
        """Do the work on the thread of a slot. Returns when no part of it is left."""

    def stop(self, *, force: bool) -> None:
        """Ask the attempt to end, or kill it. Called on another thread; never blocks."""

    def signal(self, name: str) -> None:
        """Send a signal to its processes, if it has any. Called on another thread; never blocks."""


Work = TypeVar("Work", bound=WorkerTask)


def _spare_nothing() -> None:
    """Free no resources."""


class ThreadPoolExecutor(Generic[Work]):
    """An executor with up to `count` attempts at a time, each in a thread of its own.

    `spare` is called when the machine has refused a start, so that other parts of the run can free threads
    and descriptors.
    """

    def __init__(
        self,
        count: int,
        make: Callable[[Attempt], Work],
        reporter: Reporter,
        spare: Callable[[], None] = _spare_nothing,
    ) -> None:
        self._count = count
        self._make = make
        self._reporter = reporter
        self._spare = spare
        self._live: dict[AttemptId, Work] = {}
        self._queue: SimpleQueue[tuple[AttemptId, Work] | None] = SimpleQueue()
        self.threads: list[Thread] = []
        self._closing = False

    def capacity(self) -> int:
        return self._count

    @property
    def busy(self) -> int:
        """The number of attempts that have not ended."""
        return len(self._live)

    def resize(self, count: int) -> None:
        self._count = count

    def start(self, attempt: Attempt) -> None:
        """Queue an attempt for a free thread. Starts a new thread if all are busy."""
        if len(self.threads) <= len(self._live):
            number = len(self.threads) + 1
            thread = Thread(target=self._slot, args=(number,), name=f"pqrun-slot-{number}", daemon=True)
            try:
                start_thread(thread)
            except NoThread as error:
                self._spare()
                self._reporter.post(StartRejected(attempt.key, error.why))
                return
            self.threads.append(thread)
        task = self._make(attempt)
        self._live[attempt.key] = task
        self._queue.put((attempt.key, task))

    def stop(self, key: AttemptId, *, force: bool) -> None:
        """Ask an attempt to end, or kill it. Does nothing if it is unknown or has ended."""
        task = self._live.get(key)
        if task is not None:
            task.stop(force=force)

    def signal(self, key: AttemptId, name: str) -> None:
        """Send a signal to an attempt. Does nothing if it is unknown or has ended."""
        task = self._live.get(key)
        if task is not None:
            task.signal(name)

    def output_of(self, key: AttemptId) -> Capture | None:
        task = self._live.get(key)
        return None if task is None else task.output

    def stdin_of(self, key: AttemptId) -> JobStdin | None:
        task = self._live.get(key)
        return None if task is None else task.stdin

    def pids(self) -> Mapping[AttemptId, int]:
        return {key: pid for key, task in list(self._live.items()) if (pid := task.leader)}

    def live(self) -> list[Work]:
        """Return the tasks that have not reported their end."""
        return list(self._live.values())

    def close(self) -> None:
        """Kill the running attempts, wait for them, and end the threads."""
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
                end = task.run(number)
                self._live.pop(key, None)
                if type(end) is StartRejected:
                    self._spare()
                if self._queue.empty():
                    self._reporter.turn(end)
                else:
                    # A turn follows anyway: this thread makes one after its next attempt, or another thread
                    # sooner.
                    self._reporter.post(end)
            except BaseException as error:
                self._live.pop(key, None)
                self._reporter.fail(error)
            del work, task  # an idle thread must not keep the job's data alive
