# SPDX-License-Identifier: LGPL-3.0-or-later
"""Appends a run's events to its journal: one `write(2)` a turn, before anything is done about them.

The disk is made sure of once a second, by a thread of its own, or in the turn if that is asked for. The
same thread looks whether the file is still there: whoever removes it leaves us a descriptor that takes
everything and keeps nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Sequence
from threading import Event as Flag
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

from pqrun.core.errors import InternalFailure
from pqrun.core.events import Event
from pqrun.engine.clock import Clock
from pqrun.engine.threads import NoThread, start_thread
from pqrun.journal.format import Encoder, append_checksum
from pqrun.output.store import write_all

if TYPE_CHECKING:
    from pqrun.journal.compaction import CompactedJournal

SYNC_INTERVAL_SECONDS = 1.0
MAX_LINES_PER_WRITE = 4096
_fdatasync = getattr(os, "fdatasync", os.fsync)


class JournalWriter:
    """Open for writing; `header` goes first: of a new run, or of the process that goes on with one.

    `watch` is called now and then, from the journal's own thread, until it is closed.
    """

    def __init__(
        self, path: str, clock: Clock, *, crc: int = 0, size: int = 0, durable: bool = False
    ) -> None:
        self.watch: Callable[[], None] = lambda: None
        self._path = path
        self._moving = Lock()
        self._encode = Encoder(clock.wall)
        self._crc = crc
        self._size = size
        self._failed: InternalFailure | None = None
        self._durable = durable
        self._dirty = Flag()
        self._closing = Flag()
        self._keeper: Thread | None = None
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._fd = os.open(path, flags, 0o600)
            os.ftruncate(self._fd, size)  # a torn last record goes
        except OSError as error:
            raise self._failure(error) from error

    def start(self, header: dict[str, Any]) -> None:
        """Writes the first line of this process."""
        self.note(header)
        self._keeper = Thread(target=self._keep, name="pqrun-journal", daemon=True)
        try:
            start_thread(self._keeper)
        except NoThread:
            self._keeper = None
            self._durable = True

    def spare(self) -> None:
        """From any thread: does without the thread, since the jobs need it; each turn syncs from now on."""
        self._durable = True
        self._closing.set()
        self._dirty.set()

    def note(self, facts: dict[str, Any]) -> None:
        """Writes a line that is no event: how this process begins, how it ends."""
        line, self._crc = append_checksum(
            json.dumps(facts, ensure_ascii=True, separators=(",", ":")), self._crc
        )
        self._write(line)

    def record(self, events: Sequence[Event]) -> None:
        """Keeps them; `OwnFailure` if they can't be kept."""
        lines = []
        crc = self._crc
        for text in self._encode(events):
            line, crc = append_checksum(text, crc)
            lines.append(line)
            if (
                len(lines) == MAX_LINES_PER_WRITE
            ):  # a list of 100,000 jobs: the last of them says that it is whole
                self._write(b"".join(lines))
                self._crc = crc
                lines.clear()
        if lines:
            self._write(b"".join(lines))
            self._crc = crc
            if self._durable:
                self._sync()
            elif not self._dirty.is_set():
                self._dirty.set()

    def go_on_in(self, shorter: CompactedJournal) -> bool:
        """Goes on in that file and puts it in this one's place; false if that can't be, and nothing changed.

        Only where nothing is recorded meanwhile.
        """
        from pqrun.journal.compaction import resealed, sync_directory

        try:
            fd = os.open(shorter.path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            with open(self._path, "rb") as old:
                old.seek(shorter.upto)
                data, crc = resealed(old, shorter.crc)
            write_all(fd, data)
            _fdatasync(fd)
            with self._moving:
                os.rename(shorter.path, self._path)
                before, self._fd, self._crc = self._fd, fd, crc
        except OSError:
            os.close(fd)
            return False
        with contextlib.suppress(OSError):
            os.close(before)
        self._size = os.fstat(fd).st_size
        with contextlib.suppress(OSError):  # after a loss of power it may be the old one then
            sync_directory(os.path.dirname(self._path))
        return True

    def close(self) -> None:
        """Everything is on the disk now, or `OwnFailure`."""
        self._closing.set()
        self._dirty.set()
        if self._keeper is not None:
            self._keeper.join()
        try:
            if self._failed is not None:
                raise self._failed
            self._sync()
        finally:
            os.close(self._fd)

    def _write(self, data: bytes) -> None:
        """All of it or nothing; nothing more after a failure, so that what is there stays whole."""
        if self._failed is not None:
            raise self._failed
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            self._failed = self._failure(error)
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)
            raise self._failed from error
        self._size += len(data)

    def _sync(self) -> None:
        try:
            _fdatasync(self._fd)
        except OSError as error:
            raise self._failure(error) from error

    def failure(self) -> InternalFailure | None:
        """Why nothing more can be kept, if so; from any thread."""
        with self._moving:
            if self._failed is None and not is_at(self._path, self._fd):
                self._failed = gone(self._path)
        return self._failed

    def _keep(self) -> None:
        while not self._closing.is_set():
            if self._dirty.wait(SYNC_INTERVAL_SECONDS) and not self._durable:
                self._dirty.clear()
                with self._moving:
                    try:
                        _fdatasync(self._fd)
                    except OSError as error:  # the kernel says it once: the last sync may well succeed
                        self._failed = self._failed or self._failure(error)
            self.watch()
            self._closing.wait(SYNC_INTERVAL_SECONDS)

    def _failure(self, error: OSError) -> InternalFailure:
        return InternalFailure(f"cannot write the journal {self._path}: {error.strerror}")


def is_at(path: str, fd: int) -> bool:
    """Whether that open file is still the one of that name, as far as can be told."""
    try:
        there = os.stat(path, follow_symlinks=False)
        here = os.fstat(fd)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    # Some file systems change the numbers of a file that is open: only one that was removed is gone.
    return os.path.samestat(there, here) or here.st_nlink > 0


def gone(path: str) -> InternalFailure:
    """Says what was removed, and what that means."""
    where = os.path.dirname(path)
    what = path if os.path.isdir(where) else f"the run directory {where}"
    return InternalFailure(
        f"{what} was removed while the run went on: what ran was stopped, and there is nothing to resume; "
        "--run-dir keeps the record where nothing cleans up"
    )
