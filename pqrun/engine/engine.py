# SPDX-License-Identifier: LGPL-3.0-or-later
"""The turn: observe, decide, record, act, tell. One lock, one way in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence, Sized
from math import inf
from threading import Lock
from typing import Protocol

from pqrun.core.errors import OwnFailure, refusal
from pqrun.core.events import Event
from pqrun.core.metrics import Metrics, RunningMetrics
from pqrun.core.notices import News
from pqrun.core.scheduler import Act, Scheduler, Start, Stop
from pqrun.core.start_policy import BEARS_ALL, Bearing
from pqrun.engine.clock import Clock
from pqrun.engine.executor import Executor

Ask = Callable[[Scheduler, float], object]


class Journal(Protocol):
    """Where events are kept before anything is done about them; raises `OwnFailure` if it can't."""

    def record(self, events: Sequence[Event]) -> None: ...


class Told(Protocol):
    """Who tells people; `behind`: too much is unshown, so nothing new should start."""

    @property
    def behind(self) -> bool: ...

    def put(self, events: Sequence[Event]) -> None: ...


class Waiter(Protocol):
    """What the main thread waits in."""

    def ring(self) -> None: ...
    def wait(self, seconds: float) -> Iterable[Ask]: ...


class NoJournal:
    """Keeps nothing."""

    def record(self, events: Sequence[Event]) -> None:
        """Forgets."""


class Bears(Protocol):
    """Who knows how many attempts the machine bears; asked again at `looks_at` if that is too few."""

    looks_at: float

    def bearing(self, now: float, running: Callable[[], Sized]) -> Bearing: ...


class Tireless:
    """Bears everything."""

    looks_at = inf

    def bearing(self, now: float, running: Callable[[], Sized]) -> Bearing:
        """All of them."""
        return BEARS_ALL


SEE = "; `ulimit -n` shows the limit of open files, `ulimit -u` that of processes"
UNREAD = Bearing(0, "what jobs print is not being read")


class Engine:
    """Everything that happens passes through `turn`."""

    def __init__(
        self,
        *,
        clock: Clock,
        scheduler: Scheduler,
        reactor: Waiter,
        journal: Journal,
        metrics: RunningMetrics,
        teller: Told,
        machine: Bears | None = None,
    ) -> None:
        self.broken: BaseException | None = None
        self.metrics = metrics
        self.executor: Executor
        self._clock = clock
        self._scheduler = scheduler
        self._reactor = reactor
        self._journal = journal
        self._teller = teller
        self._machine = machine or Tireless()
        self._inbox: deque[News] = deque()
        self._lock = Lock()
        self.alarm = inf
        self._looked_until = -inf
        self._nudged = True
        self._handed_over = False
        self._hungry_for = 0
        self.arrive: Ask | None = None
        self.resolve: Callable[[Sequence[Event]], None] | None = None

    def post(self, *news: News, urgent: bool = True) -> None:
        """News for the next turn; without any: something outside has changed. Runs nothing."""
        self._inbox.extend(news)
        if urgent:
            self._nudged = True
            self._reactor.ring()

    def turn(self, *news: News, ask: Ask | None = None) -> None:
        """One turn, from a slot's thread or the main one; what it raises breaks the engine.

        Who brings news does not wait for the thread that is at its turn, which sees to them as well:
        once two had met there, each would from then on wait for the other at every turn.
        """
        if news:
            self._inbox.extend(news)
            self._handed_over = True
            while self._handed_over and self._lock.acquire(blocking=False):
                try:
                    events = self._safe_turn(None)
                finally:
                    self._lock.release()
                self._follow(events)
            return
        with self._lock:
            events = self._safe_turn(ask)
        if self._handed_over:
            self._reactor.ring()
        self._follow(events)

    def look(self) -> None:
        """Something outside has changed: a turn, by whoever can make it now."""
        self._nudged = True
        if self._lock.locked():
            self._reactor.ring()
        else:
            self.turn()

    def _safe_turn(self, ask: Ask | None) -> Sequence[Event]:
        self._handed_over = False
        if self.broken:
            return ()
        try:
            return self._turn(ask)
        except BaseException as error:
            self.fail(error)
            if isinstance(error, KeyboardInterrupt):  # of the program in which this is a guest
                raise
            return ()

    def _follow(self, events: Sequence[Event]) -> None:
        if self.resolve is not None and events:
            self.resolve(events)

    def _turn(self, ask: Ask | None) -> Sequence[Event]:
        now = self._clock.now()
        if not (self._inbox or ask or self._nudged or self.alarm <= now):
            return ()
        self._nudged = False
        scheduler = self._scheduler
        try:
            if self.arrive is not None:
                self.arrive(scheduler, now)
            if ask is not None:
                ask(scheduler, now)
        finally:
            while self._inbox:
                scheduler.observe(self._inbox.popleft(), now)
            bearing = UNREAD if self._teller.behind else self._machine.bearing(now, scheduler.running)
            decision = scheduler.decide(now, self.executor.capacity(), bearing)
            if decision.events:
                self._journal.record(decision.events)
            for act in decision.acts:
                self._act(act)
            if decision.events:
                self.metrics.fold(decision.events)
                self._teller.put(decision.events)
            self.alarm = scheduler.next_alarm()
            if scheduler.holding:
                self.alarm = min(self.alarm, self._machine.looks_at)
            if scheduler.hopeless:
                self.fail(OwnFailure(f"nothing can be started: {scheduler.hopeless}{SEE}"))
            elif self._reactor_must_look():
                self._reactor.ring()
        return decision.events

    def _act(self, act: Act) -> None:
        if type(act) is Start:
            self.executor.start(act.attempt)
        elif type(act) is Stop:
            self.executor.stop(act.key, force=act.force)

    def _reactor_must_look(self) -> bool:
        return (
            self.alarm < self._looked_until
            or self._scheduler.done
            or (0 < self._hungry_for <= self._scheduler.room)
        )

    def snapshot(self) -> Metrics:
        """The numbers of this moment; from any thread."""
        with self._lock:
            return self.metrics.snapshot(self._clock.now())

    def fail(self, error: BaseException) -> None:
        """Nothing more starts; `run` returns and leaves it to its caller to stop what runs."""
        if self.broken is None:
            self.broken = refusal(error) or error
        self._reactor.ring()

    def hungry(self, room: int) -> None:
        """The reactor has more jobs to read as soon as there is so much room; 0: no more."""
        self._hungry_for = room

    def run(self) -> None:
        """The main thread's part: until everything is over, or broken."""
        try:
            self.turn()
            while not (self._scheduler.done or self.broken):
                self._looked_until = self.alarm
                for ask in self._reactor.wait(self.alarm - self._clock.now()):
                    self._looked_until = -inf
                    self.turn(ask=ask)
                self._looked_until = -inf
                self.turn()
        except Exception as error:  # of the wait: what runs has to be stopped all the same
            self.fail(error)
