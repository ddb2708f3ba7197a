# SPDX-License-Identifier: LGPL-3.0-or-later
"""The run's numbers by priority, and how long things took, in buckets."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from itertools import accumulate

from pqrun import events as ev
from pqrun.metrics import RunningMetrics
from pqrun.model import Count, Outcome, Priority

BOUNDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)
BUCKETS = [*(str(bound) for bound in BOUNDS), "+Inf"]


class Histogram:
    """How many took how long."""

    def __init__(self) -> None:
        self.sum = 0.0
        self._counts = [0] * len(BUCKETS)

    def observe(self, seconds: float) -> None:
        """One more."""
        self.sum += seconds
        self._counts[bisect_left(BOUNDS, seconds)] += 1

    def cumulated(self) -> list[int]:
        """How many took at most so long, by bucket."""
        return list(accumulate(self._counts))


class Tally:
    """Folds events. What counts up never goes down, as those who compute rates of it rely on."""

    def __init__(self, began: float, workers: int) -> None:
        self.metrics = RunningMetrics(began)
        self.workers = workers
        self.enqueued: Counter[Priority] = Counter()
        self.dequeued: Counter[Priority] = Counter()
        self.jobs: Counter[tuple[Priority, str]] = Counter()
        self.attempts: Counter[tuple[Priority, str]] = Counter()
        self.waits = {priority: Histogram() for priority in Priority}
        self.processing = {priority: Histogram() for priority in Priority}
        self.user = self.system = 0.0
        self._priority: dict[int, Priority] = {}
        self._waited: dict[int, float] = {}
        self._refused: dict[int, Priority] = {}

    def hear(self, events: Iterable[ev.Event]) -> None:
        """Takes in what happened, in order."""
        for event in events:
            self.metrics.fold((event,))
            match event:
                case ev.JobAdded(_, seq, spec) | ev.JobChanged(_, seq, spec):
                    self._priority[seq] = spec.priority
                case ev.JobReopened(_, seq, outcome, spec):
                    self._priority[seq] = spec.priority
                    self._take_back(outcome, spec.priority)
                case ev.JobQueued(_, seq, _, priority):
                    self._priority[seq] = priority
                    self.enqueued[priority] += 1
                case ev.AttemptSubmitted(_, seq, _, waited):
                    self._waited[seq] = waited
                    self._leaves(seq)
                case ev.AttemptRefused(_, seq):
                    self._refused[seq] = self._priority[seq]
                    self._waited.pop(seq, None)
                case ev.AttemptEnded():
                    self._ended(event)
                case ev.JobRemoved(_, seq):
                    self._leaves(seq)
                case ev.JobEnded(_, seq, outcome):
                    self.jobs[self._priority.pop(seq), str(outcome)] += 1
                case ev.JobDropped(_, seq, dropped):
                    self._priority.pop(seq, None)
                    if dropped is not None:
                        self._take_back(dropped, *Priority)
                case ev.SlotsChanged(_, workers) | ev.WorkersChanged(_, workers):
                    self.workers = workers

    def close(self, *, live: bool) -> None:
        """What came back and did not leave again has not left; what runs in a run that is over was cut short."""
        for priority in self._refused.values():
            self.dequeued[priority] -= 1
        self._refused.clear()
        for seq, waited in self._waited.items() if not live else ():
            priority = self._priority[seq]
            self.attempts[priority, str(Count.STOPPED)] += 1
            self.jobs[priority, str(Outcome.INTERRUPTED)] += 1
            self.waits[priority].observe(waited)
            self.processing[priority].observe(0.0)

    def _take_back(self, outcome: Outcome, *priorities: Priority) -> None:
        """A job has not ended so after all; only when a run is gone on with, before anybody asks."""
        for priority in priorities:
            if self.jobs[priority, str(outcome)] > 0:
                self.jobs[priority, str(outcome)] -= 1
                return

    def _leaves(self, seq: int) -> None:
        if self._refused.pop(seq, None) is None:  # else it was counted before it came back
            self.dequeued[self._priority[seq]] += 1

    def _ended(self, event: ev.AttemptEnded) -> None:
        priority = self._priority[event.seq]
        self.attempts[priority, str(event.counted)] += 1
        self.user += event.usage.user
        self.system += event.usage.system
        self.waits[priority].observe(self._waited.pop(event.seq, 0.0))
        self.processing[priority].observe(event.ended - event.began)
