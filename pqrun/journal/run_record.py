# SPDX-License-Identifier: LGPL-3.0-or-later
"""The record of one process: of a new run, of a resumed run, or none at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pqrun import __version__
from pqrun.core.errors import InternalFailure, UserError
from pqrun.core.metrics import MetricsCollector
from pqrun.core.text import command, quoted_word
from pqrun.engine.clock import Clock
from pqrun.engine.engine import EventJournal, NoJournal
from pqrun.journal.format import FIRST_WITH_PACKS, VERSION
from pqrun.journal.run_directory import (
    RunDirectory,
    find_run,
    make_state_directory,
    new_run_id,
    runs_directory,
)
from pqrun.journal.writer import JournalWriter, is_at
from pqrun.output.store import Logs

if TYPE_CHECKING:
    from pqrun.journal.recovery import RecoveredRun


class RunRecord:
    """The run's id, the places of its files, and its journal, by `new` or `reopen`.

    Create the record before anything is forked, so that the watchdog can hold the lock too. `found`: what the
    journal of a resumed run tells. Without a `directory`, nothing is kept, and the workspace is a temporary directory.
    `made`: the run's directory and its parents, as far as this process made them.
    """

    def __init__(
        self,
        run_id: str,
        directory: RunDirectory | None,
        workspace: str,
        logs: Logs,
        *,
        durable: bool,
        found: RecoveredRun | None = None,
        made: Sequence[str] = (),
    ) -> None:
        self.run_id = run_id
        self.token = os.urandom(8).hex()
        self.found = found
        self.directory = directory
        self.workspace = workspace
        self.logs = logs
        self.journal: EventJournal = NoJournal()
        self._durable = durable
        self._writer: JournalWriter | None = None
        self._clock: Clock | None = None
        self._made = made

    @classmethod
    def new(
        cls, *, run_dir: str | None, keep: bool, durable: bool = False, run_id: str | None = None
    ) -> RunRecord:
        """Create and lock the directory of a new run; without `keep` and `run_dir`, one that is removed at its end.

        Raises UserError if a run with jobs is in the directory already.
        """
        run_id = run_id or new_run_id()
        if not keep and run_dir is None:
            import tempfile

            workspace = tempfile.mkdtemp(prefix="pqrun-")
            return cls(run_id, None, workspace, Logs(f"{workspace}/logs", keep=False), durable=durable)
        if run_dir is None:
            make_state_directory()
        directory = RunDirectory(run_dir or f"{runs_directory()}/{run_id}")
        directory.require_free()
        made = list(_missing(directory.path))
        directory.create()
        directory.lock()
        if directory.has_journal():
            _require_no_jobs(directory, run_dir or run_id)
        logs = Logs(directory.logs, keep=True)
        return cls(run_id, directory, directory.workspace, logs, durable=durable, made=made)

    @classmethod
    def reopen(cls, name: str, *, durable: bool = False, keep: int | None = None) -> RunRecord:
        """Lock and read an old run. The caller must end its surviving processes before starting any job.

        With `keep`, the journal of a queue is compacted: only the last `keep` ended jobs stay.
        """
        directory = find_run(name)
        directory.lock()
        if keep is not None:
            from pqrun.journal.compaction import compact

            compact(directory, keep=keep, worth=max(100, keep // 10))
        from pqrun.journal.recovery import recover

        found = recover(directory)
        directory.create()
        packed = found.header["pqrun"] >= FIRST_WITH_PACKS  # an older pqrun may still want to read the run
        logs = Logs(directory.logs, keep=True, packed=packed)
        return cls(found.header["run"], directory, directory.workspace, logs, durable=durable, found=found)

    @property
    def blocks(self) -> str:
        """The path of the directory for blocks of the input; it may not exist."""
        return f"{self.workspace}/blocks" if self.directory is None else self.directory.blocks

    @property
    def keeps(self) -> bool:
        """Whether the run can be resumed or looked at later."""
        return self.directory is not None

    @property
    def lock_fds(self) -> tuple[int, ...]:
        """The descriptors that hold the lock of the run's directory."""
        return () if self.directory is None else (self.directory.lock_fd,)

    @property
    def address(self) -> str:
        """The run's name on a command line: its id or its path; empty if the directory is gone."""
        gone = self.directory is None or not os.path.exists(self.directory.path)
        return "" if self.directory is None or gone else self.directory.address

    def begin(self, clock: Clock, *, listed: int, facts: dict[str, Any], began: float | None = None) -> None:
        """Open the journal and write its first line, which says what this process was asked to do.

        `listed` is the number of jobs known before anything starts. `began` is when a new run began (default:
        now), on `clock`.
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
        """Have `look` called about once a second, on the journal's thread, until the record is closed."""
        if self._writer is not None:
            self._writer.watch = look

    def failure(self) -> InternalFailure | None:
        """Return why nothing more can be recorded: the disk failed, or the directory was removed or taken."""
        if self._writer is None or self.directory is None:
            return None
        return self._writer.failure() or self.directory.hold() or self._lost_pack()

    def _lost_pack(self) -> InternalFailure | None:
        pack = None if self.logs.packs is None else self.logs.packs.present
        if pack is None or is_at(pack.path, pack.fd):
            return None
        return InternalFailure(
            f"{pack.path} was removed during the run, and with it the output of ended jobs"
        )

    def spare(self) -> None:
        """Give up the journal's own thread, because jobs need all threads there are. Called on any thread."""
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
        """Write the last line of this process, from which a list of runs is shown without reading the rest.

        `exit` is the run's exit code, and `failed` the number of jobs that make it 1. `stopped` says that the
        run was told to end, `complete` that its list of jobs was read to the end, `guarded` that a watchdog
        was always there.
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
            pass  # the line only repeats facts that are recorded already

    def close(self, *, discard: bool = False) -> None:
        """Flush everything to the disk, delete the workspace, and unlock the directory.

        A directory that this process made is deleted too with `discard`, for a run that did nothing, or if no
        journal was begun.
        """
        try:
            if self._writer is not None:
                self._writer.close()
        finally:
            _remove(self.workspace)
            if self.directory is not None:
                if (discard or self._writer is None) and self._made:
                    _remove(self.directory.path)
                    with contextlib.suppress(OSError):  # another program may have put files there
                        for parent in self._made[1:]:
                            os.rmdir(parent)
                self.directory.unlock()


def _require_no_jobs(directory: RunDirectory, name: str) -> None:
    from pqrun.journal.recovery import has_jobs

    if has_jobs(directory):
        go_on = command("resume", name)
        raise UserError(f"{quoted_word(name)} contains a run already: continue it with `{go_on}`")


def _missing(path: str) -> Iterator[str]:
    """Yield the parts of a path that don't exist yet, from the bottom up."""
    while not os.path.lexists(path):
        yield path
        path = os.path.dirname(path)


def _remove(path: str) -> None:
    """Remove a directory and its content; usually the directory is empty.

    A directory that can't be removed stays. Nothing is raised, since the lock must be given back afterwards.
    """
    try:
        os.rmdir(path)
    except OSError:
        with contextlib.suppress(OSError, ImportError):  # without a free descriptor, no module can be read
            import shutil

            shutil.rmtree(path, ignore_errors=True)
