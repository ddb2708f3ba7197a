# SPDX-License-Identifier: LGPL-3.0-or-later
"""A run, from its `Settings` to its exit code."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from pqrun.app.parts import RunParts
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
    from pqrun.core.job import JobSpec
    from pqrun.core.past import FlakyRate, KnownDurations
    from pqrun.engine.executor import Backend
    from pqrun.input import JobInput
    from pqrun.journal.restart_plan import RestartPlan

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
    if dry:
        from pqrun.app.dry_run import dry_run

        return dry_run(settings, source, record, restart, past)
    backend = backend_for(settings, source.jobs if restart is None else [task.spec for task in restart.tasks])
    record = record or _new_record(settings.record)
    try:
        parts = RunParts(settings, source, record, backend, reports, restart, past=past)
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
    try:
        run.open()
        if run.maintenance is not None and run.maintenance.greeting:
            run.err.note(run.maintenance.greeting)
        run.begin()
        gc.freeze()  # what has been loaded stays
        gc.set_threshold(COLLECT_EVERY)
        _feed(run)
        run.engine.run()
        code = Conclusion(run, _end(run)).reach()
    finally:
        run.close()
    if run.signals.stopped_by and code != BUG:
        die_by_signal(run.signals.stopped_by)
    return code


def _feed(run: RunParts) -> None:
    """Queue the known jobs; the reactor reads the others as the queue gets room."""
    try:
        if (restart := run.restart) is not None:
            run.engine.turn(request=lambda scheduler, now: scheduler.restore(restart, now))
        run.source.feed(run)
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
    if not (run.scheduler.input_ended or run.engine.broken or run.endless):
        complete = run.source.is_at_end()
        why = "" if complete else "the run was stopped"
        run.engine.turn(request=lambda s, now: s.end_input(now, complete=complete, why=why))
    if run.server is not None:
        run.engine.turn(request=run.server.look)
        run.server.close(broken=run.engine.broken is not None)
    return run.backend.close()


class Conclusion:
    """The conclusion of a run that is over. `trouble`: what went wrong with its jobs, one text for each."""

    def __init__(self, run: RunParts, trouble: list[str]) -> None:
        self._run = run
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
            Ending(exit, run.collector.snapshot(self._over), run.facts(self._over)),
            err=None if dispatcher.thread.is_alive() else run.err,
            untold=chain(run.observers.take_rest(), *dispatcher.undelivered()),
            hurry=bool(signal),
            wait=lambda seconds: bool(run.reactor.wait(seconds)),
        )
        return code if signal else final

    def _print_end(self) -> None:
        """Print the document, the summary and all trouble. Called on the dispatcher thread, as its last act."""
        run, snapshot = self._run, self._run.collector.snapshot(self._over)
        if isinstance(self._broken, InternalFailure):
            run.err.note(str(self._broken))
        if run.settings.output.json:
            from pqrun.reports.json_document import as_text, document

            rows = run.table.all_rows()
            run.out.say(as_text(document(run.facts(self._over), snapshot, rows, run.clock.wall)))
        if run.table.added or not run.source.wrong:
            seconds = run.clock.now() - run.collector.began
            run.display.say_last_page(
                snapshot, seconds, run=run.record.address, queue=run.endless, rates=self._flaky_rates()
            )
            if hint := exported_function_hint(run.display.page.failures, os.environ):
                run.err.note(hint)
        for trouble in (*self._trouble, *run.observers.dropped, *run.write_failures()):
            run.err.note(trouble)

    def _flaky_rates(self) -> Mapping[int, FlakyRate]:
        """Return in how many of their last runs the jobs of the summary failed. Looks only for people at a terminal."""
        run, rows = self._run, self._run.display.page.failed_rows()
        directory, quiet = run.record.directory, run.settings.output.quiet
        if directory is None or quiet or not rows or not run.err.is_terminal or run.signals.stopped_by:
            return {}
        from pqrun.journal.past import flaky_rates

        return flaky_rates(directory, rows, seconds=SUMMARY_LOOK_SECONDS)

    def _exit_code(self) -> int:
        run, table = self._run, self._run.table
        if isinstance(self._broken, InternalFailure):
            return self._broken.code
        if run.observers.dropped or run.write_failures() or run.source.failed:
            return OWN_FAILURE
        if run.source.wrong:
            return SOME_FAILED if table.added else USAGE
        if table.failed:
            return SOME_FAILED
        return NOT_ALL_RUN if table.left_undone or not table.input_complete else OK
