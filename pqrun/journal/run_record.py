# SPDX-License-Identifier: LGPL-3.0-or-later
"""Where one process keeps what it does: a new run's record, an old one's to go on with, or none."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pqrun import __version__
from pqrun.core import text as hints
from pqrun.core.errors import InternalFailure, UserError
from pqrun.core.metrics import MetricsCollector
from pqrun.engine.clock import Clock
from pqrun.engine.engine import EventJournal as AnyJournal
from pqrun.engine.engine import NoJournal
from pqrun.journal.format import VERSION
from pqrun.journal.run_directory import (
    RunDirectory,
    find_run,
    make_state_directory,
    new_run_id,
    runs_directory,
)
from pqrun.journal.writer import JournalWriter
from pqrun.output.store import Logs

if TYPE_CHECKING:
    from pqrun.journal.recovery import RecoveredRun


class RunRecord:
    """The run's id, where its files go, and its journal. Take the lock before anything is forked."""

    def __init__(self, *, run_dir: str | None, keep: bool, durable: bool = False) -> None:
        self.run_id = new_run_id()
        self.token = os.urandom(8).hex()
        self.found: RecoveredRun | None = None
        self.directory: RunDirectory | None = None
        self.journal: AnyJournal = NoJournal()
        self._durable = durable
        self._writer: JournalWriter | None = None
        self._clock: Clock | None = None
        self._temporary = ""
        self._made: list[str] = []  # the run's directory and its parents, as far as they were not there
        if keep or run_dir is not None:
            if run_dir is None:
                make_state_directory()
            self.directory = RunDirectory(run_dir or f"{runs_directory()}/{self.run_id}")
            self.directory.require_free()
            self._made = list(_missing(self.directory.path))
            self.directory.create()
            self.directory.lock()
            if self.directory.has_journal() and _has_jobs(self.directory):
                path = run_dir or self.run_id
                go_on = hints.command("resume", path)
                raise UserError(f"a run is recorded in {hints.quoted_word(path)}: go on with it by `{go_on}`")
            self.workspace = self.directory.workspace
            self.logs = Logs(self.directory.logs, keep=True)
        else:
            import tempfile

            self._temporary = self.workspace = tempfile.mkdtemp(prefix="pqrun-")
            self.logs = Logs(self._temporary + "/logs", keep=False)

    @classmethod
    def reopen(cls, name: str, *, durable: bool = False, keep: int | None = None) -> RunRecord:
        """An old run, locked and read. The caller ends what that run left running before it starts anything.

        `keep`: of a queue, the journal is kept short by leaving out all but so many of the ended jobs.
        """
        directory = find_run(name)
        directory.lock()
        if keep is not None:
            from pqrun.journal.compaction import compact

            compact(directory, keep=keep, worth=max(100, keep // 10))
        from pqrun.journal.recovery import recover

        found = recover(directory)
        record = cls.__new__(cls)
        record.run_id = found.header["run"]
        record.token = os.urandom(8).hex()
        record.found = found
        record.directory = directory
        record.journal = NoJournal()
        record.workspace = directory.workspace
        record.logs = Logs(directory.logs, keep=True)
        record._durable = durable
        record._writer = None
        record._clock = None
        record._temporary = ""
        record._made = []
        directory.create()
        return record

    @property
    def keeps(self) -> bool:
        """Whether anything can be resumed or looked at afterwards."""
        return self.directory is not None

    @property
    def address(self) -> str:
        """How to call the run on a command line, if it is there: by its id, or by path if it was given one."""
        gone = self.directory is None or not os.path.exists(self.directory.path)
        return "" if self.directory is None or gone else self.directory.address

    def begin(self, clock: Clock, *, listed: int, facts: dict[str, Any], began: float | None = None) -> None:
        """Opens the journal, with what this process is asked to be as its first line.

        `listed` jobs are known before anything starts; `began` is when a new run began [now].
        """
        if self.directory is None:
            return
        position = self.found.position if self.found else None
        self._writer = JournalWriter(
            self.directory.journal,
            clock,
            crc=position.crc if position else 0,
            size=position.offset if position else 0,
            durable=self._durable,
        )
        at = clock.wall(clock.now() if began is None or self.found is not None else began)
        header: dict[str, Any] = {"token": self.token, "version": __version__, "at": at}
        if self.found is None:
            header = {"pqrun": VERSION, "run": self.run_id, "listed": listed, **header, **facts}
        else:
            header = {"e": "resume", **header, **facts}
        self._writer.start(header)
        self._clock = clock
        self.journal = self._writer

    def watch(self, look: Callable[[], None]) -> None:
        """Has that called now and then, from a thread of its own, until the record is closed."""
        if self._writer is not None:
            self._writer.watch = look

    def failure(self) -> InternalFailure | None:
        """Why nothing more can be recorded, if so: the disk failed, or the directory was removed or taken."""
        if self._writer is None or self.directory is None:
            return None
        return self._writer.failure() or self.directory.hold()

    def spare(self) -> None:
        """From any thread: no thread of ours is needed, since jobs need what there is."""
        if self._writer is not None:
            self._writer.spare()

    def conclude(
        self,
        metrics: MetricsCollector,
        at: float,
        exit: int,
        *,
        failed: int,
        stopped: bool,
        complete: bool,
        guarded: bool | None = None,
    ) -> None:
        """The last line of this process: what a list of runs shows without reading the rest.

        `exit` is the run's exit code, `failed` counts the jobs that make it 1, `stopped` says that the
        run was told to end, `complete` that its list of jobs was read to the end, `guarded` that there was
        always a watchdog.
        """
        if self._writer is None or self._clock is None:
            return
        outcomes = {str(outcome): count for outcome, count in metrics.outcomes.items() if count}
        facts = {"jobs": metrics.added, "outcomes": outcomes, "failed": failed, "exit": exit}
        end = {"e": "close", "t": self._clock.wall(at), "stopped": stopped, "complete": complete}
        facts |= {} if guarded is None else {"guarded": guarded}
        try:
            self._writer.note({**end, **facts})
        except InternalFailure:
            pass  # it only repeats what is recorded already

    def close(self, *, nothing: bool = False) -> None:
        """Everything is on the disk; the workspace goes, and all of it if there was `nothing` to do."""
        try:
            if self._writer is not None:
                self._writer.close()
        finally:
            _remove(self._temporary or self.workspace)
            if self.directory is not None:
                if (nothing or self._writer is None) and self._made:
                    _remove(self.directory.path)
                    with contextlib.suppress(OSError):  # others may have put something there
                        for parent in self._made[1:]:
                            os.rmdir(parent)
                self.directory.unlock()


def _missing(path: str) -> Iterator[str]:
    """What of this path has yet to be made, from below."""
    while not os.path.lexists(path):
        yield path
        path = os.path.dirname(path)


def _remove(path: str) -> None:
    """A directory and all that is in it; mostly there is nothing."""
    try:
        os.rmdir(path)
    except OSError:
        import shutil

        shutil.rmtree(path, ignore_errors=True)


def _has_jobs(directory: RunDirectory) -> bool:
    from pqrun.journal.recovery import has_jobs

    return has_jobs(directory)
