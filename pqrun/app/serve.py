# SPDX-License-Identifier: LGPL-3.0-or-later
"""`pqrun serve`: a queue, that is a run that waits for jobs and continues whenever it is started."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pqrun.app.run import Run
from pqrun.core.errors import UserError
from pqrun.core.settings import Settings
from pqrun.engine.signals import chdir_or_error, current_directory, reset_signals
from pqrun.input import JobInput
from pqrun.journal.reader import JournalReader
from pqrun.journal.run_directory import RunDirectory, make_state_directory, runs_directory
from pqrun.journal.run_record import RunRecord

if TYPE_CHECKING:
    from pqrun.app.maintenance import QueueMaintenance
    from pqrun.core.events import Event
    from pqrun.journal.restart_plan import RestartPlan

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
    for header in JournalReader(directory.journal):
        if "serve" not in header:
            raise UserError(f"the run in {directory.path} is not a queue: continue it with `pqrun resume`")
        return True
    return False  # pqrun was killed before the journal's first line was complete


def serve(settings: Settings, *, detach: bool, keep: int = KEEP) -> int:
    """Run the queue in `settings.record.run_dir` until it is stopped; return the exit code.

    With `detach`, return the exit code of the start. `keep`: the number of ended jobs whose record
    and output are kept. Raises `UserError` for options that a queue cannot have.
    """
    assert settings.record.run_dir is not None
    for name in _NOT_FOR_A_QUEUE:
        if settings.value_of(name):
            raise UserError(f"--{name.replace('_', '-')} can't be used with a queue, which has no end")
    if settings.record.no_journal:
        raise UserError("--no-journal can't be used with a queue, which is restored from its journal")
    reset_signals()
    directory = RunDirectory(settings.record.run_dir)
    if settings.place.cwd is not None:
        chdir_or_error(settings.place.cwd)
    elif not is_begun(directory):
        current_directory()
    if not detach:
        return _serve(settings, directory, keep, lambda: None)
    from pqrun.app.daemon import detached

    if settings.output.progress == "auto":
        settings = settings.with_values({"progress": "plain"})
    return detached(directory, lambda ready: _serve(settings, directory, keep, ready))


def _serve(settings: Settings, directory: RunDirectory, keep: int, ready: Callable[[], None]) -> int:
    source = JobInput((), None, (), open_end=True)
    if not is_begun(directory):
        record = RunRecord(run_dir=directory.path, keep=True, durable=settings.record.durable)
        record.run_id = settings.record.serve or record.run_id
        return QueueRun(settings, source, record, None, keep, ready).run()
    from pqrun.app.resume import as_left, end_survivors, put_half_made_aside, settings_before
    from pqrun.journal.restart_plan import plan_restart

    record = RunRecord.reopen(directory.path, durable=settings.record.durable, keep=keep)
    assert record.found is not None
    end_survivors(record.found.tokens)
    put_half_made_aside(record.found)
    restart = plan_restart(record.found, record.found.last, failed=False)
    as_left(restart, record.found, settings, settings_before(record.found), anew=False)
    return QueueRun(settings, source, record, restart, keep, ready).run()


class QueueRun(Run):
    """The run of a queue: with maintenance, and a call of `ready` when it accepts jobs."""

    def __init__(
        self,
        settings: Settings,
        source: JobInput,
        record: RunRecord,
        restart: RestartPlan | None,
        keep: int,
        ready: Callable[[], None],
    ) -> None:
        super().__init__(settings, source, record, restart)
        self.scheduler.graph.remembers_ended = keep
        self._keep = keep
        self._tell = ready
        self.ready = self._begin
        self._tidying: QueueMaintenance | None = None

    def _begin(self) -> None:
        from pqrun.app.maintenance import QueueMaintenance

        self._tidying = maintenance = QueueMaintenance(self.record, self.engine, self._keep)
        tell = self.engine.after_turn

        def both(events: Sequence[Event]) -> None:
            if tell is not None:
                tell(events)
            maintenance.heard(events)

        self.engine.after_turn = both
        self._tell()

    def _close_record(self) -> None:
        if self._tidying is not None:
            self._tidying.close()
        super()._close_record()
