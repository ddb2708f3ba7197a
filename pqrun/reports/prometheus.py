# SPDX-License-Identifier: LGPL-3.0-or-later
"""Prometheus metrics: a file for the textfile collector, or an HTTP endpoint. Needs prometheus-client.

The only labels are priority and outcome. Job names as labels would make far too many time series.
"""

from __future__ import annotations

import os
import re
import socket
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from threading import Lock
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from pqrun.core import events as ev
from pqrun.core.errors import UserError
from pqrun.core.job import CountedAs, Outcome, Priority
from pqrun.core.metrics import MetricsCollector
from pqrun.reports.run_info import Ending, RunInfo
from pqrun.reports.targets import AtomicFile

BOUNDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)
BUCKETS = [*(str(bound) for bound in BOUNDS), "+Inf"]


class Histogram:
    """A histogram of durations in seconds."""

    def __init__(self) -> None:
        self.sum = 0.0
        self._counts = [0] * len(BUCKETS)

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.sum += seconds
        self._counts[bisect_left(BOUNDS, seconds)] += 1

    def cumulated(self) -> list[int]:
        """Return for each bucket how many durations were at most its bound."""
        return list(accumulate(self._counts))


class PrometheusTotals:
    """The totals of a run. Counters never decrease, because Prometheus takes a decrease for a restart."""

    def __init__(self, began: float, workers: int) -> None:
        self.metrics = MetricsCollector(began)
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

    def on_events(self, events: Iterable[ev.Event]) -> None:
        """Process the events, in order."""
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
        """Make the totals final. Unless `live`, the running attempts count as interrupted.

        A job whose start was refused is back in the queue, so it is taken out of the count of jobs that
        left. Done here and not earlier, because a counter must not decrease during the run.
        """
        for priority in self._refused.values():
            self.dequeued[priority] -= 1
        self._refused.clear()
        for seq, waited in self._waited.items() if not live else ():
            priority = self._priority[seq]
            self.attempts[priority, str(CountedAs.STOPPED)] += 1
            self.jobs[priority, str(Outcome.INTERRUPTED)] += 1
            self.waits[priority].observe(waited)
            self.processing[priority].observe(0.0)

    def _take_back(self, outcome: Outcome, *priorities: Priority) -> None:
        """Undo the count of a job's end. This happens only on `resume`, before the first scrape."""
        for priority in priorities:
            if self.jobs[priority, str(outcome)] > 0:
                self.jobs[priority, str(outcome)] -= 1
                return

    def _leaves(self, seq: int) -> None:
        if self._refused.pop(seq, None) is None:  # a refused job was counted when it left the first time
            self.dequeued[self._priority[seq]] += 1

    def _ended(self, event: ev.AttemptEnded) -> None:
        priority = self._priority[event.seq]
        self.attempts[priority, str(event.counted)] += 1
        self.user += event.usage.user
        self.system += event.usage.system
        self.waits[priority].observe(self._waited.pop(event.seq, 0.0))
        self.processing[priority].observe(event.ended - event.began)


LEVELS = {priority: priority.name.lower() for priority in Priority}


class RunMetrics(Collector):
    """The metric families of a run, made from the totals at each scrape. Safe to call on any thread."""

    def __init__(self, run: RunInfo, last_success: float | None = None) -> None:
        self.tally = PrometheusTotals(run.began, run.workers or 0)
        self.registry = CollectorRegistry()
        self._run = run
        self._last_success = last_success
        self._ending: Ending | None = None
        self._lock = Lock()
        self.registry.register(self)

    def on_events(self, events: Sequence[ev.Event]) -> None:
        """Process the events. Called on the dispatcher thread."""
        with self._lock:
            self.tally.on_events(events)

    def finish(self, ending: Ending) -> None:
        """Set the run's exit code and end."""
        with self._lock:
            self._ending = ending
            self.tally.close(live=ending.live)
            if ending.code == 0 and not ending.live:
                self._last_success = self._run.wall(self.tally.metrics.last_end)

    def describe(self) -> Iterable[Any]:
        """Return no families: without this the registry would collect before the run has begun."""
        return ()

    def collect(self) -> Iterator[Any]:
        """Return all metric families. Called on an HTTP thread, or on the thread that writes the file."""
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
            about = "When the last job of the last successful run ended"
            yield GaugeMetricFamily("pqrun_run_last_success_timestamp_seconds", about, self._last_success)


def _by_priority(name: str, about: str, count: Callable[[Priority], int]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"pqrun_{name}", about, labels=["priority"])
    for priority, level in LEVELS.items():
        family.add_metric([level], count(priority))
    return family


WRITE_INTERVAL_SECONDS = 15.0
_LAST_SUCCESS = re.compile(rb"^pqrun_run_last_success_timestamp_seconds (\S+)$", re.MULTILINE)


class PromFile:
    """The metrics file, written at the start, every 15 seconds and at the end."""

    def __init__(self, target: AtomicFile, run: RunInfo, now: Callable[[], float]) -> None:
        self.target = target
        self._numbers = RunMetrics(run, _last_success(target.path))
        self._now = now
        self._next = 0.0

    def on_events(self, events: Sequence[ev.Event]) -> None:
        """Process the events."""
        self._numbers.on_events(events)

    def tick(self) -> float:
        """Write the file if that is due; return the seconds until the next time."""
        if self._now() >= self._next:
            self._next = self._now() + WRITE_INTERVAL_SECONDS
            self._write()
        return self._next - self._now()

    def finish(self, ending: Ending) -> None:
        """Write the file for the last time."""
        self._numbers.finish(ending)
        self._write()

    def _write(self) -> None:
        self.target.write([generate_latest(self._numbers.registry)])


class MetricsEndpoint:
    """An HTTP endpoint that answers Prometheus until the run ends."""

    def __init__(self, address: str, run: RunInfo) -> None:
        self._numbers = RunMetrics(run)
        host, port = host_and_port(address)
        try:
            self._server, _ = start_http_server(port, host, self._numbers.registry)
        except OSError as error:
            raise cannot_listen(address, error) from None

    def on_events(self, events: Sequence[ev.Event]) -> None:
        """Process the events."""
        self._numbers.on_events(events)

    def finish(self, ending: Ending) -> None:
        """Stop the HTTP server."""
        self._server.shutdown()
        self._server.server_close()


def check_address(address: str) -> None:
    """Raise `UserError` if no server can listen at the address."""
    host, port = host_and_port(address)
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except (OSError, UnicodeError) as error:
        raise cannot_listen(address, error) from None


def host_and_port(address: str) -> tuple[str, int]:
    """Return host and port of `127.0.0.1:9464`, `[::1]:9464`, or of a port alone (this machine only).

    Raises `UserError` if the text is no address.
    """
    host, _, port = address.rpartition(":")
    if address.startswith(":") or not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        hint = "write 127.0.0.1:9464, or 0.0.0.0:9464 to allow other machines to read it"
        raise UserError(f"--metrics-listen: not an address: `{address}` ({hint})")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


def cannot_listen(address: str, error: OSError | UnicodeError) -> UserError:
    """Return the error for the user."""
    why = getattr(error, "strerror", None) or error
    return UserError(f"--metrics-listen: cannot listen on {address}: {why}")


def _last_success(path: str) -> float | None:
    """Return the time of the last successful run from an earlier file, in case this run fails."""
    try:
        if not os.path.isfile(path):
            return None
        with open(path, "rb") as file:
            found = _LAST_SUCCESS.search(file.read(1 << 20))
        return float(found[1]) if found else None
    except (OSError, ValueError):
        return None
