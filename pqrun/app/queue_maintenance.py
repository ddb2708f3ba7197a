# SPDX-License-Identifier: LGPL-3.0-or-later
"""The maintenance of a queue's files while it runs: the journal, the output of old jobs, the log."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from threading import Lock, Thread

from pqrun.core import events as ev
from pqrun.core.errors import InternalFailure
from pqrun.core.scheduler import Scheduler
from pqrun.engine.engine import Engine
from pqrun.engine.threads import NoThread, start_thread
from pqrun.journal.run_directory import LOG_NAME
from pqrun.journal.run_record import RunRecord
from pqrun.journal.writer import JournalWriter

MAX_LOG_BYTES = 8 << 20


class QueueMaintenance:
    """The maintenance of a queue, whose journal, output files and log must not grow for ever.

    When enough jobs have ended, a thread compacts the part of the journal that was there when it began,
    while the queue continues. A turn of the engine then only has to append the lines written since. `keep`:
    the number of ended jobs whose record and output are kept. `ready` is called when the queue accepts jobs,
    `stopping` when it has stopped. `greeting`: the message for the terminal when jobs can be added, or ''.
    """

    def __init__(self, record: RunRecord, keep: int) -> None:
        self.keep = keep
        self.ready: Callable[[], None] = lambda: None
        self.stopping: Callable[[], None] = lambda: None
        self.greeting = ""
        self._record = record
        self._engine: Engine | None = None
        self._worth = max(1000, keep // 2)
        self._ended = 0
        self._lock = Lock()
        self._thread: Thread | None = None

    def begin(self, engine: Engine) -> None:
        """Count jobs from now on, and say that the queue accepts jobs."""
        self._engine = engine
        self.ready()

    def on_events(self, events: Sequence[ev.Event]) -> None:
        """Count the jobs that ended. Called after each turn, on any thread."""
        ended = sum(isinstance(event, ev.JobEnded) for event in events)
        if not ended or self._engine is None:
            return
        with self._lock:
            self._ended += ended
            if self._ended < self._worth or (self._thread is not None and self._thread.is_alive()):
                return
            thread = Thread(target=self._tidy, name="pqrun-tidying", daemon=True)
            with contextlib.suppress(NoThread):  # no thread can be created: try again at a later end
                start_thread(thread)
                self._thread, self._ended = thread, 0

    def close(self) -> None:
        """Wait for a compaction that is going on."""
        if self._thread is not None:
            self._thread.join()

    def _tidy(self) -> None:
        from pqrun.journal.compaction import compacted, remove_outputs

        directory, journal = self._record.directory, self._record.journal
        assert directory is not None and isinstance(journal, JournalWriter) and self._engine is not None
        with contextlib.suppress(OSError):
            shorten_log(f"{directory.path}/{LOG_NAME}")
        before: list[int] = []
        self._engine.turn(request=lambda scheduler, _now: before.append(scheduler.reopened))
        packs = self._record.logs.packs
        try:
            closed = frozenset() if packs is None else packs.closed()
            shorter = compacted(
                directory.journal, keep=self.keep, worth=self._worth // 2, closed_packs=closed
            )
        except (OSError, InternalFailure):
            return  # the journal stays long; if the disk is full, the journal's next line reports it
        if shorter is None:
            return
        done: list[bool] = []

        def replace_journal(scheduler: Scheduler, _now: float) -> None:
            # A job restarted meanwhile may be one that was left out: its next lines would have no first one.
            done.append([scheduler.reopened] == before and journal.go_on_in(shorter))

        self._engine.turn(request=replace_journal)
        if done == [True]:
            remove_outputs(directory, shorter)
        else:
            with contextlib.suppress(OSError):
                os.unlink(shorter.path)


def shorten_log(path: str) -> None:
    """Move the content of a long log to `PATH.1`, in place of what is there."""
    if os.stat(path, follow_symlinks=False).st_size <= MAX_LOG_BYTES:
        return
    aside = f"{path}.1"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(aside)
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        out = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            while data := os.read(fd, 1 << 20):
                os.write(out, data)
        finally:
            os.close(out)
        os.ftruncate(fd, 0)  # descriptors opened with O_APPEND continue at the start of the file
    finally:
        os.close(fd)
