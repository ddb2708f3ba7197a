# SPDX-License-Identifier: LGPL-3.0-or-later
"""A run, from its `Settings` to its exit code, and its answers to its parts while it is live."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from pqrun.app.parts import RunParts, RunPlan
from pqrun.core.errors import (
    BUG,
    NOT_ALL_RUN,
    OK,
    OWN_FAILURE,
    SOME_FAILED,
    USAGE,
    InternalFailure,
    UserError,
)
from pqrun.core.settings import RecordSettings, Settings
from pqrun.engine.signals import chdir_or_error, current_directory, die_by_signal, reset_signals
from pqrun.executors.local.backend import backend_of
from pqrun.input import open_input
from pqrun.journal.run_record import RunRecord
from pqrun.reports import reports_of
from pqrun.reports.report import Ending, NoReports
from pqrun.ui.summary_page import exported_function_hint

if TYPE_CHECKING:
    from pqrun.core.job import AttemptId, JobSpec
    from pqrun.core.metrics import Metrics
    from pqrun.core.past import FlakyRate, KnownDurations
    from pqrun.engine.clock import Clock
    from pqrun.engine.executor import Backend
    from pqrun.engine.live_run import InputStream, JobHistory, JobStdin, JobUsage
    from pqrun.input import JobInput
    from pqrun.journal.restart_plan import RestartPlan
    from pqrun.output.store import Capture

SUMMARY_LOOK_SECONDS = 0.3
"""How long the summary may wait for what earlier runs tell of its jobs."""

COLLECT_EVERY = 400
"""New objects, net, between two looks of the garbage collector while jobs run: a few of them may be large."""


def run(settings: Settings) -> int:
    """Run all jobs and return the exit code.

    Called on the main thread. Raises `UserError` before anything was started. If a signal stopped the
    run, ends this process by that signal.
    """
    reset_signals()
    _enter_directory(settings)
    resumed, dry = settings.record.resume is not None, settings.place.dry_run
    past = past_for(settings)
    source = open_input(settings.input, past) if settings.input.files or not resumed else None
    settings = source.apply_to(settings) if source is not None else settings
    reports = NoReports() if dry else reports_of(settings, source.reads() if source else ())
    source, record, restart = _recorded(settings, source)
    plan = RunPlan(settings, source, restart, past)
    if dry:
        from pqrun.app.dry_run import dry_run

        return dry_run(plan, record)
    backend = backend_for(settings, source.jobs if restart is None else [task.spec for task in restart.tasks])
    record = record or _new_record(settings.record)
    try:
        parts = RunParts(plan, record, backend, reports)
    except BaseException:
        record.close(discard=True)
        raise
    return carry_out(parts)


def past_for(settings: Settings) -> KnownDurations | None:
    """Return the times of jobs in earlier runs, if an option asks for them."""
    if settings.input.by_time and settings.input.shard is None:
        raise UserError("--by-time says how --shard makes its parts: give --shard I/N, too")
    divides = settings.input.by_time and settings.record.resume is None
    if not divides and settings.limits.order != "longest-first":
        return None
    from pqrun.journal.past import read_past

    return read_past()


def _enter_directory(settings: Settings) -> None:
    if settings.place.cwd is not None:
        chdir_or_error(settings.place.cwd)
    elif settings.record.resume is None:
        current_directory()  # raises before anything is created: no job could start in a deleted directory


def _recorded(
    settings: Settings, source: JobInput | None
) -> tuple[JobInput, RunRecord | None, RestartPlan | None]:
    """Return the input, and of a resumed run its record and the plan for the rest."""
    if settings.record.resume is not None:
        from pqrun.app.resume import open_resumed

        return open_resumed(settings, source)
    assert source is not None
    return source, None, None


def _new_record(settings: RecordSettings) -> RunRecord:
    return RunRecord.new(run_dir=settings.run_dir, keep=not settings.no_journal, durable=settings.durable)


def backend_for(settings: Settings, jobs: Sequence[JobSpec]) -> Backend:
    """Return the place where the run's jobs run. Raises `UserError` if one of these jobs can't."""
    return backend_of(settings.place, settings.output, jobs, prompt=settings.reports.events is not None)


def carry_out(run: RunParts) -> int:
    """Run all jobs and return the exit code; end this process by a signal if one stopped the run."""
    live = LiveAnswers(run)
    try:
        run.open(live)
        if run.maintenance is not None and run.maintenance.greeting:
            run.display.err.note(run.maintenance.greeting)
        run.begin()
        gc.freeze()  # what has been loaded stays
        gc.set_threshold(COLLECT_EVERY)
        _feed(run)
        run.engine.run()
        code = Conclusion(run, live, _end(run)).reach()
    finally:
        run.close()
    if run.signals.stopped_by and code != BUG:
        die_by_signal(run.signals.stopped_by)
    return code


def _feed(run: RunParts) -> None:
    """Queue the known jobs; the reactor reads the others as the queue gets room."""
    try:
        if (restart := run.plan.restart) is not None:
            run.engine.turn(request=lambda scheduler, now: scheduler.restore(restart, now))
        run.plan.source.feed(run)
        if run.maintenance is not None and not run.engine.broken:
            run.maintenance.begin(run.engine)
    except Exception as error:  # jobs may run already, and `engine.run` has to stop them
        run.engine.fail(error)


def _end(run: RunParts) -> list[str]:
    """End the remaining jobs and the connections of clients. Return a text for each error of a job's end."""
    if run.maintenance is not None:
        run.maintenance.stopping()
    run.engine.executor.close()
    run.usage_monitor.close()
    if not (run.scheduler.input_ended or run.engine.broken or run.plan.endless):
        complete = run.plan.source.is_at_end()
        why = "" if complete else "the run was stopped"
        run.engine.turn(request=lambda s, now: s.end_input(now, complete=complete, why=why))
    if run.server is not None:
        run.engine.turn(request=run.server.look)
        run.server.close(broken=run.engine.broken is not None)
    return run.backend.close()


class LiveAnswers:
    """The answers of a live run to its parts, as a `LiveRun`. They are asked once the run is open."""

    def __init__(self, run: RunParts) -> None:
        self._run = run

    @property
    def clock(self) -> Clock:
        return self._run.clock

    @property
    def control_socket(self) -> str:
        return "" if self._run.server is None else self._run.server.path

    @property
    def endless(self) -> bool:
        return self._run.plan.endless

    @property
    def validate_job(self) -> Callable[[JobSpec], None] | None:
        return self._run.backend.validate_job

    def metrics(self) -> Metrics:
        return self._run.engine.snapshot()

    def metrics_in_turn(self, now: float) -> Metrics:
        """Return the metrics within a turn, which holds the lock that `metrics` takes."""
        return self._run.collector.snapshot(now)

    def seconds_left(self, now: float) -> float | None:
        table = self._run.table
        # Within a turn, nothing may wait for the journals of earlier runs: what an observer has read counts.
        looked = self._run.past_is_read or table.rate.per_second(now) is not None
        known = table.input_ended and looked
        return table.seconds_left(now, average=self._run.collector.average_processing) if known else None

    def states(self) -> dict[str, int]:
        return self._run.table.by_state()

    def facts(self, ended: float | None = None) -> dict[str, Any]:
        """Return what is known of the run as a whole: of a live one, or of one that ended at that time."""
        from pqrun.reports.json_document import run_facts

        live = ended is None
        return run_facts(
            self._run.record.run_id,
            state="live" if live else "stopped" if self._run.scheduler.stopping else "ended",
            files=list(self._run.files),
            workers=self.workers() if live else self._run.first_workers,
            began=self._run.collector.began,
            ended=None if ended is None else self._run.clock.wall(ended),
            input_complete=self._run.table.input_complete,
            directory=self._run.record.directory.path if self._run.record.directory else None,
            guarded=self._run.backend.guarded,
        )

    def history(self) -> JobHistory | None:
        if self._run.record.directory is None:
            return None
        from pqrun.journal.recovery import RecordedHistory

        return RecordedHistory(self._run.record.directory.journal)

    def job_options(self) -> Mapping[str, Any]:
        return self._run.plan.settings.input.given

    def workers(self) -> int:
        return self._run.backend.workers()

    def resize(self, count: int) -> None:
        self._run.engine.executor.resize(count)

    def hold_reason(self) -> str:
        return self._run.scheduler.hold_reason

    def output_of(self, key: AttemptId) -> Capture | None:
        return self._run.engine.executor.output_of(key)

    def stdin_of(self, key: AttemptId) -> JobStdin | None:
        return self._run.engine.executor.stdin_of(key)

    def status_path(self, key: AttemptId) -> str:
        return self._run.backend.status_path(key)

    def pids(self) -> Mapping[AttemptId, int]:
        return self._run.engine.executor.pids()

    def input_stream(self, number: int) -> InputStream | None:
        return self._run.plan.source.input_stream(number)

    def usage(self) -> Mapping[AttemptId, JobUsage]:
        return self._run.usage_monitor.loads()

    def peak_of(self, key: AttemptId) -> int | None:
        return self._run.usage_monitor.peak_of(key)

    def warn(self, text: str) -> None:
        self._run.display.plain.warn(text)
        self._run.dispatcher.wake()

    def spare(self) -> None:
        self._run.usage_monitor.spare()
        self._run.record.spare()


class Conclusion:
    """The conclusion of a run that is over. `trouble`: what went wrong with its jobs, one text for each."""

    def __init__(self, run: RunParts, answers: LiveAnswers, trouble: list[str]) -> None:
        self._run = run
        self._answers = answers
        self._trouble = trouble
        self._over = run.clock.now()
        if (failure := run.record.failure()) is not None:
            run.engine.fail(failure)
        self._broken = run.engine.broken

    def reach(self) -> int:
        """Print the summary, finish the record and the reports, and return the exit code."""
        run, dispatcher, broken = self._run, self._run.dispatcher, self._broken
        dispatcher.finish(self._print_end)
        run.signals.wait_for(dispatcher.thread)
        if dispatcher.failed is not None:
            raise dispatcher.failed
        if broken is not None and not isinstance(broken, InternalFailure):
            raise broken
        code, signal = self._exit_code(), run.signals.stopped_by
        exit = 128 + signal if signal else code
        run.record.conclude(
            run.collector, self._over, exit, failed=run.table.failed,
            stopped=bool(run.scheduler.stopping), complete=run.table.input_complete,
            guarded=run.backend.guarded,
        )  # fmt: skip
        if isinstance(run.reports, NoReports):
            return code
        final = run.reports.finish(
            Ending(exit, run.collector.snapshot(self._over), self._answers.facts(self._over)),
            err=None if dispatcher.thread.is_alive() else run.display.err,
            untold=chain(run.observers.take_rest(), *dispatcher.undelivered()),
            hurry=bool(signal),
            wait=lambda seconds: bool(run.reactor.wait(seconds)),
        )
        return code if signal else final

    def _print_end(self) -> None:
        """Print the document, the summary and all trouble. Called on the dispatcher thread, as its last act."""
        run, snapshot = self._run, self._run.collector.snapshot(self._over)
        if isinstance(self._broken, InternalFailure):
            run.display.err.note(str(self._broken))
        if run.plan.settings.output.json:
            from pqrun.reports.json_document import as_text, document

            rows = run.table.all_rows()
            run.display.out.say(
                as_text(document(self._answers.facts(self._over), snapshot, rows, run.clock.wall))
            )
        if run.table.added or not run.plan.source.wrong:
            seconds = run.clock.now() - run.collector.began
            run.display.say_last_page(
                snapshot, seconds, run=run.record.address, queue=run.plan.endless, rates=self._flaky_rates()
            )
            if hint := exported_function_hint(run.display.page.failures, os.environ):
                run.display.err.note(hint)
        for trouble in (*self._trouble, *run.observers.dropped, *self._write_failures()):
            run.display.err.note(trouble)

    def _write_failures(self) -> list[str]:
        """Return the messages of all outputs that could not be written."""
        results = self._run.results.failure if self._run.results is not None else ""
        return self._run.display.failures() + ([results] if results else [])

    def _flaky_rates(self) -> Mapping[int, FlakyRate]:
        """Return in how many of their last runs the jobs of the summary failed. Looks only for people at a terminal."""
        run, rows = self._run, self._run.display.page.failed_rows()
        directory, quiet = run.record.directory, run.plan.settings.output.quiet
        if (
            directory is None
            or quiet
            or not rows
            or not run.display.err.is_terminal
            or run.signals.stopped_by
        ):
            return {}
        from pqrun.journal.past import flaky_rates

        return flaky_rates(directory, rows, seconds=SUMMARY_LOOK_SECONDS)

    def _exit_code(self) -> int:
        run, table = self._run, self._run.table
        if isinstance(self._broken, InternalFailure):
            return self._broken.code
        if run.observers.dropped or self._write_failures() or run.plan.source.failed:
            return OWN_FAILURE
        if run.plan.source.wrong:
            return SOME_FAILED if table.added else USAGE
        if table.failed:
            return SOME_FAILED
        return NOT_ALL_RUN if table.left_undone or not table.input_complete else OK
