# SPDX-License-Identifier: LGPL-3.0-or-later
"""The turn: observe, decide, record, act, tell. One lock, one way in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence, Sized
from math import inf
from threading import Lock
from typing import Protocol

from pqrun.core.errors import InternalFailure, refusal
from pqrun.core.events import Event
from pqrun.core.metrics import Metrics, MetricsCollector
from pqrun.core.notices import ExecutorNotice
from pqrun.core.scheduler import Scheduler, SchedulerCommand, StartAttempt, StopAttempt
from pqrun.core.start_policy import UNLIMITED, Headroom
from pqrun.engine.clock import Clock
from pqrun.engine.executor import Executor

Request = Callable[[Scheduler, float], object]


class EventJournal(Protocol):
    """Where events are kept before anything is done about them; raises `OwnFailure` if it can't."""

    def record(self, events: Sequence[Event]) -> None: ...


class EventSink(Protocol):
    """Who tells people; `behind`: too much is unshown, so nothing new should start."""

    @property
    def backlogged(self) -> bool: ...

    def put(self, events: Sequence[Event]) -> None: ...


class Waker(Protocol):
    """What the main thread waits in."""

    def wake(self) -> None: ...
    def wait(self, seconds: float) -> Iterable[Request]: ...


class NoJournal:
    """Keeps nothing."""

    def record(self, events: Sequence[Event]) -> None:
        """Forgets."""


class LoadLimit(Protocol):
    """Who knows how many attempts the machine bears; asked again at `looks_at` if that is too few."""

    next_check_at: float

    def headroom(self, now: float, running: Callable[[], Sized]) -> Headroom: ...


class NoLoadLimit:
    """Bears everything."""

    next_check_at = inf

    def headroom(self, now: float, running: Callable[[], Sized]) -> Headroom:
        """All of them."""
        return UNLIMITED


SEE = "; `ulimit -n` shows the limit of open files, `ulimit -u` that of processes"
OUTPUT_BLOCKED = Headroom(0, "what jobs print is not being read")


class Engine:
    """Everything that happens passes through `turn`."""

    def __init__(
        self,
        *,
        clock: Clock,
        scheduler: Scheduler,
        reactor: Waker,
        journal: EventJournal,
        metrics: MetricsCollector,
        dispatcher: EventSink,
        machine: LoadLimit | None = None,
    ) -> None:
        self.broken: BaseException | None = None
        self.metrics = metrics
        self.executor: Executor
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
        self.before_turn: Request | None = None
        self.after_turn: Callable[[Sequence[Event]], None] | None = None

    def post(self, *news: ExecutorNotice, urgent: bool = True) -> None:
        """News for the next turn; without any: something outside has changed. Runs nothing."""
        self._inbox.extend(news)
        if urgent:
            self._wake_pending = True
            self._reactor.wake()

    def turn(self, *news: ExecutorNotice, ask: Request | None = None) -> None:
        """One turn, from a slot's thread or the main one; what it raises breaks the engine.

        Who brings news does not wait for the thread that is at its turn, which sees to them as well:
        once two had met there, each would from then on wait for the other at every turn.
        """
        if news:
            self._inbox.extend(news)
            self._contended = True
            while self._contended and self._lock.acquire(blocking=False):
                try:
                    events = self._safe_turn(None)
                finally:
                    self._lock.release()
                self._run_after_turn(events)
            return
        with self._lock:
            events = self._safe_turn(ask)
        if self._contended:
            self._reactor.wake()
        self._run_after_turn(events)

    def poke(self) -> None:
        """Something outside has changed: a turn, by whoever can make it now."""
        self._wake_pending = True
        if self._lock.locked():
            self._reactor.wake()
        else:
            self.turn()

    def _safe_turn(self, ask: Request | None) -> Sequence[Event]:
        self._contended = False
        if self.broken:
            return ()
        try:
            return self._turn(ask)
        except BaseException as error:
            self.fail(error)
            if isinstance(error, KeyboardInterrupt):  # of the program in which this is a guest
                raise
            return ()

    def _run_after_turn(self, events: Sequence[Event]) -> None:
        if self.after_turn is not None and events:
            self.after_turn(events)

    def _turn(self, ask: Request | None) -> Sequence[Event]:
        now = self._clock.now()
        if not (self._inbox or ask or self._wake_pending or self.next_timer <= now):
            return ()
        self._wake_pending = False
        scheduler = self._scheduler
        try:
            if self.before_turn is not None:
                self.before_turn(scheduler, now)
            if ask is not None:
                ask(scheduler, now)
        finally:
            while self._inbox:
                scheduler.observe(self._inbox.popleft(), now)
            headroom = (
                OUTPUT_BLOCKED
                if self._dispatcher.backlogged
                else self._load_limit.headroom(now, scheduler.running)
            )
            decision = scheduler.decide(now, self.executor.capacity(), headroom)
            if decision.events:
                self._journal.record(decision.events)
            for act in decision.acts:
                self._act(act)
            if decision.events:
                self.metrics.fold(decision.events)
                self._dispatcher.put(decision.events)
            self.next_timer = scheduler.next_timer()
            if scheduler.hold_reason:
                self.next_timer = min(self.next_timer, self._load_limit.next_check_at)
            if scheduler.hopeless:
                self.fail(InternalFailure(f"nothing can be started: {scheduler.hopeless}{SEE}"))
            elif self._reactor_must_look():
                self._reactor.wake()
        return decision.events

    def _act(self, act: SchedulerCommand) -> None:
        if type(act) is StartAttempt:
            self.executor.start(act.attempt)
        elif type(act) is StopAttempt:
            self.executor.stop(act.key, force=act.force)

    def _reactor_must_look(self) -> bool:
        return (
            self.next_timer < self._next_check
            or self._scheduler.done
            or (0 < self._wanted_room <= self._scheduler.queue_room)
        )

    def snapshot(self) -> Metrics:
        """The numbers of this moment; from any thread."""
        with self._lock:
            return self.metrics.snapshot(self._clock.now())

    def fail(self, error: BaseException) -> None:
        """Nothing more starts; `run` returns and leaves it to its caller to stop what runs."""
        if self.broken is None:
            self.broken = refusal(error) or error
        self._reactor.wake()

    def want_input(self, room: int) -> None:
        """The reactor has more jobs to read as soon as there is so much room; 0: no more."""
        self._wanted_room = room

    def run(self) -> None:
        """The main thread's part: until everything is over, or broken."""
        try:
            self.turn()
            while not (self._scheduler.done or self.broken):
                self._next_check = self.next_timer
                for ask in self._reactor.wait(self.next_timer - self._clock.now()):
                    self._next_check = -inf
                    self.turn(ask=ask)
                self._next_check = -inf
                self.turn()
        except Exception as error:  # of the wait: what runs has to be stopped all the same
            self.fail(error)
