# SPDX-License-Identifier: LGPL-3.0-or-later
"""The job queue for a Python program, built on the engine of the command line.

The queue installs no signal handlers and writes nothing to the program's streams. After `shutdown`
no thread and no file descriptor of the queue is left.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from errno import EAGAIN
from threading import current_thread
from types import TracebackType
from typing import Any, Generic, TypeVar

from pqrun.core.errors import Rejected
from pqrun.core.job import OPEN_STDIN, AttemptId, Command, Priority
from pqrun.core.metrics import Metrics
from pqrun.core.scheduler import Scheduler
from pqrun.core.states import Stopping
from pqrun.core.task import Task
from pqrun.engine.live_run import JobStdin
from pqrun.executors.local.open_stdin import MAX_WAITING_BYTES, NO_ROOM
from pqrun.executors.python_call import Context
from pqrun.library.admission import own_spec
from pqrun.library.config import Config, Job, P, QueueEmpty, WaitDeadline, as_priority
from pqrun.library.futures import Handle, JobHandles
from pqrun.library.runtime import EventCallback, EventListener, QueueRuntime

Answer = TypeVar("Answer")


class Queue(Generic[P]):
    """A priority queue of jobs with a fixed number of workers.

    Each job is a call of `handler(context, job)` in a thread of the queue, or a shell job
    (`Job.shell`) in a child process. The handler's return value is the job's result. If the handler
    raises, the job is retried while it has retries left; `PermanentError` prevents the retries.

    `contain=True` is for shell jobs: their leftover processes become children of this process, and
    shell jobs are killed if this process is killed.

    Threads: all methods may be called from any thread, also from handlers, callbacks of futures and
    event listeners. Those three must not call `join` or `shutdown`, which would wait for their caller.

    A queue belongs to the process that created it. In a forked child its methods raise
    `RuntimeError`, because the child has none of the queue's threads.

    Raises `TypeError` if `handler` cannot be called.
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
        self._admission = self._runtime.admission

    def __enter__(self) -> Queue[P]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for all jobs and shut down. If the block raised, cancel the jobs instead of waiting.

        Does nothing in a forked child that leaves the block, because the jobs belong to its parent.
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

    # Adding and taking jobs

    def enqueue(
        self, job: Job[P] | Job[Command], block: bool = False, timeout: float | None = None
    ) -> Future[Any]:
        """Add a job and return the future of its result.

        If the queue is full, raise `QueueFull` at once; with `block=True`, wait for room for at most
        `timeout` seconds first (`None`: without limit).

        The future raises the handler's exception if the last attempt failed (a failed shell job:
        `JobFailed`), `JobTimeout` if the last attempt ran out of time, and `CancelledError` if the
        job was cancelled.

        Raises `QueueClosed` after `shutdown`, and `ValueError` if an unfinished job has the same id or
        if a field of the job is invalid.
        """
        return self._put((job,), block, timeout)[0]

    def enqueue_many(
        self, jobs: Iterable[Job[P] | Job[Command]], block: bool = False, timeout: float | None = None
    ) -> list[Future[Any]]:
        """Add several jobs and return their futures in the same order.

        Without `block` either all jobs are added or none, and `QueueFull` is raised if they do not all
        fit. With `block=True` the jobs are added in parts as room appears. If `timeout` seconds pass
        without room, `QueueFull` is raised, and its `accepted` has the futures of the jobs that were added.

        Raises the same errors as `enqueue`. For an invalid field no job is added.
        """
        return [*self._put(tuple(jobs), block, timeout)]

    def dequeue(self) -> Job[P]:
        """Remove the next job from the queue and return it, for a caller that does the job itself.

        The job's future is cancelled, because the queue will never have a result for it.

        Raises `QueueEmpty` if no job is queued.
        """

        def take(scheduler: Scheduler, now: float) -> Job[Any] | None:
            task = scheduler.take(now)
            return None if task is None else self._handles.by_seq[task.seq].job

        job = self._runtime.ask(take)
        if job is None:
            raise QueueEmpty("the queue is empty")
        return job

    def cancel(self, job_id: str) -> bool:
        """Cancel the unfinished job with this id; return False if there is no such job.

        A job that is not running is removed at once. A shell job that is running gets a signal, and is
        killed after the grace period. A running handler sees `context.cancelled` and has to return.
        """
        return self._runtime.cancel(lambda scheduler: self._find(scheduler, job_id))

    def send(self, job_id: str, data: bytes, *, end: bool = False) -> bool:
        """Send data to the standard input of a running shell job with `open_stdin`; `end` ends the input after it.

        Never blocks. Returns False if no such job is running, or if the job reads no more.

        Raises `ValueError` if the job has no open standard input or `data` is longer than 1 MiB, and
        `BlockingIOError` if the job has not read 1 MiB of what was sent before: nothing of `data` is sent then.
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"data: bytes, not {type(data).__name__}")
        if len(data) > MAX_WAITING_BYTES:
            raise ValueError(f"data: at most {MAX_WAITING_BYTES:,} bytes at a time, not {len(data):,}")

        def find(scheduler: Scheduler, now: float) -> JobStdin | None:
            task = self._find(scheduler, job_id)
            if task is None:
                return None
            work = task.spec.work
            if not isinstance(work, Command) or work.stdin != OPEN_STDIN:
                raise ValueError(f"job `{job_id}` has no open standard input: make it with `open_stdin=True`")
            return self._runtime.engine.executor.stdin_of(AttemptId(task.seq, task.attempts))

        stdin = self._runtime.ask(find)
        if stdin is None:
            return False
        try:
            stdin.send(data, end=end)
        except Rejected as error:
            if error.code != NO_ROOM:
                return False
            raise BlockingIOError(EAGAIN, f"job `{job_id}`: {error}") from None
        return True

    def set_priority(self, job_id: str, priority: Priority, *, front: bool = False) -> bool:
        """Change the priority of the unfinished job with this id; return False if there is no such job.

        `front=True` puts the job before all queued jobs of that priority.

        Raises `ValueError` if `priority` is not a `Priority`.
        """
        priority = as_priority(priority)

        def change(scheduler: Scheduler, now: float) -> bool:
            task = self._find(scheduler, job_id)
            if task is None:
                return False
            handle = self._handles.by_seq[task.seq]
            spec = task.spec if task.spec.id else own_spec(handle, handle)
            scheduler.change(task, spec._replace(priority=priority), now, front=front)
            handle.job.priority = priority
            return True

        return self._runtime.ask(change)

    def pause(self) -> None:
        """Stop starting jobs until `unpause`. Running jobs continue."""
        self._runtime.ask(lambda scheduler, now: scheduler.pause(paused=True, now=now))

    def unpause(self) -> None:
        """Start jobs again after `pause`."""
        self._runtime.ask(lambda scheduler, now: scheduler.pause(paused=False, now=now))

    # Reading the state of the queue

    def size(self) -> int:
        """Return the number of queued jobs, without running jobs and jobs that wait for a retry."""
        self._runtime.refuse_forked()
        return self._admission.size()

    __len__ = size

    def is_empty(self) -> bool:
        """Return whether no job is queued."""
        return self.size() == 0

    def is_full(self) -> bool:
        """Return whether the queue has no room for another job."""
        return self.size() >= self._config.max_queue_size

    def metrics(self) -> Metrics:
        """Return a consistent snapshot of the queue's metrics. Times are in seconds.

        Raises `RuntimeError` if the queue was created with `enable_metrics=False`.
        """
        self._runtime.refuse_forked()
        if not self._config.enable_metrics:
            raise RuntimeError("this queue has no metrics: its config says enable_metrics=False")
        return self._runtime.metrics()

    def unresponsive(self) -> int:
        """Return the number of handlers that still run `grace` seconds after they were asked to end."""
        return self._runtime.ask(lambda scheduler, now: sum(map(_goes_on, scheduler.running())))

    def subscribe(self, listener: EventListener | EventCallback) -> Callable[[], None]:
        """Call `listener(events)` with each batch of events, in order, until the returned function is called.

        `listener` is a function, or an object with the methods `on_events(events)` and `close()`. It is
        called on one thread that all listeners share, so a slow listener delays the others, and in the
        end the start of jobs. A listener that raises is dropped, and the failure is logged to the
        logger `pqrun`.
        """
        self._runtime.refuse_forked()
        return self._runtime.subscribe(listener)

    # Ending

    def join(self, timeout: float | None = None) -> None:
        """Wait until all jobs have ended, all futures are resolved and their callbacks have run.

        Raises `TimeoutError` after `timeout` seconds (`None`: without limit), and `RuntimeError` in a
        handler, callback or listener of this queue.
        """
        self._runtime.refuse_forked()
        self._refuse_inside("join")
        if not self._handles.wait(WaitDeadline(timeout)):
            raise TimeoutError(f"after {timeout} s {len(self._handles.by_id)} jobs have not ended")

    def shutdown(self, timeout: float | None = None, cancel: bool = False) -> list[Job[P]]:
        """Stop accepting jobs, wait for the running jobs, and return the jobs that never ended.

        `cancel=True` cancels the running jobs instead of letting them finish. The returned jobs are in
        the order in which they would have started, followed by those that waited for a retry; the
        futures of all of them are cancelled. `shutdown` may be called again.

        Raises `TimeoutError` if a job or a callback still runs after `timeout` seconds (`None`: without
        limit); the job continues, and a second `shutdown` waits for it. Raises `RuntimeError` in a
        handler, callback or listener of this queue.
        """
        self._runtime.refuse_forked()
        self._refuse_inside("shutdown")
        deadline = WaitDeadline(timeout)
        if self._runtime.engine.broken is None:
            self._admission.close()
            self._runtime.stop(cancel=cancel)
        self._runtime.thread.join(deadline.left)
        if self._runtime.thread.is_alive():
            found = map(self._handles.by_seq.get, [task.seq for task in self._runtime.scheduler.running()])
            names = ", ".join(handle.id for handle in found if handle is not None)
            raise TimeoutError(f"after {timeout} s these jobs still run: {names}")
        self._runtime.drop_unstarted()
        if not self._handles.wait(deadline):
            raise TimeoutError(f"after {timeout} s callbacks still run")
        self._runtime.close()
        return list(self._runtime.undone)

    # Internals

    def _find(self, scheduler: Scheduler, job_id: str) -> Task | None:
        """Return the unfinished job with this id, or None."""
        handle = self._handles.by_id.get(job_id)
        return None if handle is None else scheduler.tasks.get(handle.seq)

    def _put(self, jobs: Sequence[Job[Any]], block: bool, timeout: float | None) -> list[Handle]:
        self._runtime.refuse_forked()
        for job in jobs:
            if not isinstance(job, Job):
                raise TypeError(f"job: a Job, not {job!r}")
        return self._admission.put(jobs, block=block, timeout=timeout)

    def _refuse_inside(self, what: str) -> None:
        if current_thread() in self._runtime.threads or self._handles.resolving_here():
            raise RuntimeError(f"{what}: a handler, callback or listener of this queue would wait for itself")


def _goes_on(task: Task) -> bool:
    """Return whether the task is a handler that still runs after its grace period."""
    state = task.state
    return isinstance(state, Stopping) and state.killed and not isinstance(task.spec.work, Command)
