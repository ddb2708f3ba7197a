# SPDX-License-Identifier: LGPL-3.0-or-later
"""The plan of a run, and its parts: created and opened in dependency order, and closed again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import TYPE_CHECKING

from pqrun.core.errors import InternalFailure
from pqrun.core.events import Observer
from pqrun.core.job_table import JobTable
from pqrun.core.metrics import MetricsCollector
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
from pqrun.ui.observers import RunDisplay, TableHead, outlets, title_of

if TYPE_CHECKING:
    from pqrun.app.queue_maintenance import QueueMaintenance
    from pqrun.app.time_left import TimeLeft
    from pqrun.control.server import ControlServer
    from pqrun.core.job import JobSpec, Pool
    from pqrun.core.median_timeout import MedianLimit
    from pqrun.core.past import KnownDurations
    from pqrun.engine.executor import Backend
    from pqrun.engine.live_run import LiveRun
    from pqrun.journal.restart_plan import RestartPlan
    from pqrun.reports.report_set import ReportSet
    from pqrun.reports.results_dir import ResultsDirectory

LOOK_BACK_AFTER_SECONDS = 1.0
"""A shorter run has no use for the times of earlier runs."""


class RunPlan:
    """The plan of a run: its settings and its input.

    `restart`: the plan for the rest of a recorded run, None in a new one. `past`: the times of jobs in earlier
    runs, if an option asks for them.
    """

    def __init__(
        self,
        settings: Settings,
        source: JobInput,
        restart: RestartPlan | None = None,
        past: KnownDurations | None = None,
    ) -> None:
        self.settings = settings
        self.source = source
        self.restart = restart
        self.past = past

    @property
    def endless(self) -> bool:
        """Whether the run is a queue."""
        return self.settings.record.serve is not None

    @property
    def pools(self) -> Sequence[Pool]:
        """The pools at the start: of the recorded run, else of the command line, else of the job files."""
        if self.restart is not None:
            return self.restart.pools
        return self.settings.input.pools or self.source.pools

    @property
    def max_queue(self) -> int:
        """The number of jobs after which the input has to wait."""
        return self.settings.limits.max_queue or self.source.max_queue or MAX_QUEUE

    @property
    def times_for_order(self) -> KnownDurations | None:
        """The times by which the longest jobs start first; None in every other order."""
        return self.past if self.settings.limits.order == "longest-first" else None


class RunParts:
    """The parts of one process's part of a run.

    Created without a thread, process or file; `open` adds these. `begun`: whether the record was begun and
    the run's threads have started. Only a queue has `maintenance`.
    """

    def __init__(
        self,
        plan: RunPlan,
        record: RunRecord,
        backend: Backend,
        reports: ReportSet | NoReports,
        maintenance: QueueMaintenance | None = None,
    ) -> None:
        settings, source, found = plan.settings, plan.source, record.found
        self.plan = plan
        self.record = record
        self.backend = backend
        self.reports = reports
        self.maintenance = maintenance
        self.clock = SystemClock()
        self.files = tuple(settings.input.files or (found.header["files"] if found else ()))
        said = settings.limits.jobs or source.workers
        self.first_workers = (plan.restart and plan.restart.workers) or backend.count_workers(said)
        self.reactor = Reactor()
        self.collector = MetricsCollector(found.header["at"] if found else self.clock.now())
        began = self.clock.now() if found else self.collector.began
        self.table = JobTable(began, keeps_ended=settings.output.json)
        self.display = RunDisplay(settings.output, self.table, self.clock, *outlets(settings.output))
        if self.display.printer is not None and self._reports_to_stdout():
            self.display.printer.stop_passing()
        self.results = self._results_directory()
        self.scheduler = self._new_scheduler()
        self._time_left: TimeLeft | None = None
        if plan.past is not None or record.keeps:
            self.table.rate.expected = self._expected_seconds
        self.server: ControlServer | None = None
        self.begun = False

    def _reports_to_stdout(self) -> bool:
        reports = self.plan.settings.reports
        paths = [path for name in REPORT_FILES if (path := getattr(reports, name)) is not None]
        if not paths:
            return False
        from pqrun.reports.targets import same_file

        return any(same_file(path, "-") for path in paths)

    def _results_directory(self) -> ResultsDirectory | None:
        path = self.plan.settings.reports.results
        if path is None:
            return None
        from pqrun.reports.results_dir import ResultsDirectory

        known = self.record.found.jobs.values() if self.record.found else ()
        return ResultsDirectory(path, self.clock.wall, known)

    def _new_scheduler(self) -> Scheduler:
        plan, limits = self.plan, self.plan.settings.limits
        return Scheduler(
            pools=plan.pools,
            max_queue=plan.max_queue,
            halt=limits.halt,
            pace=StartRateLimiter(limits.delay or 0.0, limits.rate),
            deadline=inf if limits.deadline is None else self.clock.now() + limits.deadline,
            seed=self.record.run_id,
            patience=inf if plan.endless else GIVE_UP_SECONDS,
            median=self._median_limit(),
            past=plan.times_for_order,
            remembers_ended=self.maintenance.keep if self.maintenance is not None else inf,
        )

    def _median_limit(self) -> MedianLimit | None:
        percent = self.plan.settings.limits.median_timeout
        if percent is None:
            return None
        from pqrun.core.median_timeout import MedianLimit

        return MedianLimit(percent, () if self.record.found is None else self.record.found.durations())

    def _expected_seconds(self, now: float, left: int) -> float | None:
        """Return the seconds until `left` jobs have ended by the times of earlier runs; None while unknown.

        Called on the dispatcher thread, by parts that show the time left. So a run that nobody watches reads
        nothing of the past.
        """
        time_left = self._time_left
        if time_left is None:
            if self.plan.past is None and now - self.table.rate.began < LOOK_BACK_AFTER_SECONDS:
                return None
            from pqrun.app.time_left import TimeLeft

            time_left = TimeLeft(self.table, self.plan.past, self.record.directory)
        average = 0.0 if self.record.found is None else self.collector.average_processing
        seconds = time_left.seconds(now, left, workers=self.backend.workers(), average=average)
        self._time_left = time_left  # only now, because `past_is_read` must not be true while it waits
        return seconds

    @property
    def past_is_read(self) -> bool:
        """Whether what earlier runs tell was read, so that a question for the time left waits for no disk."""
        return self.plan.past is not None or self._time_left is not None

    # Opening and closing

    def open(self, live: LiveRun) -> None:
        """Open all parts, in dependency order. No job has started then.

        `live` answers what a part has to know of others. A part gets it before the run has all of its parts,
        because it asks only later.
        """
        self.backend.open(self.record, self.directory, self.reactor)  # forks, so there is no thread yet
        self._begin_record()
        self.usage_monitor = UsageMonitor(live)
        title = "serve" if self.plan.endless else title_of(self.plan.settings.input, self.files)
        head = TableHead(title, self.record.address, self.collector.began)
        self.display.open_live(live, head, self.plan.source, self.reactor, self.backend.watchdogs)
        self._begin_reports()
        self.observers = self._observers()
        self.dispatcher = EventDispatcher(self.observers, self._caught_up)
        self.signals = SignalPolicy(self.reactor, self.clock, suspend=self._suspend, tell=self._list_running)
        if self.record.directory is not None:
            self._open_socket(self.record.directory.socket, live)
        self.engine = Engine(
            clock=self.clock,
            scheduler=self.scheduler,
            reactor=self.reactor,
            journal=self.record.journal,
            metrics=self.collector,
            dispatcher=self.dispatcher,
            executor=partial(self.backend.executor, self.first_workers, live),
            machine=self.backend.machine,
            after_turn=[part.on_events for part in (self.server, self.maintenance) if part is not None],
        )

    def begin(self) -> None:
        """Say the warnings, and start the threads."""
        for warning in self.plan.source.warnings:
            self.display.err.say(warning)
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
        nothing_ran = not self.table.added and not self.plan.endless
        try:
            self.record.close(discard=not self.begun or nothing_ran)
        except InternalFailure:
            if self.begun and self.engine.broken is None:  # else an earlier failure was reported
                raise

    def _begin_record(self) -> None:
        settings = self.plan.settings
        facts = {
            "files": list(settings.input.files),
            "cwd": self.directory,
            "command": settings.record.command,
            "options": settings.record.recorded,
            "file": self.plan.source.recorded,
            "workers": self.first_workers,
        }
        if settings.record.serve is not None:
            facts["serve"] = settings.record.serve
        if settings.input.each is not None:
            facts["each"] = settings.input.each.described()
        listed = len(self.plan.source.jobs)
        self.record.begin(self.clock, listed=listed, facts=facts, began=self.collector.began)

    def _begin_reports(self) -> None:
        path = self.record.directory.path if self.record.directory else None
        header = self.record.found.header if self.record.found else None
        command = self.plan.settings.record.command if header is None else header.get("command", "")
        run = RunInfo(
            self.record.run_id, self.files, self.first_workers, self.collector.began, self.clock.wall, path,
            self.directory, command, self.plan.endless,
        )  # fmt: skip
        self.reports.begin(run, self.table)

    def _observers(self) -> Observers[Observer]:
        """Return the observers in their order, and give them the events of earlier processes."""
        results = [] if self.results is None else [self.results]
        blocks = self.plan.source.observers(self.record.blocks, recorded=self.record.keeps)
        observers = Observers(self.table, [self.reports, *results, *self.display.observers(), *blocks])
        if self.record.found is not None:
            past = self.record.found.events
            self.collector.fold(past)
            observers.replay(past)
            past.clear()
        if self.plan.restart is not None and self.display.printer is not None:
            self.display.printer.begin_with(sorted(task.seq for task in self.plan.restart.tasks))
        return observers

    def _open_socket(self, path: str, live: LiveRun) -> None:
        """Open the socket for other processes, also for the run's own jobs. A queue cannot do without."""
        from pqrun.control.server import ControlServer

        try:
            self.server = ControlServer(path, self.reactor, live)
        except InternalFailure as failure:
            if self.plan.endless:  # a queue without a socket could get no jobs
                raise
            self.display.err.note(
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

    @property
    def directory(self) -> str:
        """The directory where jobs start: the current one, or that in which the run began."""
        if self.record.found is not None and self.plan.settings.place.cwd is None:
            return str(self.record.found.header["cwd"])
        return current_directory()

    @property
    def validate_job(self) -> Callable[[JobSpec], None] | None:
        return self.backend.validate_job
