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
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from time import monotonic
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from pqrun.core import events as ev
from pqrun.core.errors import UserError
from pqrun.core.events import Handler
from pqrun.core.job import CountedAs, Outcome, Priority
from pqrun.core.job_row import QUEUED, JobRow
from pqrun.core.job_table import JobTable
from pqrun.reports.report import Ending, Report, RunInfo
from pqrun.reports.targets import AtomicFile

WRITE_INTERVAL_SECONDS = 15.0
LEVELS = {priority: priority.name.lower() for priority in Priority}
BOUNDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)
BUCKETS = [*(str(bound) for bound in BOUNDS), "+Inf"]
_LAST_SUCCESS = re.compile(rb"^pqrun_run_last_success_timestamp_seconds (\S+)$", re.MULTILINE)


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

    def __init__(self, table: JobTable, workers: int) -> None:
        self.table = table
        self.workers = workers
        self.enqueued: Counter[Priority] = Counter()
        self.dequeued: Counter[Priority] = Counter()
        self.jobs: Counter[tuple[Priority, str]] = Counter()
        self.attempts: Counter[tuple[Priority, str]] = Counter()
        self.waits = {priority: Histogram() for priority in Priority}
        self.processing = {priority: Histogram() for priority in Priority}
        self.user = self.system = 0.0
        self._refused: dict[int, Priority] = {}
        self.handlers: dict[type, Handler] = {
            ev.JobQueued: self._queued,
            ev.AttemptSubmitted: self._leaves,
            ev.AttemptRefused: self._refuse,
            ev.AttemptEnded: self._attempt_ended,
            ev.JobRemoved: self._leaves,
            ev.JobEnded: self._ended,
            ev.JobReopened: self._reopened,
            ev.JobDropped: self._dropped,
            ev.SlotsChanged: self._slots_changed,
            ev.WorkersChanged: self._workers_changed,
        }

    def close(self, *, live: bool) -> None:
        """Make the totals final. Unless `live`, the running attempts count as interrupted.

        A job whose start was refused is back in the queue, so it is taken out of the count of jobs that
        left. Done here and not earlier, because a counter must not decrease during the run.
        """
        for priority in self._refused.values():
            self.dequeued[priority] -= 1
        self._refused.clear()
        for row in self.table.running.values() if not live else ():
            self.attempts[row.priority, str(CountedAs.STOPPED)] += 1
            self.jobs[row.priority, str(Outcome.INTERRUPTED)] += 1
            self.waits[row.priority].observe(row.waited or 0.0)
            self.processing[row.priority].observe(0.0)

    def _take_back(self, outcome: Outcome, *priorities: Priority) -> None:
        """Undo the count of a job's end. This happens only on `resume`, before the first scrape."""
        for priority in priorities:
            if self.jobs[priority, str(outcome)] > 0:
                self.jobs[priority, str(outcome)] -= 1
                return

    def _queued(self, event: ev.JobQueued, _: JobRow) -> None:
        self.enqueued[event.priority] += 1

    def _leaves(self, event: ev.AttemptSubmitted | ev.JobRemoved, row: JobRow) -> None:
        # A refused job was counted when it left the first time.
        if self._refused.pop(event.seq, None) is None:
            self.dequeued[row.priority] += 1

    def _refuse(self, event: ev.AttemptRefused, row: JobRow) -> None:
        self._refused[event.seq] = row.priority

    def _attempt_ended(self, event: ev.AttemptEnded, row: JobRow) -> None:
        self.attempts[row.priority, str(event.counted)] += 1
        self.user += event.usage.user
        self.system += event.usage.system
        self.waits[row.priority].observe(row.waited or 0.0)
        self.processing[row.priority].observe(event.ended - event.began)

    def _ended(self, event: ev.JobEnded, row: JobRow) -> None:
        self.jobs[row.priority, str(event.outcome)] += 1

    def _reopened(self, event: ev.JobReopened, row: JobRow) -> None:
        self._take_back(event.outcome, row.priority)

    def _dropped(self, event: ev.JobDropped, _: JobRow | None) -> None:
        if event.outcome is not None:
            self._take_back(event.outcome, *Priority)

    def _slots_changed(self, event: ev.SlotsChanged, _: None) -> None:
        self.workers = event.slots

    def _workers_changed(self, event: ev.WorkersChanged, _: None) -> None:
        self.workers = event.workers


class RunMetrics(Collector):
    """The metric families of a run, made from the totals at each scrape. Safe to call on any thread."""

    def __init__(self, run: RunInfo, table: JobTable, last_success: float | None = None) -> None:
        self.totals = PrometheusTotals(table, run.workers or 0)
        self.registry = CollectorRegistry()
        self._run = run
        self._last_success = last_success
        self._ending: Ending | None = None
        self.registry.register(self)

    def finish(self, ending: Ending) -> None:
        """Set the run's exit code and end."""
        self._ending = ending
        self.totals.close(live=ending.live)
        if ending.code == 0 and not ending.live:
            self._last_success = self._run.wall(self.totals.table.last_end)

    def describe(self) -> Iterable[Any]:
        """Return no families: without this the registry would collect before the run has begun."""
        return ()

    def collect(self) -> Iterator[Any]:
        """Return all metric families. Called on an HTTP thread, or on the thread that writes the file."""
        return iter([*self._counters(), *self._histograms(), *self._gauges()])

    def _counters(self) -> Iterator[CounterMetricFamily]:
        totals = self.totals
        yield _by_priority("jobs_enqueued", "Times that a job entered the queue", totals.enqueued.__getitem__)
        yield _by_priority("jobs_dequeued", "Times that a job left the queue", totals.dequeued.__getitem__)
        for name, about, found in (
            ("jobs_ended", "Jobs that ended for good", totals.jobs),
            ("attempts_ended", "Attempts that ended, as what they count", totals.attempts),
        ):
            ended = CounterMetricFamily(f"pqrun_{name}", about, labels=["priority", "outcome"])
            for (priority, outcome), count in sorted(found.items()):
                ended.add_metric([LEVELS[priority], outcome], count)
            yield ended
        for mode, seconds in (("user", totals.user), ("system", totals.system)):
            yield CounterMetricFamily(
                f"pqrun_cpu_{mode}_seconds", f"CPU time that attempts took in {mode} mode", seconds
            )

    def _histograms(self) -> Iterator[HistogramMetricFamily]:
        for name, about, found in (
            ("wait", "Time in the queue before an attempt", self.totals.waits),
            ("processing", "Time that an attempt took", self.totals.processing),
        ):
            family = HistogramMetricFamily(f"pqrun_job_{name}_seconds", about, labels=["priority"])
            for priority, level in LEVELS.items():
                counts, total = found[priority].cumulated(), found[priority].sum
                family.add_metric([level], list(zip(BUCKETS, counts, strict=True)), total)
            yield family

    def _gauges(self) -> Iterator[GaugeMetricFamily]:
        table, ending = self.totals.table, self._ending
        queued = Counter(row.priority for row in list(table.rows.values()) if row.state == QUEUED)
        sizes = GaugeMetricFamily("pqrun_queue_size", "Jobs in the queue", labels=["priority"])
        for priority, level in LEVELS.items():
            sizes.add_metric([level], queued[priority])
        yield sizes
        for name, about, value in (
            ("workers", "Jobs that may run at a time", self.totals.workers),
            ("workers_active", "Jobs that run", len(table.running) if ending is None or ending.live else 0),
            ("jobs", "Jobs known to the run", table.added),
            ("run_start_timestamp_seconds", "When the run began", self._run.wall(self._run.began)),
        ):
            yield GaugeMetricFamily(f"pqrun_{name}", about, value)
        if ending is not None and not ending.live:
            end = self._run.wall(table.last_end)
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


class PromFile(Report):
    """The metrics file, written at the start, every 15 seconds and at the end."""

    def __init__(self, target: AtomicFile, run: RunInfo, table: JobTable) -> None:
        self.option = target.option
        self._target = target
        self._numbers = RunMetrics(run, table, _last_success(target.path))
        self.handlers = self._numbers.totals.handlers
        self._next = 0.0

    def tick(self) -> float:
        """Write the file if that is due; return the seconds until the next time."""
        if monotonic() >= self._next:
            self._next = monotonic() + WRITE_INTERVAL_SECONDS
            self._write()
        return self._next - monotonic()

    def finish(self, ending: Ending) -> None:
        """Write the file for the last time."""
        self._numbers.finish(ending)
        self._write()

    def _write(self) -> None:
        self._target.write([generate_latest(self._numbers.registry)])


class MetricsEndpoint(Report):
    """An HTTP endpoint that answers Prometheus until the run ends."""

    option = "--metrics-listen"

    def __init__(self, address: str, run: RunInfo, table: JobTable) -> None:
        numbers = RunMetrics(run, table)
        self.handlers = numbers.totals.handlers
        host, port = host_and_port(address)
        try:
            self._server, _ = start_http_server(port, host, numbers.registry)
        except OSError as error:
            raise cannot_listen(address, error) from None

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
