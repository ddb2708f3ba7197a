# SPDX-License-Identifier: LGPL-3.0-or-later
"""[hot path] The writer of a journal: one `write(2)` a turn, before any command of the turn is carried out.

A thread of the writer flushes the file to the disk once a second; a durable writer flushes it in the turn.
The same thread checks that the file still exists: if it was removed, the open descriptor still accepts
writes, but nothing is kept.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from threading import Event as Flag
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any
from zlib import crc32

from pqrun.core.errors import InternalFailure
from pqrun.core.events import Event
from pqrun.engine.clock import Clock
from pqrun.engine.threads import NoThread, start_thread
from pqrun.journal.format import Encoder, append_checksum
from pqrun.output.store import write_all

if TYPE_CHECKING:
    from pqrun.journal.compaction import CompactedJournal

SYNC_INTERVAL_SECONDS = 1.0
MAX_EVENTS_PER_WRITE = 4096
_fdatasync = getattr(os, "fdatasync", os.fsync)


class JournalWriter:
    """A journal that is open for writing after its first `size` bytes, whose checksum is `crc`.

    The callback `watch` is called about once a second, on the journal's thread, until the journal is closed.
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
        self._unsynced = False
        self._closing = Flag()
        self._keeper: Thread | None = None
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._fd = os.open(path, flags, 0o600)
            os.ftruncate(self._fd, size)  # cut off a torn last line
        except OSError as error:
            raise self._failure(error) from error

    def start(self, header: dict[str, Any]) -> None:
        """Write the first line of this process, and start the journal's thread.

        If no thread can be started, every turn flushes the file.
        """
        self.note(header)
        self._keeper = Thread(target=self._keep, name="pqrun-journal", daemon=True)
        try:
            start_thread(self._keeper)
        except NoThread:
            self._keeper = None
            self._durable = True

    def spare(self) -> None:
        """Give up the journal's thread, because jobs need it; every turn flushes from now on.

        Called on any thread.
        """
        self._durable = True
        self._closing.set()

    def note(self, facts: dict[str, Any]) -> None:
        """Write a line that is not an event: the beginning or the end of this process."""
        line, self._crc = append_checksum(
            json.dumps(facts, ensure_ascii=True, separators=(",", ":")), self._crc
        )
        self._write(line)

    def record(self, events: Sequence[Event]) -> None:
        """Write events. Raises InternalFailure if they can't be written. Called within a turn."""
        if len(events) > MAX_EVENTS_PER_WRITE:
            # The texts of 100,000 new jobs need as much memory as the jobs. So they are made and written in parts;
            # `listed` shows a reader whether all arrived.
            parts: Iterable[list[str]] = self._encode.in_parts(events, MAX_EVENTS_PER_WRITE)
        else:
            parts = (self._encode(events),)
        unsynced = False
        for texts in parts:
            if not texts:
                continue
            crc = self._crc
            lines = []
            for text in texts:
                data = text[:-1].encode()  # `append_checksum`, without a call for each line
                crc = crc32(data, crc)
                lines.append(b'%b,"c":"%08x"}\n' % (data, crc))
            self._write(b"".join(lines))
            self._crc = crc
            self._unsynced = unsynced = True
        if unsynced and self._durable:
            self._sync()

    def go_on_in(self, shorter: CompactedJournal) -> bool:
        """Continue in a compacted file, and move it to the place of this one.

        Returns False, with nothing changed, if that fails. Call this only within a turn, so that nothing is
        recorded at the same time.
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
        with contextlib.suppress(OSError):  # on failure, a power cut may bring the old file back
            sync_directory(os.path.dirname(self._path))
        return True

    def close(self) -> None:
        """Flush everything to the disk and close the file. Raises InternalFailure if anything was lost."""
        self._closing.set()
        if self._keeper is not None:
            self._keeper.join()
        try:
            if self._failed is not None:
                raise self._failed
            self._sync()
        finally:
            os.close(self._fd)

    def _write(self, data: bytes) -> None:
        """Write all of the data or none of it. Raises InternalFailure.

        After a failure, nothing more is written, so that the lines in the file stay valid.
        """
        if self._failed is not None:
            raise self._failed
        try:
            written = os.write(self._fd, data)
            while written < len(data):
                written += os.write(self._fd, memoryview(data)[written:])
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
        """Return why nothing more can be recorded, or None. Called on any thread."""
        with self._moving:
            if self._failed is None and not is_at(self._path, self._fd):
                self._failed = gone(self._path)
        return self._failed

    def _keep(self) -> None:
        while not self._closing.is_set():
            if self._unsynced and not self._durable:
                self._unsynced = False
                with self._moving:
                    try:
                        _fdatasync(self._fd)
                    except OSError as error:  # the kernel reports it only once, so the error is kept
                        self._failed = self._failed or self._failure(error)
            self.watch()
            self._closing.wait(SYNC_INTERVAL_SECONDS)

    def _failure(self, error: OSError) -> InternalFailure:
        return InternalFailure(f"cannot write the journal {self._path}: {error.strerror}")


def is_at(path: str, fd: int) -> bool:
    """Return whether an open file is still the one at the path, as far as the system can tell."""
    try:
        there = os.stat(path, follow_symlinks=False)
        here = os.fstat(fd)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    # Some file systems change the inode number of an open file, so only a file without links is gone.
    return os.path.samestat(there, here) or here.st_nlink > 0


def gone(path: str) -> InternalFailure:
    """Return the failure that says which file was removed, and what follows from it."""
    where = os.path.dirname(path)
    what = path if os.path.isdir(where) else f"the run directory {where}"
    return InternalFailure(
        f"{what} was removed during the run: running jobs were stopped, and the run can't be resumed; "
        "use --run-dir with a directory that is not cleaned up"
    )
