# SPDX-License-Identifier: LGPL-3.0-or-later
"""A run, from its `Settings` to its exit code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any

from pqrun.core.errors import BUG, NOT_ALL_RUN, OK, OWN_FAILURE, SOME_FAILED, USAGE, InternalFailure
from pqrun.core.metrics import MetricsCollector
from pqrun.core.scheduler import Scheduler
from pqrun.core.settings import MAX_QUEUE, Settings
from pqrun.core.start_policy import GIVE_UP_SECONDS, StartRateLimiter
from pqrun.engine.clock import SystemClock
from pqrun.engine.dispatcher import EventDispatcher, Observer
from pqrun.engine.engine import Engine
from pqrun.engine.reactor import Reactor
from pqrun.engine.signals import SignalPolicy, chdir_or_error, current_directory, die_by_signal, reset_signals
from pqrun.executors.local.backend import Backend, backend_of
from pqrun.executors.local.usage import UsageMonitor
from pqrun.input import JobInput, open_input
from pqrun.journal.run_record import RunRecord
from pqrun.reports import NoReports, reports_of
from pqrun.reports.run_info import Ending, RunInfo
from pqrun.ui.observers import RunDisplay, outlets

if TYPE_CHECKING:
    from pqrun.control.handler import RequestHandler
    from pqrun.control.server import ControlServer
    from pqrun.core.job_table import JobTable
    from pqrun.journal.restart_plan import RestartPlan
    from pqrun.reports.report_set import ReportSet


def run(settings: Settings) -> int:
    """Run all jobs and return the exit code.

    Called on the main thread. Raises `UserError` before anything was started. If a signal stopped the
    run, ends this process by that signal.
    """
    reset_signals()
    if settings.cwd is not None:
        chdir_or_error(settings.cwd)
    elif settings.resume is None:
        current_directory()  # raises before anything is created: no job could start in a deleted directory
    source = open_input(settings) if settings.files or settings.resume is None else None
    settings = source.apply_to(settings) if source is not None else settings
    reports = None if settings.dry_run else reports_of(settings, source)
    record, restart = None, None
    if settings.resume is not None:
        from pqrun.app.resume import open_resumed

        source, record, restart = open_resumed(settings, source)
    assert source is not None
    if settings.dry_run:
        from pqrun.app.dry_run import dry_run

        return dry_run(settings, source, record, restart)
    place = backend_of(settings, source.jobs if restart is None else [task.spec for task in restart.tasks])
    if record is None:
        record = RunRecord(run_dir=settings.run_dir, keep=settings.journal, durable=settings.durable)
    try:
        run = Run(settings, source, record, restart, reports, place)
    except BaseException:
        record.close(nothing=True)
        raise
    return run.run()


class Run:
    """One process's part of a run: all parts, created and connected."""

    def __init__(
        self,
        settings: Settings,
        source: JobInput,
        record: RunRecord,
        restart: RestartPlan | None = None,
        reports: ReportSet | NoReports | None = None,
        place: Backend | None = None,
    ) -> None:
        self.settings = settings
        self.source = source
        self.record = record
        self.restart = restart
        self.reports = reports or reports_of(settings)
        self.clock = SystemClock()
        self.place = place or backend_of(settings, source.jobs)
        self.files = tuple(settings.files or (record.found.header["files"] if record.found else ()))
        said = settings.jobs or source.workers
        self.workers = (restart and restart.workers) or self.place.count(said)
        self.out, self.err = outlets(settings)
        self.reactor = Reactor()
        self.metrics = MetricsCollector(record.found.header["at"] if record.found else self.clock.now())
        results = None
        if settings.results is not None:
            from pqrun.reports.results_dir import ResultsDirectory

            results = ResultsDirectory(settings.results, self.clock.wall)
        self.display = RunDisplay(settings, self.clock, self.out, self.err, results=results)
        self.summary = self.display.page
        self.jobs: JobTable | None = None
        self.trouble: list[str] = []
        self.dropped = False
        self.scheduler = Scheduler(
            pools=restart.pools if restart is not None else settings.pools or source.pools,
            max_queue=settings.max_queue or source.max_queue or MAX_QUEUE,
            halt=settings.halt,
            pace=StartRateLimiter(settings.delay or 0.0, settings.rate),
            deadline=inf if settings.deadline is None else self.clock.now() + settings.deadline,
            random=Random(record.run_id),
            patience=GIVE_UP_SECONDS if settings.serve is None else inf,
        )

        self.server: ControlServer | None = None
        self.ready: Callable[[], None] = lambda: None
        self._begun = False

    def run(self) -> int:
        """Run all jobs and return the exit code; end this process by a signal if one stopped the run."""
        try:
            code = self._run()
        finally:
            self.display.close()
            self._close_record()
        if self.signals.stopped_by and code != BUG:
            die_by_signal(self.signals.stopped_by)
        return code

    def _run(self) -> int:
        record = self.record
        self.place.open(record, self._directory(), self.reactor)
        facts = {
            "files": list(self.settings.files),
            "cwd": self._directory(),
            "command": self.settings.command,
            "options": self.settings.recorded,
            "file": self.source.recorded,
            "workers": self.workers,
        }
        if self.settings.serve is not None:
            facts["serve"] = self.settings.serve
        record.begin(self.clock, listed=len(self.source.jobs), facts=facts, began=self.metrics.began)
        self.display.open_live(
            began=self.metrics.began,
            files=self.files,
            run=record.address,
            metrics=lambda: self.engine.snapshot(),
            workers=self.place.size,
            holding=lambda: self.scheduler.hold_reason,
            resize=lambda count: self.slots.resize(count),
            output_of=lambda key: self.slots.output_of(key),
            report_path=self.place.report_path,
            loads=lambda: watch.loads(),
            unread=self.source.unread,
            reactor=self.reactor,
            watchdogs=self.place.watchdogs,
        )
        where = record.directory.path if record.directory else None
        began, wall = self.metrics.began, self.clock.wall
        typed = record.found.header.get("command", "") if record.found else self.settings.command
        self.reports.begin(
            RunInfo(record.run_id, self.files, self.workers, began, wall, where, self._directory(), typed)
        )
        dispatcher = EventDispatcher(self._listeners(), lambda: self.engine.post())
        self.engine = Engine(
            clock=self.clock,
            scheduler=self.scheduler,
            reactor=self.reactor,
            journal=record.journal,
            metrics=self.metrics,
            dispatcher=dispatcher,
            machine=self.place.machine,
        )

        def warn(text: str) -> None:
            self.display.plain.warn(text)
            dispatcher.wake()

        self.slots = slots = self.place.workers(
            self.clock, self.engine, self.workers, warn, lambda key: watch.peak_of(key)
        )
        self.engine.executor = slots
        watch = UsageMonitor(slots.leaders, self.clock.now)
        self.place.short(watch.spare, record.spare)

        def list_running() -> None:
            self.display.plain.list_running()
            dispatcher.wake()

        self.signals = SignalPolicy(self.reactor, self.clock, suspend=self._suspend, tell=list_running)
        if record.directory is not None:
            self._open_socket()
        for warning in (*self.source.warnings, *self.reports.warnings):
            self.err.say(warning)
        dispatcher.start()
        watch.start()
        self._begun = True
        try:
            if (restart := self.restart) is not None:
                self.engine.turn(ask=lambda scheduler, now: scheduler.restore(restart, now))
            self.source.feed(self.engine, self.scheduler, self.reactor, self.place.validate_job)
            if not self.engine.broken:
                self.ready()
        except Exception as error:  # jobs may run already, and `engine.run` has to stop them
            self.engine.fail(error)
        self.engine.run()
        slots.close()
        watch.close()
        if not (self.scheduler.input_ended or self.engine.broken or self.settings.serve is not None):
            self.engine.turn(ask=lambda s, now: s.end_input(now, complete=False, why="the run was stopped"))
        if self.server is not None:
            self.engine.turn(ask=self.server.look)
            self.server.close(broken=self.engine.broken is not None)
        self.trouble = self.place.close()
        return self._conclude(dispatcher)

    def _open_socket(self) -> None:
        """Open the socket for other processes, also for the run's own jobs. A queue cannot do without."""
        from pqrun.app.upkeep import upkeep
        from pqrun.control.server import ControlServer

        assert self.record.directory is not None
        try:
            self.server = ControlServer(
                self.record.directory.socket, self.reactor, self._request_handler, self.clock.now
            )
        except InternalFailure as failure:
            if self.settings.serve is not None:  # a queue without a socket could get no jobs
                raise
            self.err.say(
                f"pqrun: {failure}; the run continues, but `add`, `ps` and similar commands can't reach it"
            )
            return
        self.place.set_control_socket(self.record.directory.socket)
        self.engine.after_turn = self.server.heard
        self.record.watch(upkeep(self.record, self.engine, self.server))

    def _request_handler(self) -> RequestHandler:
        """Return the handler of requests from the socket."""
        from pqrun.control.commands.add import settings_for_all
        from pqrun.control.handler import RequestHandler

        return RequestHandler(
            facts=lambda: self._facts(live=True),
            # Called in a turn, under the engine's lock, so `engine.snapshot` would deadlock.
            metrics=lambda: self.metrics.snapshot(self.clock.now()),
            resize=self.slots.resize,
            output_of=self.slots.output_of,
            defaults=settings_for_all(self.settings.given),
            endless=self.settings.serve is not None,
            fit=self.place.validate_job,
        )

    def _directory(self) -> str:
        """Return the directory where jobs start: the current one, or that in which the run began."""
        if self.record.found is not None and self.settings.cwd is None:
            return str(self.record.found.header["cwd"])
        return current_directory()

    def _suspend(self, stopped: bool) -> None:
        if stopped:
            self.display.suspend()
        for task in self.slots.live():
            task.suspend(stopped=stopped)
        if not stopped:
            self.display.resume()

    def _listeners(self) -> Sequence[Observer]:
        listeners: list[Observer] = [self.reports, *self.display.listeners()]
        if self.settings.json:
            from pqrun.core.job_table import JobTable

            self.jobs = JobTable()
            listeners.append(self.jobs)
        if self.record.found is not None:
            past = self.record.found.events
            self.metrics.fold(past)
            self.reports.on_events(past)
            self.display.replay(past)
            if self.jobs is not None:
                self.jobs.on_events(past)
            past.clear()
        if self.restart is not None and self.display.printer is not None:
            self.display.printer.begin_with(sorted(task.seq for task in self.restart.tasks))
        return listeners

    def _conclude(self, dispatcher: EventDispatcher) -> int:
        self.over = self.clock.now()
        if (failure := self.record.failure()) is not None:
            self.engine.fail(failure)
        broken = self.engine.broken

        def last_words() -> None:
            if isinstance(broken, InternalFailure):
                self.err.say(f"pqrun: {broken}")
            self.trouble += dispatcher.dropped
            self.dropped = bool(dispatcher.dropped)
            self._final_messages()

        dispatcher.finish(last_words)
        self.signals.wait_for(dispatcher.thread)
        if dispatcher.failed is not None:
            raise dispatcher.failed
        if broken is not None and not isinstance(broken, InternalFailure):
            raise broken
        page, stopped = self.summary, bool(self.scheduler.stopping)
        code, signal = self._exit_code(broken), self.signals.stopped_by
        exit = 128 + signal if signal else code
        self.record.conclude(
            self.metrics, self.over, exit, failed=page.failed, stopped=stopped,
            complete=page.input_complete, guarded=self.place.guarded,
        )  # fmt: skip
        if isinstance(self.reports, NoReports):
            return code
        ending = Ending(exit, self.metrics.snapshot(self.over), self._facts())
        final = self.reports.finish(
            ending,
            err=None if dispatcher.thread.is_alive() else self.err,
            untold=dispatcher.undelivered(),
            hurry=bool(signal),
            wait=lambda seconds: bool(self.reactor.wait(seconds)),
        )
        return code if signal else final

    def _final_messages(self) -> None:
        snapshot = self.metrics.snapshot(self.over)
        if self.jobs is not None:
            from pqrun.reports.json_document import as_text, document

            rows = sorted(self.jobs.rows.values(), key=lambda row: row.seq)
            self.out.say(as_text(document(self._facts(), snapshot, rows, self.clock.wall)))
        if self.summary.added or not self.source.wrong:
            self.display.say_last_page(
                snapshot, self.clock.now() - self.metrics.began, run=self.record.address
            )
        for trouble in (*self.trouble, *self.display.failures()):
            self.err.say(f"pqrun: {trouble}")

    def _facts(self, *, live: bool = False) -> dict[str, Any]:
        from pqrun.reports.json_document import run_facts

        return run_facts(
            self.record.run_id,
            state="live" if live else "stopped" if self.scheduler.stopping else "ended",
            files=list(self.files),
            workers=self.place.size() if live else self.workers,
            began=self.metrics.began,
            ended=None if live else self.clock.wall(self.over),
            input_complete=self.summary.input_complete,
            directory=self.record.directory.path if self.record.directory else None,
            guarded=self.place.guarded,
        )

    def _exit_code(self, broken: BaseException | None) -> int:
        if isinstance(broken, InternalFailure):
            return broken.code
        if self.dropped or self.display.failures():
            return OWN_FAILURE
        if self.source.wrong:
            return SOME_FAILED if self.summary.added else USAGE
        if self.summary.failed:
            return SOME_FAILED
        return NOT_ALL_RUN if self.summary.left_undone or not self.summary.input_complete else OK

    def _close_record(self) -> None:
        try:
            self.record.close(nothing=not self._begun or (bool(self.source.wrong) and not self.summary.added))
        except InternalFailure:
            if self._begun and self.engine.broken is None:  # else an earlier failure was reported
                raise
