# SPDX-License-Identifier: LGPL-3.0-or-later
"""The queue as a Python library: the engine of the command line, for a program's own functions.

It is a guest in that program: no signal handlers, nothing written to its streams, and after
`shutdown` no thread or descriptor left.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from threading import current_thread
from types import TracebackType
from typing import Any, Generic, TypeVar

from pqrun.core.events import Event
from pqrun.core.job import Command, Priority
from pqrun.core.metrics import Metrics
from pqrun.core.scheduler import Scheduler
from pqrun.core.states import Stopping
from pqrun.core.task import Task
from pqrun.engine.dispatcher import Observer
from pqrun.executors.python_call import Context
from pqrun.library.admission import Admission
from pqrun.library.config import Config, Job, P, QueueEmpty, WaitDeadline, as_priority
from pqrun.library.futures import Handle, JobHandles
from pqrun.library.runtime import EventCallback, QueueRuntime

Answer = TypeVar("Answer")


class Queue(Generic[P]):
    """Jobs in order of priority, some at a time, each in a thread of a pool or as a child process.

    `handler(context, job)` is called for each job that is not a shell job: what it returns is the
    result; when it raises, the job is tried again if it has retries left. All methods may be called
    from any thread, also by handlers, callbacks and listeners, but these must not `join` or `shutdown`.
    `contain=True`: what shell jobs leave behind comes to this process, and they die if it is killed.
    It belongs to the process that made it: a forked child has none of its threads, and every method
    raises `RuntimeError` there.
    """

    def __init__(
        self,
        handler: Callable[[Context, Job[P]], Any],
        config: Config | None = None,
        *,
        contain: bool = False,
    ) -> None:
        if not callable(handler):
            raise TypeError(f"handler: a function of a context and a job, not {handler!r}")
        self._config = config or Config.medium()
        self._process = os.getpid()
        self._handles = JobHandles(getattr(handler, "__qualname__", repr(handler)), self._config.grace)
        self._runtime = QueueRuntime(handler, self._config, self._handles, contain=contain)
        self._admission = Admission(
            self._config,
            self._runtime.clock,
            self._runtime.scheduler,
            self._handles,
            knock=self._runtime.notify,
            cancel=lambda handle: self._end(lambda scheduler: scheduler.tasks.get(handle.seq)),
        )
        self._runtime.open(arrive=self._admission.take_in, resolve=self._resolve, fail=self._fail)

    def __enter__(self) -> Queue[P]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Waits for all jobs; if the block has raised, they are cancelled instead.

        Does nothing in a forked child that leaves the block: the jobs are its parent's.
        """
        if os.getpid() != self._process:
            return
        try:
            if kind is None:
                self.join()
        except BaseException:
            self.shutdown(cancel=True)
            raise
        self.shutdown(cancel=kind is not None)

    # Putting in and taking out

    def enqueue(
        self, job: Job[P] | Job[Command], block: bool = False, timeout: float | None = None
    ) -> Future[Any]:
        """Puts a job in; its result comes by the handle.

        `QueueFull` if there is no room: at once, or with `block` if there was none for `timeout`
        seconds (`None`: it waits as long as it takes). `QueueClosed` after `shutdown`. `ValueError`
        if a job of that id is unfinished, or a field of the job can't be so.
        """
        return self._put((job,), block, timeout)[0]

    def enqueue_many(
        self, jobs: Iterable[Job[P] | Job[Command]], block: bool = False, timeout: float | None = None
    ) -> list[Future[Any]]:
        """Puts all of them in, or none; with `block` one part after the other, as there is room."""
        return [*self._put(tuple(jobs), block, timeout)]

    def dequeue(self) -> Job[P]:
        """Takes the next job out for a caller who sees to it himself; `QueueEmpty` if there is none.

        Its handle is cancelled: no result will come by it.
        """

        def take(scheduler: Scheduler, now: float) -> Job[Any] | None:
            task = scheduler.take(now)
            return None if task is None else self._handles.by_seq[task.seq].job

        job = self._ask(take)
        if job is None:
            raise QueueEmpty("the queue is empty")
        return job

    def cancel(self, job_id: str) -> bool:
        """Ends a job: at once if it does not run, else it is asked to; false if there is none."""
        return self._end(lambda scheduler: scheduler.find(job_id))

    def set_priority(self, job_id: str, priority: Priority, *, front: bool = False) -> bool:
        """Moves a job among those of that priority, or to their front; false if there is none."""
        priority = as_priority(priority)

        def change(scheduler: Scheduler, now: float) -> bool:
            task = scheduler.find(job_id)
            if task is None:
                return False
            scheduler.change(task, task.spec._replace(priority=priority), now, front=front)
            self._handles.by_seq[task.seq].job.priority = priority
            return True

        return self._ask(change)

    def pause(self) -> None:
        """Starts nothing new until `unpause`; what runs goes on."""
        self._ask(lambda scheduler, now: scheduler.pause(paused=True, now=now))

    def unpause(self) -> None:
        """Goes on after `pause`."""
        self._ask(lambda scheduler, now: scheduler.pause(paused=False, now=now))

    # Looking at it

    def size(self) -> int:
        """How many jobs are queued; neither those that run nor those that wait for another attempt."""
        self._refuse_forked()
        return self._admission.size()

    __len__ = size

    def is_empty(self) -> bool:
        """Whether no job is queued."""
        return self.size() == 0

    def is_full(self) -> bool:
        """Whether there is no room for one more."""
        return self.size() >= self._config.max_queue_size

    def metrics(self) -> Metrics:
        """A snapshot, whose numbers add up. `RuntimeError` without `enable_metrics`."""
        self._refuse_forked()
        if not self._config.enable_metrics:
            raise RuntimeError("this queue has no metrics: its config says enable_metrics=False")
        return self._runtime.snapshot()

    def unresponsive(self) -> int:
        """How many handlers go on although they were asked to end more than a `grace` ago."""
        return self._ask(lambda scheduler, now: sum(map(_goes_on, scheduler.running())))

    def subscribe(self, listener: Observer | EventCallback) -> Callable[[], None]:
        """Calls `listener(events)` with what happens, batch by batch, in a thread for that.

        Answers the function that ends it. An object with `hear(events)` and `close()` will do too.
        """
        self._refuse_forked()
        return self._runtime.subscribe(listener)

    # Coming to an end

    def join(self, timeout: float | None = None) -> None:
        """Waits until all jobs have ended and all handles are resolved; `TimeoutError` after `timeout`."""
        self._refuse_forked()
        self._refuse_inside("join")
        if not self._handles.wait(WaitDeadline(timeout)):
            raise TimeoutError(f"after {timeout} s {len(self._handles.by_id)} jobs have not ended")

    def shutdown(self, timeout: float | None = None, cancel: bool = False) -> list[Job[P]]:
        """Takes nothing more in, and waits for what runs (or cancels it); the jobs that stay undone.

        They come in starting order, their handles are cancelled. `TimeoutError` if a job still runs
        after `timeout` seconds: it goes on, and `shutdown` may be called again.
        """
        self._refuse_forked()
        self._refuse_inside("shutdown")
        deadline = WaitDeadline(timeout)
        if self._runtime.engine.broken is None:
            self._admission.close()
            self._runtime.stop(cancel=cancel)
        self._runtime.thread.join(deadline.left)
        if self._runtime.thread.is_alive():
            names = ", ".join(task.spec.id for task in self._runtime.scheduler.running())
            raise TimeoutError(f"after {timeout} s there still runs: {names}")
        self._runtime.drop_unstarted()
        if not self._handles.wait(deadline):
            raise TimeoutError(f"after {timeout} s there still are callbacks at work")
        self._runtime.close()
        return list(self._runtime.undone)

    # Steps

    def _put(self, jobs: Sequence[Job[Any]], block: bool, timeout: float | None) -> list[Handle]:
        self._refuse_forked()
        for job in jobs:
            if isinstance(job.payload, Command):
                self._runtime.make_room_for_commands()
        return self._admission.put(jobs, block=block, timeout=timeout)

    def _ask(self, ask: Callable[[Scheduler, float], Answer]) -> Answer:
        self._refuse_forked()
        return self._runtime.ask(ask)

    def _end(self, find: Callable[[Scheduler], Task | None]) -> bool:
        def cancel(scheduler: Scheduler, now: float) -> bool:
            if (task := find(scheduler)) is not None:
                scheduler.cancel(task, now)
            return task is not None

        return self._ask(cancel)

    def _resolve(self, events: Sequence[Event]) -> None:
        self._admission.recheck()
        self._handles.resolve(events)

    def _fail(self, error: BaseException) -> None:
        self._admission.close(error)
        self._handles.break_off(error)

    def _refuse_forked(self) -> None:
        """Before any lock is taken: one that another thread held at the fork stays locked in the child."""
        if os.getpid() != self._process:
            raise RuntimeError(
                f"this queue belongs to process {self._process}, from which this one was forked and which alone "
                "has its threads: make a new Queue here"
            )

    def _refuse_inside(self, what: str) -> None:
        if current_thread() in self._runtime.threads or self._handles.resolving_here():
            raise RuntimeError(f"{what}: a handler, callback or listener of this queue would wait for itself")


def _goes_on(task: Task) -> bool:
    """Whether it can't be ended, and does not end."""
    state = task.state
    return isinstance(state, Stopping) and state.killed and not isinstance(task.spec.work, Command)
