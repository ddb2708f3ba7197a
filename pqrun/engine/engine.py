# SPDX-License-Identifier: LGPL-3.0-or-later
"""[hot path] The turn of the engine: observe, decide, record, act, tell. All changes pass through it, under one lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence, Sized
from math import inf
from threading import Lock
from typing import TYPE_CHECKING, Protocol

from pqrun.core.errors import InternalFailure, refusal
from pqrun.core.events import Event
from pqrun.core.job import Attempt
from pqrun.core.metrics import Metrics, MetricsCollector
from pqrun.core.notices import ExecutorNotice
from pqrun.core.scheduler import Scheduler, StopAttempt
from pqrun.core.start_policy import UNLIMITED, Headroom
from pqrun.engine.clock import Clock

if TYPE_CHECKING:
    from pqrun.engine.executor import Executor, LoadLimit
    from pqrun.engine.reactor import Request

AfterTurn = Callable[[Sequence[Event]], object]


class EventJournal(Protocol):
    """The place where events are recorded before they are acted upon.

    `record` raises `InternalFailure` if it can't write.
    """

    def record(self, events: Sequence[Event]) -> None: ...


class EventSink(Protocol):
    """The receiver of events for people. `backlogged`: too much is undelivered, so start nothing new."""

    @property
    def backlogged(self) -> bool: ...

    def put(self, events: Sequence[Event]) -> None: ...


class Waker(Protocol):
    """The wait of the main thread."""

    def wake(self) -> None: ...
    def wait(self, seconds: float) -> Iterable[Request]: ...


class NoJournal:
    """A journal that keeps nothing."""

    def record(self, events: Sequence[Event]) -> None:
        """Ignore the events."""


class NoLoadLimit:
    """Allows any number of concurrent attempts."""

    next_check_at = inf

    def headroom(self, now: float, running: Callable[[], Sized]) -> Headroom:
        """Return no limit."""
        return UNLIMITED


SEE = "; `ulimit -n` shows the limit of open files, `ulimit -u` that of processes"
OUTPUT_BLOCKED = Headroom(0, "the output of jobs is not being read")


class Engine:
    """The engine: every change of the run passes through `turn`.

    `broken`: the exception after which nothing more starts, or None. `executor` creates the executor, which
    reports to the engine. `before_turn` is called first in each turn, under the lock; the functions of
    `after_turn` are called with the events of a turn, without the lock.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        scheduler: Scheduler,
        reactor: Waker,
        journal: EventJournal,
        metrics: MetricsCollector,
        dispatcher: EventSink,
        executor: Callable[[Engine], Executor],
        machine: LoadLimit | None = None,
        before_turn: Request | None = None,
        after_turn: Iterable[AfterTurn] = (),
    ) -> None:
        self.broken: BaseException | None = None
        self.metrics = metrics
        self._clock = clock
        self._scheduler = scheduler
        self._reactor = reactor
        self._journal = journal
        self._dispatcher = dispatcher
        self._load_limit = machine or NoLoadLimit()
        self._inbox: deque[ExecutorNotice] = deque()
        self._lock = Lock()
        self.next_timer = inf
        self._next_check = -inf
        self._wake_pending = True
        self._contended = False
        self._wanted_room = 0
        self._before_turn = before_turn
        self._after_turn = tuple(after_turn)
        self.executor = executor(self)

    def post(self, *notices: ExecutorNotice, urgent: bool = True) -> None:
        """Add notices for the next turn, and wake the main thread if `urgent`. Called on any thread.

        Without notices, the call means that something outside the engine has changed. No turn runs here.
        """
        self._inbox.extend(notices)
        if urgent:
            self._wake_pending = True
            self._reactor.wake()

    def turn(self, *notices: ExecutorNotice, request: Request | None = None) -> None:
        """Run one turn, on the thread of a worker or the main thread. An exception in it breaks the engine.

        A thread that reports notices while another holds the lock leaves them in the inbox and returns; the
        holder handles them. Blocking here would cause a lock convoy: once two threads had met at the lock,
        they would wait for each other at every later turn.
        """
        if notices:
            self._inbox.extend(notices)
            self._contended = True
            while self._contended and self._lock.acquire(blocking=False):
                try:
                    events = self._safe_turn(None)
                finally:
                    self._lock.release()
                if events:
                    for tell in self._after_turn:
                        tell(events)
            return
        with self._lock:
            events = self._safe_turn(request)
        if self._contended:
            self._reactor.wake()
        if events:
            for tell in self._after_turn:
                tell(events)

    def poke(self) -> None:
        """Run a turn because something outside has changed, or wake the main thread if the lock is taken."""
        self._wake_pending = True
        if self._lock.locked():
            self._reactor.wake()
        else:
            self.turn()

    def _safe_turn(self, request: Request | None) -> Sequence[Event]:
        self._contended = False
        if self.broken:
            return ()
        try:
            return self._turn(request)
        except BaseException as error:
            self.fail(error)
            if isinstance(error, KeyboardInterrupt):  # belongs to the program that uses the library
                raise
            return ()

    def _turn(self, request: Request | None) -> Sequence[Event]:
        now = self._clock.now()
        inbox = self._inbox
        if not (inbox or request or self._wake_pending or self.next_timer <= now):
            return ()
        self._wake_pending = False
        scheduler = self._scheduler
        if request is not None or scheduler.admission.timed:
            scheduler.admission.set_drift(self._clock.drift(), now)
        try:
            if self._before_turn is not None:
                self._before_turn(scheduler, now)
            if request is not None:
                request(scheduler, now)
        finally:
            while inbox:
                scheduler.observe(inbox.popleft(), now)
            headroom = (
                OUTPUT_BLOCKED
                if self._dispatcher.backlogged
                else self._load_limit.headroom(now, scheduler.running)
            )
            events, acts = scheduler.decide(now, self.executor.capacity(), headroom)
            if events:
                self._journal.record(events)
            for act in acts:
                if isinstance(act, Attempt):
                    self.executor.start(act)
                elif isinstance(act, StopAttempt):
                    self.executor.stop(act.key, force=act.force)
                else:
                    self.executor.signal(act.key, act.name)
            if events:
                self.metrics.fold(events)
                self._dispatcher.put(events)
            self.next_timer = scheduler.next_timer()
            if scheduler.hold_reason:
                self.next_timer = min(self.next_timer, self._load_limit.next_check_at)
            if scheduler.hopeless:
                self.fail(InternalFailure(f"cannot start any job: {scheduler.hopeless}{SEE}"))
            elif (  # an earlier timer, the end of the run, or room for input that waits
                self.next_timer < self._next_check
                or scheduler.done
                or 0 < self._wanted_room <= scheduler.queue_room
            ):
                self._reactor.wake()
        return events

    def snapshot(self) -> Metrics:
        """Return the metrics of this moment. Called on any thread."""
        with self._lock:
            return self.metrics.snapshot(self._clock.now())

    def fail(self, error: BaseException) -> None:
        """Break the engine: nothing more starts, and `run` returns. Its caller stops the running attempts."""
        if self.broken is None:
            self.broken = refusal(error) or error
        self._reactor.wake()

    def want_input(self, room: int) -> None:
        """Wake the reactor once the queue has room for `room` more jobs. 0 cancels the request."""
        self._wanted_room = room

    def run(self) -> None:
        """Run turns on the main thread until the run is done or the engine is broken."""
        try:
            self.turn()
            while not (self._scheduler.done or self.broken):
                self._next_check = self.next_timer
                wait = self.next_timer - self._clock.now()
                if self._scheduler.admission.delayed:
                    wait = min(wait, self._clock.check_seconds)
                    self._wake_pending = True  # the turn below looks at the wall clock
                for request in self._reactor.wait(wait):
                    self._next_check = -inf
                    self.turn(request=request)
                self._next_check = -inf
                self.turn()
        except Exception as error:  # raised by the wait; the caller must still stop running attempts
            self.fail(error)
