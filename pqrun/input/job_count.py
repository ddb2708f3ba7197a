# SPDX-License-Identifier: LGPL-3.0-or-later
"""The number of jobs in regular files, counted beside the run, so that the live table can show a total at once."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from threading import Thread
from typing import NamedTuple

from pqrun.core.errors import UserError
from pqrun.engine.threads import NoThread, start_thread
from pqrun.input.reader import JobParser
from pqrun.input.sources import READ_CHUNK_BYTES, OpenedFile


class _Part(NamedTuple):
    """A file to count. `at`: its offset before jobs were read from it, `head` the bytes before that."""

    name: str
    head: bytes
    fd: int
    at: int


class JobCount:
    """The number of jobs of an input: those `known`, and those that `counter` finds in the files `parts`.

    A thread reads the files piece by piece, through descriptors of its own, from the offsets at which they
    are when this object is made. It starts when the number is asked for first: a short run pays nothing.
    A wrong line or a failure leaves the number unknown; the reader of the jobs reports them.
    """

    def __init__(
        self, known: int, counter: JobParser | None = None, parts: Sequence[OpenedFile] = ()
    ) -> None:
        self._known = known
        self._counter = counter
        self._parts = [
            _Part(part.name, part.head, os.dup(part.fd), os.lseek(part.fd, 0, os.SEEK_CUR)) for part in parts
        ]
        self._number = None if parts else known
        self._thread: Thread | None = None
        self._closed = False

    def number(self) -> int | None:
        """Return the number, or None if it is not known yet. Called on one thread."""
        if self._parts and self._thread is None and not self._closed:
            self._thread = Thread(target=self._count, name="pqrun-count", daemon=True)
            try:
                start_thread(self._thread)
            except NoThread:
                self.close()
        return self._number

    def close(self) -> None:
        """End the count."""
        self._closed = True
        if self._thread is None or self._thread.ident is None:  # else the thread closes its files
            self._close_files()

    def _count(self) -> None:
        try:
            number = self._known + sum(map(self._jobs_of, self._parts))
        except (OSError, UserError):
            return
        finally:
            self._close_files()
        self._number = None if self._closed else number

    def _jobs_of(self, part: _Part) -> int:
        counter = self._counter
        assert counter is not None
        counter.begin(part.name)
        counter.feed(part.head)
        at, found = part.at, 0
        while not self._closed and (piece := os.pread(part.fd, READ_CHUNK_BYTES, at)):
            began = time.thread_time()
            counter.feed(piece)
            at += len(piece)
            while counter.take() is not None:
                found += 1
            time.sleep(time.thread_time() - began)  # leave half of the time to the threads that run jobs
        counter.end()
        while counter.take() is not None:
            found += 1
        return found

    def _close_files(self) -> None:
        parts, self._parts = self._parts, []
        for part in parts:
            os.close(part.fd)
