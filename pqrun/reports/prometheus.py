# SPDX-License-Identifier: LGPL-3.0-or-later
"""A run's numbers for Prometheus: as a file for the textfile collector, or to be asked for over HTTP.

Needs prometheus-client. Priority and outcome are the only labels: what jobs are called would be too many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import Lock
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from pqrun import events as ev
from pqrun.model import Priority
from pqrun.reports.facts import Ending, RunFacts
from pqrun.reports.tally import BUCKETS, Tally

LEVELS = {priority: priority.name.lower() for priority in Priority}


class Numbers(Collector):
    """The run as metric families, whenever somebody asks."""

    def __init__(self, run: RunFacts, last_success: float | None = None) -> None:
        self.tally = Tally(run.began, run.workers or 0)
        self.registry = CollectorRegistry()
        self._run = run
        self._last_success = last_success
        self._ending: Ending | None = None
        self._lock = Lock()
        self.registry.register(self)

    def hear(self, events: Sequence[ev.Event]) -> None:
        """Takes in what happened."""
        with self._lock:
            self.tally.hear(events)

    def finish(self, ending: Ending) -> None:
        """It is known how it ended."""
        with self._lock:
            self._ending = ending
            self.tally.close(live=ending.live)
            if ending.code == 0 and not ending.live:
                self._last_success = self._run.wall(self.tally.metrics.last_end)

    def describe(self) -> Iterable[Any]:
        """Nothing is asked for before the run has begun."""
        return ()

    def collect(self) -> Iterator[Any]:
        """All families."""
        with self._lock:
            return iter([*self._counters(), *self._histograms(), *self._gauges()])

    def _counters(self) -> Iterator[CounterMetricFamily]:
        tally = self.tally
        yield _by_priority("jobs_enqueued", "Times that a job entered the queue", tally.enqueued.__getitem__)
        yield _by_priority("jobs_dequeued", "Times that a job left the queue", tally.dequeued.__getitem__)
        for name, about, found in (
            ("jobs_ended", "Jobs that ended for good", tally.jobs),
            ("attempts_ended", "Attempts that ended, as what they count", tally.attempts),
        ):
            ended = CounterMetricFamily(f"pqrun_{name}", about, labels=["priority", "outcome"])
            for (priority, outcome), count in sorted(found.items()):
                ended.add_metric([LEVELS[priority], outcome], count)
            yield ended
        for mode, seconds in (("user", tally.user), ("system", tally.system)):
            yield CounterMetricFamily(
                f"pqrun_cpu_{mode}_seconds", f"CPU time that attempts took in {mode} mode", seconds
            )

    def _histograms(self) -> Iterator[HistogramMetricFamily]:
        for name, about, found in (
            ("wait", "Time in the queue before an attempt", self.tally.waits),
            ("processing", "Time that an attempt took", self.tally.processing),
        ):
            family = HistogramMetricFamily(f"pqrun_job_{name}_seconds", about, labels=["priority"])
            for priority, level in LEVELS.items():
                counts, total = found[priority].cumulated(), found[priority].sum
                family.add_metric([level], list(zip(BUCKETS, counts, strict=True)), total)
            yield family

    def _gauges(self) -> Iterator[GaugeMetricFamily]:
        tally, ending = self.tally, self._ending
        now = tally.metrics.snapshot()
        queued = now.queue_by_priority or {}
        sizes = GaugeMetricFamily("pqrun_queue_size", "Jobs in the queue", labels=["priority"])
        for level in LEVELS.values():
            sizes.add_metric([level], queued.get(level, 0))
        yield sizes
        for name, about, value in (
            ("workers", "Jobs that may run at a time", tally.workers),
            ("workers_active", "Jobs that run", now.active_workers if ending is None or ending.live else 0),
            ("jobs", "Jobs known to the run", tally.metrics.added),
            ("run_start_timestamp_seconds", "When the run began", self._run.wall(self._run.began)),
        ):
            yield GaugeMetricFamily(f"pqrun_{name}", about, value)
        if ending is not None and not ending.live:
            end = self._run.wall(tally.metrics.last_end)
            yield GaugeMetricFamily("pqrun_run_end_timestamp_seconds", "When its last job ended", end)
            yield GaugeMetricFamily("pqrun_run_exit_code", "How the run ended", ending.code)
        if self._last_success is not None:
            about = "When the last job of the last run that went well ended"
            yield GaugeMetricFamily("pqrun_run_last_success_timestamp_seconds", about, self._last_success)


def _by_priority(name: str, about: str, count: Callable[[Priority], int]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"pqrun_{name}", about, labels=["priority"])
    for priority, level in LEVELS.items():
        family.add_metric([level], count(priority))
    return family
