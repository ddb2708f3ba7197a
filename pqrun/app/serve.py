# SPDX-License-Identifier: LGPL-3.0-or-later
"""`pqrun serve`: a queue, that is a run that waits for jobs and continues whenever it is started."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from pqrun.app.parts import RunParts, RunPlan
from pqrun.app.queue_maintenance import QueueMaintenance
from pqrun.app.run import backend_for, carry_out, past_for
from pqrun.app.service_manager import ServiceManager
from pqrun.core.errors import UserError
from pqrun.core.settings import Settings
from pqrun.engine.signals import chdir_or_error, current_directory, reset_signals
from pqrun.input import JobInput
from pqrun.journal.reader import JournalReader
from pqrun.journal.run_directory import RunDirectory, make_state_directory, runs_directory
from pqrun.journal.run_record import RunRecord
from pqrun.reports import reports_of

KEEP = 10_000
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,60}")
_NOT_FOR_A_QUEUE = ("json", "dry_run", "only", "skip", "shard", "keep_order")


def directory_of(name: str, run_dir: str | None) -> RunDirectory:
    """Return the run directory of the queue with that name, which need not exist yet.

    Raises `UserError` if the name is not allowed.
    """
    if not _NAME.fullmatch(name) or name == "latest":
        raise UserError(f"invalid name of a queue: `{name}` (letters, digits, `-`, `_` and `.`)")
    if run_dir is None:
        make_state_directory()
    return RunDirectory(run_dir or f"{runs_directory()}/{name}")


def is_begun(directory: RunDirectory) -> bool:
    """Return whether a queue is recorded in the directory; raise `UserError` if it is another run."""
    if not directory.has_journal():
        return False
    header = next(iter(JournalReader(directory.journal)), None)
    if header is None:
        return False  # pqrun was killed before the journal's first line was complete
    if "serve" not in header:
        raise UserError(f"the run in {directory.path} is not a queue: continue it with `pqrun resume`")
    return True


def check(settings: Settings, spelled: Callable[[str], str]) -> None:
    """Raise `UserError` for options that a queue cannot have. `spelled` returns an option as the user wrote it."""
    for name in _NOT_FOR_A_QUEUE:
        if settings.value_of(name):
            raise UserError(f"{spelled(name)} can't be used with a queue, which has no end")
    if settings.record.no_journal:
        name = spelled("no_journal")
        raise UserError(f"{name} can't be used with a queue, which is restored from its journal")


def serve(settings: Settings, *, detach: bool, keep: int = KEEP) -> int:
    """Run the queue in `settings.record.run_dir` until it is stopped; return the exit code.

    With `detach`, return the exit code of the start. `keep`: the number of ended jobs whose record
    and output are kept. The settings have passed `check`.
    """
    assert settings.record.run_dir is not None
    reset_signals()
    directory = RunDirectory(settings.record.run_dir)
    if settings.place.cwd is not None:
        chdir_or_error(settings.place.cwd)
    elif not is_begun(directory):
        current_directory()
    if not detach:
        return _serve(settings, directory, keep, None)
    from pqrun.app.daemon import detached

    if settings.output.progress == "auto":
        settings = settings.with_values({"progress": "plain"})
    return detached(directory, lambda ready: _serve(settings, directory, keep, ready))


def _serve(settings: Settings, directory: RunDirectory, keep: int, ready: Callable[[], None] | None) -> int:
    """Run the queue. `ready` tells the caller of `--detach`; without it, the service manager gets the messages."""
    restart = None
    if not is_begun(directory):
        asked = settings.record
        record = RunRecord.new(run_dir=directory.path, keep=True, durable=asked.durable, run_id=asked.serve)
    else:
        from pqrun.app.resume import first_input, plan_rest, reopen

        record, found = reopen(settings.record, directory.path, keep=keep)
        restart = plan_rest(found, settings, first_input(found))
    source = JobInput(open_end=True)
    backend, reports = backend_for(settings, source.jobs), reports_of(settings)
    maintenance = QueueMaintenance(record, keep)
    plan = RunPlan(settings, source, restart, past_for(settings))
    run = RunParts(plan, record, backend, reports, maintenance)
    if ready is not None:
        maintenance.ready = ready
        return carry_out(run)
    manager = ServiceManager(run.reactor.look_again)
    maintenance.ready, maintenance.stopping = manager.ready, manager.stopping
    if (
        run.display.err.is_terminal and not settings.output.quiet
    ):  # the table comes later, and does not say this
        from pqrun.app.daemon import serving

        maintenance.greeting = serving(directory.path, os.getpid())
    run.reactor.add(manager)
    try:
        return carry_out(run)
    finally:
        manager.close()
