# SPDX-License-Identifier: LGPL-3.0-or-later
"""An executor in simulated time, and the run of a scheduler with it: for `--dry-run` and for tests.

The executor also stands in for the reactor: its `wait` moves the clock to the next thing that happens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf
from typing import TYPE_CHECKING

from pqrun.core.events import Event
from pqrun.core.job import NO_REPORT, Attempt, AttemptId, Exit, ExitedWith, KilledBySignal, SelfReport
from pqrun.core.metrics import MetricsCollector
from pqrun.core.notices import ProcessFinished, ProcessStarted, StartRejected
from pqrun.core.scheduler import Scheduler
from pqrun.engine.engine import Engine, EventSink, NoJournal
from pqrun.engine.executor import LoadLimit
from pqrun.engine.reactor import Request

if TYPE_CHECKING:
    from pqrun.engine.executor import Reporter
    from pqrun.engine.live_run import JobStdin
    from pqrun.output.store import Capture


class FakeClock:
    """A clock that stands still until it is moved. `ahead`: how many seconds the wall clock is ahead of this clock."""

    check_seconds = inf

    def __init__(self, now: float = 0.0) -> None:
        self.time = now
        self.ahead = 0.0

    def now(self) -> float:
        """Return the seconds since the simulation began."""
        return self.time

    def wall(self, at: float) -> float:
        """Return the same time: the simulation began at the epoch."""
        return at

    def drift(self) -> float:
        """Return how many seconds the wall clock is ahead."""
        return self.ahead


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


@dataclass(slots=True)
class _SimulatedAttempt:
    fate: Fate
    began: float
    exit: Exit
    stopped: bool = False


class SimulatedExecutor:
    """An executor that runs attempts on a fake clock. `fate(attempt)` says what an attempt will do.

    `asks` are requests with the times at which they are made.
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
        self._reporter: Reporter | None = None
        self._fate = fate
        self._live: dict[AttemptId, _SimulatedAttempt] = {}
        self._ends: list[tuple[float, int, AttemptId]] = []
        self._asks = sorted(asks, key=lambda timed: timed[0])
        self._count = 0
        self._woken = False

    def report_to(self, reporter: Reporter) -> SimulatedExecutor:
        """Post all notices to `reporter` from now on. Return this executor, as an engine wants it."""
        self._reporter = reporter
        return self

    def capacity(self) -> int:
        return self.slots

    def start(self, attempt: Attempt) -> None:
        """Start an attempt at once, or reject it if its fate says so."""
        fate, now = self._fate(attempt), self.clock.now()
        if fate.refuse:
            self._post(StartRejected(attempt.key, "no room"))
            return
        self._live[attempt.key] = _SimulatedAttempt(fate, now, fate.exit)
        self._post(ProcessStarted(attempt.key, now, "slot"))
        self._end_at(now + fate.seconds, attempt.key)

    def stop(self, key: AttemptId, *, force: bool) -> None:
        """End the attempt now, unless it is deaf and not killed."""
        live = self._live.get(key)
        if live is None:
            return
        live.stopped = True
        if force or not live.fate.deaf:
            live.exit = KilledBySignal("SIGKILL" if force else "SIGTERM")
            self._end_at(self.clock.now(), key)

    def signal(self, key: AttemptId, name: str) -> None:
        """Do nothing: a simulated attempt has no process."""

    def resize(self, count: int) -> None:
        self.slots = count

    def output_of(self, key: AttemptId) -> Capture | None:
        """Return None: a simulated attempt prints nothing."""
        return None

    def stdin_of(self, key: AttemptId) -> JobStdin | None:
        """Return None: a simulated attempt reads nothing."""
        return None

    def pids(self) -> Mapping[AttemptId, int]:
        """Return no pids: a simulated attempt has no process."""
        return {}

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
        live = self._live.pop(key, None)
        if live is not None:
            now, said = self.clock.now(), live.fate.said
            self._post(ProcessFinished(key, live.exit, live.stopped, live.began, now, said=said))

    def _post(self, notice: ProcessStarted | ProcessFinished | StartRejected) -> None:
        if self._reporter is not None:
            self._reporter.post(notice)


class NoObservers:
    """A sink of events that keeps nothing."""

    backlogged = False

    def put(self, events: Sequence[Event]) -> None:
        """Ignore the events."""


def run_simulated(
    scheduler: Scheduler,
    executor: SimulatedExecutor,
    sink: EventSink,
    *,
    check: Callable[[Scheduler], None] | None = None,
    machine: LoadLimit | None = None,
    past: Iterable[Event] = (),
) -> None:
    """Run the scheduler to its end in simulated time, and pass its events to `sink`.

    `check` is called after each turn that had events. `past` holds the events of an earlier process of
    the run, for the metrics.

    Raises:
        BaseException: The exception that broke the engine.
    """
    metrics = MetricsCollector(executor.clock.now())
    metrics.fold(list(past))
    engine = Engine(
        clock=executor.clock,
        scheduler=scheduler,
        reactor=executor,
        journal=NoJournal(),
        metrics=metrics,
        dispatcher=sink,
        executor=executor.report_to,
        machine=machine,
        after_turn=() if check is None else (lambda _events: check(scheduler),),
    )
    engine.run()
    if engine.broken:
        raise engine.broken
