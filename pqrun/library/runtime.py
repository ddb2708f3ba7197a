# SPDX-License-Identifier: LGPL-3.0-or-later
"""The parts behind a queue: the engine and its thread, the worker threads, child processes, subscribers."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from threading import Lock, Thread
from typing import Any, Protocol, TypeVar

from pqrun.core.events import Event
from pqrun.core.job import Attempt, Command
from pqrun.core.metrics import Metrics, MetricsCollector
from pqrun.core.scheduler import Scheduler
from pqrun.core.task import Task
from pqrun.engine.clock import Clock, SystemClock
from pqrun.engine.dispatcher import EventDispatcher
from pqrun.engine.engine import Engine, NoJournal
from pqrun.engine.reactor import ThreadWaker
from pqrun.engine.threads import start_thread
from pqrun.executors.local.embedded import EmbeddedBackend, ShellTask
from pqrun.executors.python_call import CallContext, CallTask
from pqrun.executors.thread_pool import ThreadPoolExecutor
from pqrun.library.admission import Admission
from pqrun.library.config import Config, Job, QueueClosed
from pqrun.library.futures import Handle, JobHandles

Answer = TypeVar("Answer")
SHUTDOWN_FLUSH_TIMEOUT_SECONDS = 2.0
STARVED_TIMEOUT_SECONDS = 60.0  # the program itself may free a thread or a process in this time
_forks = 0
"""How many forks lead from the process that loaded this module to this one: known without a system call."""
EventCallback = Callable[[Sequence[Event]], object]


def _count_fork() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_count_fork)


class EventListener(Protocol):
    """A listener that is also told when the queue ends. Its methods are called on the dispatcher thread."""

    def on_events(self, events: Sequence[Event]) -> None:
        """Handle the events since the last call, in order."""

    def close(self) -> None:
        """Handle the end of the queue: no more events will come."""


class Subscribers:
    """All event listeners of a queue, as one observer for the dispatcher.

    A listener that raises is dropped and logged; the queue continues. `caught_up` is called when a
    backlog of events has been delivered. The dispatcher's thread is started with the first listener.
    """

    def __init__(self, caught_up: Callable[[], None]) -> None:
        self._caught_up = caught_up
        self._observers: list[EventListener | EventCallback] = []
        self._dispatcher: EventDispatcher | None = None
        self._lock = Lock()

    @property
    def backlogged(self) -> bool:
        """Whether too many events are undelivered for another job to start."""
        return self._dispatcher is not None and self._dispatcher.backlogged

    @property
    def thread(self) -> Thread | None:
        """The thread on which the listeners are called, or None before the first listener."""
        return None if self._dispatcher is None else self._dispatcher.thread

    def add(self, listener: EventListener | EventCallback) -> Callable[[], None]:
        """Deliver all events from now on to the listener; return the function that removes the listener."""
        with self._lock:
            if self._dispatcher is None:
                dispatcher = EventDispatcher(self, self._caught_up)
                dispatcher.start()
                self._dispatcher = dispatcher
            self._observers.append(listener)
        return lambda: self._drop(listener)

    def put(self, events: Sequence[Event]) -> None:
        """Pass a batch of events to the dispatcher. Called under the engine's lock; never blocks."""
        if self._dispatcher is not None:
            self._dispatcher.put(events)

    def end(self) -> None:
        """Deliver the remaining events, and close the listeners."""
        if self._dispatcher is not None:
            self._dispatcher.close()

    def tick(self) -> float:
        """Do nothing: listeners act on events only."""
        return inf

    def deliver(self, events: Sequence[Event]) -> None:
        """Call each listener. Called on the dispatcher thread."""
        for listener in list(self._observers):
            call: EventCallback = listener.on_events if hasattr(listener, "on_events") else listener
            self._guard(listener, partial(call, events))

    def close(self) -> None:
        """Close each listener that can be closed. Called on the dispatcher thread."""
        for listener in list(self._observers):
            if hasattr(listener, "on_events") and hasattr(listener, "close"):
                self._guard(listener, listener.close)

    def _guard(self, listener: EventListener | EventCallback, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception:
            self._drop(listener)
            name = getattr(listener, "__qualname__", type(listener).__name__)
            logging.getLogger("pqrun").exception("%s failed and was dropped; the queue continues", name)

    def _drop(self, listener: EventListener | EventCallback) -> None:
        with self._lock:
            if listener in self._observers:
                self._observers.remove(listener)


class QueueRuntime:
    """The parts of a queue that have to be opened and closed."""

    def __init__(
        self, handler: Callable[..., Any], config: Config, handles: JobHandles, *, contain: bool = False
    ) -> None:
        self._handles = handles
        self._contain = contain
        self._backend: EmbeddedBackend | None = None
        self._closed = False
        self._lock = Lock()
        self.undone: list[Job[Any]] = []
        self._process = os.getpid()
        self._forks = _forks
        self._has_listeners = False
        clock = SystemClock()
        patience = STARVED_TIMEOUT_SECONDS
        self.scheduler = Scheduler(max_queue=config.max_queue_size, patience=patience, remembers_ended=0)
        self.admission = Admission(
            config, clock, self.scheduler, handles,
            open_commands=self._open_backend, notify=self._notify, cancel=self._cancel_job_of,
            has_listeners=lambda: self._has_listeners,
        )  # fmt: skip
        self.subscribers = Subscribers(self._caught_up)
        self.engine = Engine(
            clock=clock,
            scheduler=self.scheduler,
            reactor=ThreadWaker(),
            journal=NoJournal(),
            metrics=(MetricsCollector if config.enable_metrics else _NoMetrics)(clock.now()),
            dispatcher=self.subscribers,
            executor=partial(self._open_slots, handler, config.max_workers, clock),
            before_turn=self._take_in,
            after_turn=(self._resolve,),
        )
        self.thread = Thread(target=self._run, name="pqrun-engine", daemon=True)
        start_thread(self.thread)

    def _open_slots(
        self, handler: Callable[..., Any], count: int, clock: Clock, engine: Engine
    ) -> ThreadPoolExecutor[CallTask | ShellTask]:
        self._clock = clock
        self._calls = CallContext(handler, clock, engine, at_once=False)
        self._slots = ThreadPoolExecutor(count, self._begin, engine)
        return self._slots

    def refuse_forked(self) -> None:
        """Raise `RuntimeError` in a forked child.

        Every method of a queue checks this before it takes a lock: a lock that another thread held during the
        fork stays locked in the child for ever.
        """
        if self._forks != _forks:
            raise RuntimeError(
                f"this queue belongs to process {self._process}, from which this process was forked; only that process "
                "has its threads: make a new Queue here"
            )

    @property
    def threads(self) -> list[Thread]:
        """All threads of the queue. On one of them, `join` and `shutdown` would wait for themselves."""
        dispatcher = self.subscribers.thread
        return [self.thread, *self._slots.threads, *([dispatcher] if dispatcher else [])]

    def ask(self, question: Callable[[Scheduler, float], Answer]) -> Answer:
        """Call `question(scheduler, now)` in a turn of the engine and return its result.

        An exception of `question` is raised here and does not break the engine. Raises `QueueClosed` if
        the engine has failed, and `RuntimeError` in a forked child.
        """
        self.refuse_forked()
        answers: list[Answer] = []
        errors: list[Exception] = []

        def guarded(scheduler: Scheduler, now: float) -> None:
            try:
                answers.append(question(scheduler, now))
            except Exception as error:
                errors.append(error)

        self.engine.turn(request=guarded)
        if errors:
            raise errors.pop()
        if not answers:
            raise QueueClosed("the queue has failed") from self.engine.broken
        return answers[0]

    def cancel(self, find: Callable[[Scheduler], Task | None]) -> bool:
        """Cancel the job that `find` returns; return whether there is one."""

        def cancel(scheduler: Scheduler, now: float) -> bool:
            if (task := find(scheduler)) is not None:
                scheduler.cancel(task, now)
            return task is not None

        return self.ask(cancel)

    def metrics(self) -> Metrics:
        """Return the current metrics, including the jobs that the last `put` calls brought."""
        self.engine.turn(request=_nothing)
        return self.engine.snapshot()

    def subscribe(self, listener: EventListener | EventCallback) -> Callable[[], None]:
        """Add a listener; return the function that removes the listener.

        From now on each handler call reports its start at once, and those that have started report it
        now. Without listeners a start is reported together with the end, which saves a turn, and jobs share specs.
        """
        self._calls.at_once = True
        self._has_listeners = True
        self.engine.turn(request=_nothing)  # the listener must not hear of a turn that began before
        end = self.subscribers.add(listener)
        self._report_starts()
        self.engine.post()
        return end

    def _open_backend(self) -> None:
        """Open the backend for shell jobs before the first of them is added. Later calls do nothing.

        Raises `OSError` if the directory for the output of shell jobs cannot be created.
        """
        with self._lock:
            if self._backend is None:
                self._backend = EmbeddedBackend(self._clock, self.engine, contain=self._contain)
                atexit.register(self._at_exit)

    def stop(self, *, cancel: bool) -> None:
        """Start no more jobs; let running jobs finish, or cancel them. May be called again."""

        def stop(scheduler: Scheduler, now: float) -> None:
            if scheduler.stopping is None:
                scheduler.stop("shutdown", now, drain=True)
            self._drop_unstarted(scheduler, now)
            if cancel:
                scheduler.signalled(now)  # after Ctrl-C the terminal has sent SIGINT to the children as well
                for task in scheduler.running():
                    scheduler.cancel(task, now)

        self.ask(stop)

    def drop_unstarted(self) -> None:
        """Drop the jobs that wait for a retry: an attempt may have failed after `stop`."""
        if self.engine.broken is None:
            self.ask(self._drop_unstarted)

    def close(self) -> None:
        """Close the slots, the subscribers and the backend. Called when no job runs. May be called again."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._slots.close()
                self.subscribers.end()
                if self._backend is not None:
                    atexit.unregister(self._at_exit)
                    self._backend.close()

    def _notify(self, first: bool) -> None:
        """Tell the engine about new jobs: make a turn now if a slot is free, else wake the engine thread.

        While all slots are busy, only the first new job since the last turn wakes it. Each turn takes in all new jobs.
        """
        if self._slots.busy < self._slots.capacity():
            self.engine.poke()
        elif first:
            self.engine.post()

    def _cancel_job_of(self, handle: Handle) -> None:
        self.cancel(lambda scheduler: scheduler.tasks.get(handle.seq))

    def _caught_up(self) -> None:
        self.engine.post()

    def _take_in(self, scheduler: Scheduler, now: float) -> None:
        """Queue the new jobs. Called at the beginning of each turn, under the engine's lock."""
        self.admission.take_in(scheduler, now)
        if self.engine.next_timer <= now and not self._calls.at_once:
            self._report_starts()  # a timeout may be due, and the time limit counts from the reported start

    def _resolve(self, events: Sequence[Event]) -> None:
        """Resolve the futures of ended jobs. Called after each turn, without the engine's lock."""
        self.admission.recheck()
        self._handles.resolve(events)

    def _report_starts(self) -> None:
        for task in self._slots.live():
            if isinstance(task, CallTask):
                task.tell_start()

    def _begin(self, attempt: Attempt) -> CallTask | ShellTask:
        """Return the work of a slot for this attempt. Called under the engine's lock."""
        handle = self._handles.by_seq[attempt.key.seq]
        handle.started = True
        handle.job.retry_count = attempt.key.attempt - 1
        if self._backend is not None and isinstance(attempt.spec.work, Command):
            return self._backend.task(attempt, handle)
        return CallTask(attempt, self._calls, handle)

    def _drop_unstarted(self, scheduler: Scheduler, now: float) -> None:
        """Drop all jobs without a slot: queued jobs in starting order, then jobs that wait for a retry."""
        running = {task.seq for task in scheduler.running()}
        rest = [task for task in scheduler.tasks.values() if task.seq not in running]
        for task in sorted(rest, key=lambda task: (task.entry is None, task.entry or ())):
            self.undone.append(self._handles.by_seq[task.seq].job)
            scheduler.cancel(task, now)

    def _run(self) -> None:
        """Run the engine's loop until the end. This is the engine thread."""
        self.engine.run()
        if self.engine.broken is not None:
            self.admission.close(self.engine.broken)
            self._handles.fail_all(self.engine.broken)

    def _at_exit(self) -> None:
        """Kill the shell jobs if the program exits without `shutdown`, so that they do not outlive it."""
        if os.getpid() == self._process and self.engine.broken is None:

            def stop(scheduler: Scheduler, now: float) -> None:
                scheduler.signalled(now)
                scheduler.stop("exit", now, force=True)

            self.engine.turn(request=stop)
            self.thread.join(SHUTDOWN_FLUSH_TIMEOUT_SECONDS)


def _nothing(scheduler: Scheduler, now: float) -> None:
    """Do nothing. The turn itself takes in the new jobs."""


class _NoMetrics(MetricsCollector):
    """Metrics that count nothing, for `enable_metrics=False`."""

    def fold(self, events: Sequence[Event]) -> None:
        """Ignore the events, which saves their cost."""
