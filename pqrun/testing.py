# SPDX-License-Identifier: LGPL-3.0-or-later
"""A fake clock and a simulated executor, with which runs of hours take milliseconds.

For the project's own tests and for authors of executors. The executor also stands in for the
reactor: its `wait` moves the clock to the next thing that happens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf

from pqrun.core.events import Event
from pqrun.core.job import NO_REPORT, Attempt, AttemptId, Exit, ExitedWith, KilledBySignal, SelfReport
from pqrun.core.metrics import MetricsCollector
from pqrun.core.notices import ExecutorNotice, ProcessFinished, ProcessStarted, StartRejected
from pqrun.core.scheduler import Scheduler
from pqrun.engine.engine import Engine, LoadLimit, NoJournal, Request


class FakeClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, now: float = 0.0) -> None:
        self.time = now

    def now(self) -> float:
        """Return the seconds since the test began."""
        return self.time

    def wall(self, at: float) -> float:
        """Return the same time: the test began at the epoch."""
        return at


@dataclass(frozen=True, slots=True)
class Fate:
    """The plan of a simulated attempt: run for `seconds`, then end with `exit`.

    `deaf`: only a kill ends it earlier. `refuse`: its start is rejected.
    """

    seconds: float = 1.0
    exit: Exit = ExitedWith(0)
    deaf: bool = False
    refuse: bool = False
    said: SelfReport = NO_REPORT


@dataclass
class _Life:
    attempt: Attempt
    fate: Fate
    began: float
    exit: Exit
    stopped: bool = False
    over: bool = False


class SimulatedExecutor:
    """An executor that runs attempts on a fake clock. `fate(attempt)` says what an attempt will do.

    `asks` are requests with the times at which they are made. `reports` keeps all notices.
    """

    def __init__(
        self,
        clock: FakeClock,
        slots: int,
        fate: Callable[[Attempt], Fate],
        *,
        asks: Iterable[tuple[float, Request]] = (),
    ) -> None:
        self.clock = clock
        self.slots = slots
        self.engine: Engine | None = None
        self.reports: list[ExecutorNotice] = []
        self._fate = fate
        self._live: dict[AttemptId, _Life] = {}
        self._ends: list[tuple[float, int, AttemptId]] = []
        self._asks = sorted(asks, key=lambda timed: timed[0])
        self._count = 0
        self._woken = False

    def capacity(self) -> int:
        """Return the number of slots."""
        return self.slots

    def start(self, attempt: Attempt) -> None:
        """Start an attempt at once, or reject it if its fate says so."""
        fate = self._fate(attempt)
        if fate.refuse:
            self._report(StartRejected(attempt.key, "no room"))
            return
        self._live[attempt.key] = _Life(attempt, fate, self.clock.now(), fate.exit)
        self._report(ProcessStarted(attempt.key, self.clock.now(), "slot"))
        self._end_at(self.clock.now() + fate.seconds, attempt.key)

    def stop(self, key: AttemptId, *, force: bool) -> None:
        """End the attempt now, unless it is deaf and not killed."""
        life = self._live.get(key)
        if life is None:
            return
        life.stopped = True
        if force or not life.fate.deaf:
            life.exit = KilledBySignal("SIGKILL" if force else "SIGTERM")
            self._end_at(self.clock.now(), key)

    def close(self) -> None:
        """Kill all running attempts."""
        for key in list(self._live):
            self.stop(key, force=True)
            self._end(key)

    def wake(self) -> None:
        """Let the next `wait` return at once."""
        self._woken = True

    def wait(self, seconds: float) -> list[Request]:
        """Move the clock to the next event (a timer, an end, or a request). Return the requests that are due.

        Raises:
            AssertionError: The run is not done, but nothing will ever happen again.
        """
        if self._woken:
            self._woken = False
            return []
        alarm = self.clock.now() + seconds
        first_end = self._ends[0][0] if self._ends else inf
        first_ask = self._asks[0][0] if self._asks else inf
        when = min(alarm, first_end, first_ask)
        if when == inf:
            raise AssertionError("the run is not done, and nothing will ever happen")
        self.clock.time = max(self.clock.time, when)
        asks = []
        while self._asks and self._asks[0][0] <= self.clock.time:
            asks.append(self._asks.pop(0)[1])
        while self._ends and self._ends[0][0] <= self.clock.time:
            self._end(heappop(self._ends)[2])
        return asks

    def _end_at(self, when: float, key: AttemptId) -> None:
        self._count += 1
        heappush(self._ends, (when, self._count, key))

    def _end(self, key: AttemptId) -> None:
        life = self._live.pop(key, None)
        if life is not None:
            now = self.clock.now()
            self._report(ProcessFinished(key, life.exit, life.stopped, life.began, now, said=life.fate.said))

    def _report(self, news: ExecutorNotice) -> None:
        self.reports.append(news)
        if self.engine is not None:
            self.engine.post(news)


@dataclass
class RecordedRun:
    """A sink that keeps all events of a run."""

    events: list[Event] = field(default_factory=list)
    backlogged: bool = False

    def put(self, events: Sequence[Event]) -> None:
        """Keep the events."""
        self.events.extend(events)


def simulate(
    scheduler: Scheduler,
    executor: SimulatedExecutor,
    story: RecordedRun | None = None,
    *,
    check: Callable[[Scheduler], None] | None = None,
    machine: LoadLimit | None = None,
    past: Sequence[Event] = (),
) -> RecordedRun:
    """Run the scheduler to its end on the fake clock. Return the recorded run.

    `check` is called after each turn that had events. `past` holds the events of an earlier process of
    the run, for the metrics.

    Raises:
        BaseException: The exception that broke the engine.
    """
    story = story or RecordedRun()
    metrics = MetricsCollector(executor.clock.now())
    metrics.fold(past)
    engine = Engine(
        clock=executor.clock,
        scheduler=scheduler,
        reactor=executor,
        journal=NoJournal(),
        metrics=metrics,
        dispatcher=story,
        machine=machine,
    )
    engine.executor = executor
    executor.engine = engine
    if check is not None:
        engine.after_turn = lambda _events: check(scheduler)
    engine.run()
    if engine.broken:
        raise engine.broken
    return story
