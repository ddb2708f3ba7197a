# SPDX-License-Identifier: LGPL-3.0-or-later
"""All parts of a run: created and opened in dependency order, and closed again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from pqrun.core.errors import InternalFailure
from pqrun.core.events import Observer
from pqrun.core.job_table import JobTable
from pqrun.core.metrics import Metrics, MetricsCollector
from pqrun.core.scheduler import Scheduler
from pqrun.core.settings import MAX_QUEUE, REPORT_FILES, Settings
from pqrun.core.start_policy import GIVE_UP_SECONDS, StartRateLimiter
from pqrun.engine.clock import SystemClock
from pqrun.engine.dispatcher import EventDispatcher, Observers
from pqrun.engine.engine import Engine
from pqrun.engine.reactor import Reactor
from pqrun.engine.signals import SignalPolicy, current_directory
from pqrun.executors.local.usage import UsageMonitor
from pqrun.input import JobInput
from pqrun.journal.run_record import RunRecord
from pqrun.reports.report import NoReports, RunInfo
from pqrun.ui.observers import RunDisplay, outlets, title_of

if TYPE_CHECKING:
    from pqrun.app.queue_maintenance import QueueMaintenance
    from pqrun.control.server import ControlServer
    from pqrun.core.job import AttemptId, JobSpec
    from pqrun.core.median_timeout import MedianLimit
    from pqrun.core.past import KnownDurations
    from pqrun.engine.executor import Backend
    from pqrun.engine.live_run import InputStream, JobHistory, JobStdin, JobUsage
    from pqrun.journal.past import BackgroundLook
    from pqrun.journal.restart_plan import RestartPlan
    from pqrun.output.store import Capture
    from pqrun.reports.report_set import ReportSet
    from pqrun.reports.results_dir import ResultsDirectory

LOOK_BACK_AFTER_SECONDS = 1.0
"""A shorter run has no use for the times of earlier runs."""


class RunParts:
    """The parts of one process's part of a run. They ask it, as a `LiveRun`, for what other parts know.

    Created without a thread, process or file; `open` adds these. `begun`: whether the record was begun and
    the run's threads have started. Only a queue has `maintenance`.
    """

    def __init__(
        self,
        settings: Settings,
        source: JobInput,
        record: RunRecord,
        backend: Backend,
        reports: ReportSet | NoReports,
        restart: RestartPlan | None,
        maintenance: QueueMaintenance | None = None,
        past: KnownDurations | None = None,
    ) -> None:
        self.settings = settings
        self.source = source
        self.record = record
        self.backend = backend
        self.reports = reports
        self.restart = restart
        self.maintenance = maintenance
        self.past = past
        self.clock = SystemClock()
        self.files = tuple(settings.input.files or (record.found.header["files"] if record.found else ()))
        said = settings.limits.jobs or source.workers
        self.first_workers = (restart and restart.workers) or backend.count_workers(said)
        self.out, self.err = outlets(settings.output)
        self.reactor = Reactor()
        self.collector = MetricsCollector(record.found.header["at"] if record.found else self.clock.now())
        began = self.clock.now() if record.found else self.collector.began
        self.table = JobTable(began, keeps_ended=settings.output.json)
        self._look: BackgroundLook | None = None
        if past is not None or record.keeps:
            self.table.rate.expected = self._expected_seconds
        self.display = RunDisplay(settings.output, self.table, self.clock, self.out, self.err)
        if self.display.printer is not None and self._reports_to_stdout():
            self.display.printer.stop_passing()
        self.results = self._results_directory()
        self.scheduler = self._new_scheduler()
        self.usage_monitor = UsageMonitor(self)
        self.server: ControlServer | None = None
        self.begun = False

    def _reports_to_stdout(self) -> bool:
        paths = [path for name in REPORT_FILES if (path := getattr(self.settings.reports, name)) is not None]
        if not paths:
            return False
        from pqrun.reports.targets import same_file

        return any(same_file(path, "-") for path in paths)

    def _results_directory(self) -> ResultsDirectory | None:
        if self.settings.reports.results is None:
            return None
        from pqrun.reports.results_dir import ResultsDirectory

        known = self.record.found.jobs.values() if self.record.found else ()
        return ResultsDirectory(self.settings.reports.results, self.clock.wall, known)

    def _new_scheduler(self) -> Scheduler:
        limits, source, restart = self.settings.limits, self.source, self.restart
        return Scheduler(
            pools=restart.pools if restart is not None else self.settings.input.pools or source.pools,
            max_queue=limits.max_queue or source.max_queue or MAX_QUEUE,
            halt=limits.halt,
            pace=StartRateLimiter(limits.delay or 0.0, limits.rate),
            deadline=inf if limits.deadline is None else self.clock.now() + limits.deadline,
            seed=self.record.run_id,
            patience=inf if self.endless else GIVE_UP_SECONDS,
            median=self._median_limit(),
            past=self.past if limits.order == "longest-first" else None,
            remembers_ended=self.maintenance.keep if self.maintenance is not None else inf,
        )

    def _median_limit(self) -> MedianLimit | None:
        percent = self.settings.limits.median_timeout
        if percent is None:
            return None
        from pqrun.core.median_timeout import MedianLimit

        return MedianLimit(percent, () if self.record.found is None else self.record.found.durations())

    def _expected_seconds(self, now: float, left: int) -> float | None:
        """Return the seconds until `left` jobs have ended by the times of earlier runs; None while unknown.

        Called on the dispatcher thread, by parts that show the time left. So a run that nobody watches reads
        nothing of the past.
        """
        past = self.past if self.past is not None else self._earlier_times(now)
        if past is None:
            return None
        from pqrun.core.past import expected_seconds

        average = 0.0 if self.record.found is None else self.collector.average_processing
        return expected_seconds(
            past, self.table.rows.values(), self.workers(), now, left=left, average=average
        )

    def _earlier_times(self, now: float) -> KnownDurations | None:
        """Return the times of jobs in earlier runs of the same source. They are read when they are first wanted."""
        if now - self.table.rate.began < LOOK_BACK_AFTER_SECONDS:
            return None
        if self._look is None:
            from pqrun.journal.past import BackgroundLook

            assert self.record.directory is not None
            look = BackgroundLook(self.record.directory)
            found = look.durations(lambda: [row.spec for row in self.table.rows.values()])
            self._look = look  # only now, because `seconds_left` must not wait for it on another thread
            return found
        return self._look.durations(list)

    # Opening and closing

    def open(self) -> None:
        """Open all parts, in dependency order. No job has started then."""
        self.backend.open(self.record, self.directory, self.reactor)  # forks, so there is no thread yet
        self._begin_record()
        self.display.open_live(
            self,
            self.reactor,
            self.backend.watchdogs,
            began=self.collector.began,
            title="serve" if self.endless else title_of(self.settings.input, self.files),
            address=self.record.address,
            unread=self.source.unread,
            job_count=self.source.job_count,
        )
        self._begin_reports()
        self.observers = self._observers()
        self.dispatcher = EventDispatcher(self.observers, self._caught_up)
        self.signals = SignalPolicy(self.reactor, self.clock, suspend=self._suspend, tell=self._list_running)
        if self.record.directory is not None:
            self._open_socket(self.record.directory.socket)
        self.engine = Engine(
            clock=self.clock,
            scheduler=self.scheduler,
            reactor=self.reactor,
            journal=self.record.journal,
            metrics=self.collector,
            dispatcher=self.dispatcher,
            executor=partial(self.backend.executor, self.first_workers, self),
            machine=self.backend.machine,
            after_turn=[part.on_events for part in (self.server, self.maintenance) if part is not None],
        )

    def begin(self) -> None:
        """Say the warnings, and start the threads."""
        for warning in self.source.warnings:
            self.err.say(warning)
        self.dispatcher.start()
        self.usage_monitor.start()
        self.record.watch(self._look_after)
        self.begun = True

    def close(self) -> None:
        """Restore the terminal, and close the record. Safe to call in any state."""
        self.display.close()
        if self.maintenance is not None:
            self.maintenance.close()
        if self.server is not None and not self.begun:
            self.server.close(broken=True)
        nothing_ran = not self.table.added and not self.endless
        try:
            self.record.close(discard=not self.begun or nothing_ran)
        except InternalFailure:
            if self.begun and self.engine.broken is None:  # else an earlier failure was reported
                raise

    def write_failures(self) -> list[str]:
        """Return the messages of all outputs that could not be written."""
        results = self.results.failure if self.results is not None else ""
        return self.display.failures() + ([results] if results else [])

    def _begin_record(self) -> None:
        facts = {
            "files": list(self.settings.input.files),
            "cwd": self.directory,
            "command": self.settings.record.command,
            "options": self.settings.record.recorded,
            "file": self.source.recorded,
            "workers": self.first_workers,
        }
        if self.settings.record.serve is not None:
            facts["serve"] = self.settings.record.serve
        if self.settings.input.each is not None:
            facts["each"] = self.settings.input.each.described()
        listed = len(self.source.jobs)
        self.record.begin(self.clock, listed=listed, facts=facts, began=self.collector.began)

    def _begin_reports(self) -> None:
        path = self.record.directory.path if self.record.directory else None
        header = self.record.found.header if self.record.found else None
        command = self.settings.record.command if header is None else header.get("command", "")
        run = RunInfo(
            self.record.run_id, self.files, self.first_workers, self.collector.began, self.clock.wall, path,
            self.directory, command, self.endless,
        )  # fmt: skip
        self.reports.begin(run, self.table)

    def _observers(self) -> Observers[Observer]:
        """Return the observers in their order, and give them the events of earlier processes."""
        results = [] if self.results is None else [self.results]
        blocks = self.source.observers(self.record.blocks, recorded=self.record.keeps)
        observers = Observers(self.table, [self.reports, *results, *self.display.observers(), *blocks])
        if self.record.found is not None:
            past = self.record.found.events
            self.collector.fold(past)
            observers.replay(past)
            past.clear()
        if self.restart is not None and self.display.printer is not None:
            self.display.printer.begin_with(sorted(task.seq for task in self.restart.tasks))
        return observers

    def _open_socket(self, path: str) -> None:
        """Open the socket for other processes, also for the run's own jobs. A queue cannot do without."""
        from pqrun.control.server import ControlServer

        try:
            self.server = ControlServer(path, self.reactor, self)
        except InternalFailure as failure:
            if self.endless:  # a queue without a socket could get no jobs
                raise
            self.err.note(
                f"{failure}; the run continues, but `add`, `ps` and similar commands can't reach it"
            )

    def _look_after(self) -> None:
        """Check the record and the socket. Called about once a second, on the journal's thread."""
        if (failure := self.record.failure()) is not None:
            self.engine.fail(failure)
        elif self.server is not None:
            self.server.check_socket_file()

    def _caught_up(self) -> None:
        self.engine.post()

    def _suspend(self, stopped: bool) -> None:
        if stopped:
            self.display.suspend()
        self.backend.suspend(stopped=stopped)
        if not stopped:
            self.display.resume()

    def _list_running(self) -> None:
        self.display.plain.list_running()
        self.dispatcher.wake()

    # What other parts ask, as a `LiveRun`

    @property
    def directory(self) -> str:
        """The directory where jobs start: the current one, or that in which the run began."""
        if self.record.found is not None and self.settings.place.cwd is None:
            return str(self.record.found.header["cwd"])
        return current_directory()

    @property
    def control_socket(self) -> str:
        return "" if self.server is None else self.server.path

    @property
    def endless(self) -> bool:
        return self.settings.record.serve is not None

    @property
    def validate_job(self) -> Callable[[JobSpec], None] | None:
        return self.backend.validate_job

    def metrics(self) -> Metrics:
        return self.engine.snapshot()

    def metrics_in_turn(self, now: float) -> Metrics:
        """Return the metrics within a turn, which holds the lock that `metrics` takes."""
        return self.collector.snapshot(now)

    def seconds_left(self, now: float) -> float | None:
        table = self.table
        # Within a turn, nothing may wait for the journals of earlier runs: what an observer has read counts.
        looked = self.past is not None or self._look is not None or table.rate.per_second(now) is not None
        known = table.input_ended and looked
        return table.seconds_left(now, average=self.collector.average_processing) if known else None

    def states(self) -> dict[str, int]:
        return self.table.by_state()

    def facts(self, ended: float | None = None) -> dict[str, Any]:
        """Return what is known of the run as a whole: of a live one, or of one that ended at that time."""
        from pqrun.reports.json_document import run_facts

        live = ended is None
        return run_facts(
            self.record.run_id,
            state="live" if live else "stopped" if self.scheduler.stopping else "ended",
            files=list(self.files),
            workers=self.workers() if live else self.first_workers,
            began=self.collector.began,
            ended=None if ended is None else self.clock.wall(ended),
            input_complete=self.table.input_complete,
            directory=self.record.directory.path if self.record.directory else None,
            guarded=self.backend.guarded,
        )

    def history(self) -> JobHistory | None:
        if self.record.directory is None:
            return None
        from pqrun.journal.recovery import RecordedHistory

        return RecordedHistory(self.record.directory.journal)

    def job_options(self) -> Mapping[str, Any]:
        return self.settings.input.given

    def workers(self) -> int:
        return self.backend.workers()

    def resize(self, count: int) -> None:
        self.engine.executor.resize(count)

    def hold_reason(self) -> str:
        return self.scheduler.hold_reason

    def output_of(self, key: AttemptId) -> Capture | None:
        return self.engine.executor.output_of(key)

    def stdin_of(self, key: AttemptId) -> JobStdin | None:
        return self.engine.executor.stdin_of(key)

    def status_path(self, key: AttemptId) -> str:
        return self.backend.status_path(key)

    def pids(self) -> Mapping[AttemptId, int]:
        return self.engine.executor.pids()

    def input_stream(self, number: int) -> InputStream | None:
        return self.source.input_stream(number)

    def usage(self) -> Mapping[AttemptId, JobUsage]:
        return self.usage_monitor.loads()

    def peak_of(self, key: AttemptId) -> int | None:
        return self.usage_monitor.peak_of(key)

    def warn(self, text: str) -> None:
        self.display.plain.warn(text)
        self.dispatcher.wake()

    def spare(self) -> None:
        self.usage_monitor.spare()
        self.record.spare()
