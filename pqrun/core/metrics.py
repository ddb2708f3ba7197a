# SPDX-License-Identifier: LGPL-3.0-or-later
"""[hot path] The ten metrics of the queue and a few more, folded from events, and the rate at which jobs end.

Two sums hold after every event:
enqueued - dequeued = queue size, and
dequeued = completed + failed + timeout + retried + active + stopped + removed.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from math import ceil, log
from typing import Any, NamedTuple

from pqrun.core import events as ev
from pqrun.core.job import CountedAs, Outcome, Priority, StopReason
from pqrun.core.text import format_duration

WINDOW_SECONDS = 60.0
MIN_ENDS = 5
SETTLING_SECONDS = 3.0
_STEP = log(1.01)
_TIME_LIMITS = (StopReason.TIMEOUT, StopReason.IDLE)


class Metrics(NamedTuple):
    """A snapshot of the metrics. Times in seconds; `throughput` in ended jobs per second since the start."""

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
        """Return the metrics by name, in the order above."""
        return self._asdict()

    def rounded(self) -> dict[str, Any]:
        """Return the metrics by name, rounded to six digits, so that all reports and answers have equal numbers."""
        return {name: round(n, 6) if isinstance(n, float) else n for name, n in self._asdict().items()}

    def ten(self) -> list[tuple[str, str]]:
        """Return the ten metrics of the queue as people read them: their names, and numbers or durations."""
        return [(_read_as(name), _shown(getattr(self, name))) for name in CORE_METRICS]


CORE_METRICS = Metrics._fields[:10]


def _read_as(name: str) -> str:
    return name.removeprefix("jobs_").replace("_", " ").replace("average", "avg").replace("current ", "")


def _shown(value: float) -> str:
    return str(value) if isinstance(value, int) else format_duration(value)


class MetricsCollector:
    """A fold of events into metrics."""

    def __init__(self, began: float = 0.0) -> None:
        self.began = began
        self.enqueued = self.dequeued = self.removed = self.active = 0
        self.counts: Counter[CountedAs] = Counter()
        self.outcomes: Counter[Outcome] = Counter()
        self.attempts_timeout = 0
        self.added = 0
        self.ended = 0
        self.by_priority = dict.fromkeys(Priority, 0)
        self.waited = self.processed = 0.0
        self.last_end = began
        self._queued: dict[int, tuple[float, Priority]] = {}
        self._entry = (began, Priority.NORMAL)
        self._submitted: dict[int, tuple[tuple[float, Priority], float]] = {}
        self._durations: Counter[int] = Counter()
        # Looked up by type: a `match` that tried one pattern after another took longer than the folds.
        self._folds: dict[type, Callable[[Any], None]] = {
            ev.JobAdded: self._added,
            ev.JobQueued: self._enqueue,
            ev.AttemptSubmitted: self._submit,
            ev.AttemptRefused: self._refuse,
            ev.AttemptEnded: self._end_attempt,
            ev.JobRemoved: self._remove,
            ev.JobEnded: self._end,
            ev.JobReopened: self._reopen,
            ev.JobDropped: self._drop,
            ev.JobChanged: self._change,
        }

    def fold(self, events: Sequence[ev.Event]) -> None:
        """Fold a batch of events, in order."""
        for event, fold in zip(events, map(self._folds.get, map(type, events)), strict=True):
            if fold is not None:
                fold(event)

    def _added(self, _: ev.JobAdded) -> None:
        self.added += 1

    def _enqueue(self, event: ev.JobQueued) -> None:
        at, seq, _, priority = event
        self.enqueued += 1
        self.by_priority[priority] += 1
        if self._entry != (at, priority):  # jobs queued in one turn share one tuple, to save memory
            self._entry = (at, priority)
        self._queued[seq] = self._entry

    def _submit(self, event: ev.AttemptSubmitted) -> None:
        _, seq, _, waited = event
        self.dequeued += 1
        self.active += 1
        self.waited += waited
        entry = self._queued.pop(seq)
        self.by_priority[entry[1]] -= 1
        self._submitted[seq] = (entry, waited)

    def _refuse(self, event: ev.AttemptRefused) -> None:
        self.dequeued -= 1
        self.active -= 1
        entry, waited = self._submitted.pop(event.seq)
        self.waited -= waited
        self.by_priority[entry[1]] += 1
        self._queued[event.seq] = entry

    def _end_attempt(self, event: ev.AttemptEnded) -> None:
        at, seq, _, counted, _, asked, began, ended, _, _, _, _ = event
        self.active -= 1
        self._submitted.pop(seq, None)
        self.counts[counted] += 1
        if asked is not None and asked in _TIME_LIMITS:
            self.attempts_timeout += 1
        self.last_end = at
        seconds = ended - began
        self.processed += seconds
        # Buckets 1 % wide keep the percentiles of any number of attempts in little memory.
        self._durations[round(log(seconds if seconds > 1e-6 else 1e-6) / _STEP)] += 1

    def _remove(self, event: ev.JobRemoved) -> None:
        self.dequeued += 1
        self.removed += 1
        self._leave(event.seq)

    def _end(self, event: ev.JobEnded) -> None:
        self.ended += 1
        self.outcomes[event.outcome] += 1
        self.last_end = event.at

    def _reopen(self, event: ev.JobReopened) -> None:
        self.ended -= 1
        self.outcomes[event.outcome] -= 1

    def _drop(self, event: ev.JobDropped) -> None:
        self.added -= 1
        if event.outcome is not None:
            self.ended -= 1
            self.outcomes[event.outcome] -= 1
        elif event.seq in self._queued:
            self.dequeued += 1
            self.removed += 1
            self._leave(event.seq)

    def _change(self, event: ev.JobChanged) -> None:
        if event.seq in self._queued:
            since, priority = self._queued[event.seq]
            self.by_priority[priority] -= 1
            self.by_priority[event.spec.priority] += 1
            self._queued[event.seq] = (since, event.spec.priority)

    @property
    def average_processing(self) -> float:
        """The seconds that an attempt took on average; 0 before the first has ended."""
        ends = self.counts.total()
        return self.processed / ends if ends else 0.0

    def snapshot(self, now: float | None = None) -> Metrics:
        """Return the metrics at the time `now` (default: the end of the last attempt or job)."""
        now = self.last_end if now is None else now
        ends = self.counts.total()
        elapsed = now - self.began
        return Metrics(
            jobs_enqueued=self.enqueued,
            jobs_dequeued=self.dequeued,
            jobs_completed=self.counts[CountedAs.COMPLETED],
            jobs_failed=self.counts[CountedAs.FAILED],
            jobs_timeout=self.counts[CountedAs.TIMEOUT],
            jobs_retried=self.counts[CountedAs.RETRIED],
            current_queue_size=self.enqueued - self.dequeued,
            active_workers=self.active,
            average_wait_time=self.waited / (ends + self.active) if ends + self.active else 0.0,
            average_processing=self.average_processing,
            jobs_cancelled=self.outcomes[Outcome.CANCELLED],
            jobs_skipped=self.outcomes[Outcome.SKIPPED],
            jobs_removed=self.removed,
            attempts_stopped=self.counts[CountedAs.STOPPED],
            attempts_timeout=self.attempts_timeout,
            queue_by_priority={p.name.lower(): self.by_priority[p] for p in sorted(Priority, reverse=True)},
            oldest_wait=max(0.0, now - next(iter(self._queued.values()))[0]) if self._queued else 0.0,
            p50_processing=self._percentile(0.50),
            p95_processing=self._percentile(0.95),
            throughput=self.ended / elapsed if elapsed > 0 else 0.0,
        )

    def _leave(self, seq: int) -> None:
        _, priority = self._queued.pop(seq)
        self.by_priority[priority] -= 1

    def _percentile(self, share: float) -> float:
        """Return the duration in seconds within which `share` (0 to 1) of all attempts ended."""
        wanted = ceil(share * self._durations.total())
        for bucket in sorted(self._durations):
            wanted -= self._durations[bucket]
            if wanted <= 0:
                return round(1.01**bucket, 6)
        return 0.0


class Throughput:
    """Counts of ended jobs in slices of a second. If few ended in the last minute, the last few count.

    `expected` returns the seconds, at a time, until a number of jobs has ended by the times of earlier runs. It is
    asked while the rate is unknown. One thread counts; any thread may ask.
    """

    def __init__(self, began: float, expected: Callable[[float, int], float | None] | None = None) -> None:
        self.began = began
        self.expected = expected
        self._slices: deque[list[float]] = deque()
        self._recent: deque[float] = deque(maxlen=MIN_ENDS)

    def count(self, at: float, jobs: int = 1) -> None:
        """Count jobs that ended at this time."""
        self._recent.extend([at] * min(jobs, MIN_ENDS))
        if self._slices and at - self._slices[-1][0] < 1.0:
            self._slices[-1][1] += jobs
        else:
            self._slices.append([at, jobs])
            while at - self._slices[0][0] > WINDOW_SECONDS:
                self._slices.popleft()

    def per_second(self, now: float) -> float | None:
        """Return the jobs ended per second, or None while too few have ended to tell."""
        if len(self._recent) < MIN_ENDS or now - self.began < SETTLING_SECONDS:
            return None
        ended = sum(int(jobs) for at, jobs in list(self._slices) if now - at <= WINDOW_SECONDS)
        if ended >= MIN_ENDS:
            return ended / min(WINDOW_SECONDS, now - self.began)
        return MIN_ENDS / max(now - self._recent[0], WINDOW_SECONDS)

    def eta(
        self,
        now: float,
        left: int,
        *,
        waiting: int = 0,
        delayed: int = 0,
        last_retry: float = 0.0,
        chain: float = 0.0,
    ) -> float | None:
        """Return the estimated seconds until `left` more jobs have ended, or None if that is unknown.

        `waiting` of them wait for a retry or, `delayed` of these, for a time; the last of them has run in
        `last_retry` seconds. A delayed job takes no worker until then, so it does not count at the present rate.
        `chain`: the seconds that the longest chain of needs takes, however many workers there are.
        """
        rate = self.per_second(now)
        if left <= 0:
            return None
        if not rate and waiting < left:
            return None if self.expected is None else self.expected(now, left)
        by_rate = (left - delayed) / rate if rate else 0.0
        return max(by_rate, last_retry if waiting else 0.0, chain)
