# SPDX-License-Identifier: LGPL-3.0-or-later
"""The run so far, folded from events: the ten numbers of the queue model and a few beside them.

Two sums hold after every event:
enqueued - dequeued = queue size, and
dequeued = completed + failed + timeout + retried + active + stopped + removed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import ceil, log
from typing import Any, NamedTuple

from pqrun import events as ev
from pqrun.model import Count, Outcome, Priority, StopReason

_STEP = log(1.01)


class Metrics(NamedTuple):
    """A snapshot. Times in seconds; `throughput` in ended jobs a second since the run began."""

    jobs_enqueued: int = 0
    jobs_dequeued: int = 0
    jobs_completed: int = 0
    jobs_failed: int = 0
    jobs_timeout: int = 0
    jobs_retried: int = 0
    current_queue_size: int = 0
    active_workers: int = 0
    average_wait_time: float = 0.0
    average_processing: float = 0.0
    jobs_cancelled: int = 0
    jobs_skipped: int = 0
    jobs_removed: int = 0
    attempts_stopped: int = 0
    attempts_timeout: int = 0
    queue_by_priority: dict[str, int] | None = None
    oldest_wait: float = 0.0
    p50_processing: float = 0.0
    p95_processing: float = 0.0
    throughput: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """By name, in the order above."""
        return self._asdict()


TEN = Metrics._fields[:10]


class RunningMetrics:
    """Folds events; `snapshot` may be asked at any moment."""

    def __init__(self, began: float = 0.0) -> None:
        self.began = began
        self.enqueued = self.dequeued = self.removed = self.active = 0
        self.counts: Counter[Count] = Counter()
        self.outcomes: Counter[Outcome] = Counter()
        self.attempts_timeout = 0
        self.added = 0
        self.ended = 0
        self.by_priority = dict.fromkeys(Priority, 0)
        self.waited = self.processed = 0.0
        self.last_end = began
        self._queued: dict[int, tuple[float, Priority]] = {}
        self._submitted: dict[int, tuple[float, Priority, float]] = {}
        self._durations: Counter[int] = Counter()

    def fold(self, events: Iterable[ev.Event]) -> None:
        """Takes in what happened, in order."""
        for event in events:
            match event:
                case ev.JobAdded():
                    self.added += 1
                case ev.JobQueued(at, seq, _, priority):
                    self.enqueued += 1
                    self.by_priority[priority] += 1
                    self._queued[seq] = (at, priority)
                case ev.AttemptSubmitted(_, seq, _, waited):
                    self.dequeued += 1
                    self.active += 1
                    self.waited += waited
                    self._submitted[seq] = (*self._leave(seq), waited)
                case ev.AttemptRefused(_, seq):
                    self.dequeued -= 1
                    self.active -= 1
                    since, priority, waited = self._submitted.pop(seq)
                    self.waited -= waited
                    self.by_priority[priority] += 1
                    self._queued[seq] = (since, priority)
                case ev.AttemptEnded(at=at, seq=seq, counted=count, asked=asked, began=began, ended=ended):
                    self.active -= 1
                    self._submitted.pop(seq, None)
                    self.counts[count] += 1
                    self.attempts_timeout += asked in (StopReason.TIMEOUT, StopReason.IDLE)
                    self.last_end = at
                    self._measure(ended - began)
                case ev.JobRemoved(_, seq):
                    self.dequeued += 1
                    self.removed += 1
                    self._leave(seq)
                case ev.JobEnded(at=at, outcome=outcome):
                    self.ended += 1
                    self.outcomes[outcome] += 1
                    self.last_end = at
                case ev.JobReopened(outcome=outcome):
                    self.ended -= 1
                    self.outcomes[outcome] -= 1
                case ev.JobDropped(_, seq, dropped):
                    self.added -= 1
                    if dropped is not None:
                        self.ended -= 1
                        self.outcomes[dropped] -= 1
                    elif seq in self._queued:
                        self.dequeued += 1
                        self.removed += 1
                        self._leave(seq)
                case ev.JobChanged(seq=seq, spec=spec) if seq in self._queued:
                    since, priority = self._queued[seq]
                    self.by_priority[priority] -= 1
                    self.by_priority[spec.priority] += 1
                    self._queued[seq] = (since, spec.priority)
                case _:
                    pass

    def snapshot(self, now: float | None = None) -> Metrics:
        """The numbers at `now` (default: when the last attempt or job ended)."""
        now = self.last_end if now is None else now
        ends = self.counts.total()
        elapsed = now - self.began
        return Metrics(
            jobs_enqueued=self.enqueued,
            jobs_dequeued=self.dequeued,
            jobs_completed=self.counts[Count.COMPLETED],
            jobs_failed=self.counts[Count.FAILED],
            jobs_timeout=self.counts[Count.TIMEOUT],
            jobs_retried=self.counts[Count.RETRIED],
            current_queue_size=self.enqueued - self.dequeued,
            active_workers=self.active,
            average_wait_time=self.waited / (ends + self.active) if ends + self.active else 0.0,
            average_processing=self.processed / ends if ends else 0.0,
            jobs_cancelled=self.outcomes[Outcome.CANCELLED],
            jobs_skipped=self.outcomes[Outcome.SKIPPED],
            jobs_removed=self.removed,
            attempts_stopped=self.counts[Count.STOPPED],
            attempts_timeout=self.attempts_timeout,
            queue_by_priority={p.name.lower(): self.by_priority[p] for p in sorted(Priority, reverse=True)},
            oldest_wait=max(0.0, now - next(iter(self._queued.values()))[0]) if self._queued else 0.0,
            p50_processing=self._percentile(0.50),
            p95_processing=self._percentile(0.95),
            throughput=self.ended / elapsed if elapsed > 0 else 0.0,
        )

    def _leave(self, seq: int) -> tuple[float, Priority]:
        since, priority = self._queued.pop(seq)
        self.by_priority[priority] -= 1
        return since, priority

    def _measure(self, seconds: float) -> None:
        self.processed += seconds
        # Buckets 1 % wide: any percentile of any number of attempts in little memory.
        self._durations[round(log(max(seconds, 1e-6)) / _STEP)] += 1

    def _percentile(self, share: float) -> float:
        wanted = ceil(share * self._durations.total())
        for bucket in sorted(self._durations):
            wanted -= self._durations[bucket]
            if wanted <= 0:
                return round(1.01**bucket, 6)
        return 0.0
