# SPDX-License-Identifier: LGPL-3.0-or-later
"""The files that hold the blocks of a stream: kept until their jobs are ok, so that a job can read its block again."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable
from threading import Condition
from typing import Final

from pqrun.core import events as ev
from pqrun.core.events import Observer
from pqrun.core.job import InputBlock, Outcome, block_of
from pqrun.core.job_row import JobRow
from pqrun.input.each.pipe import Block

_CHUNK_BYTES: Final = 1 << 20


class GrowingFile:
    """A file to which the main thread appends blocks, while a thread sends all of it to the job.

    The file keeps what was sent, because a retry reads everything from the beginning. `wake` is called on any thread
    when less than `low` bytes wait to be sent.
    """

    def __init__(self, path: str, *, low: int, wake: Callable[[], None]) -> None:
        self.path = path
        self.written = 0
        self.closed = False
        self._low = low
        self._wake = wake
        self._changed = Condition()
        self._sent = 0
        self._sender = 0
        self._ended = False

    @property
    def wants_more(self) -> bool:
        """Whether the job has read nearly all of the file."""
        return not self.closed and self.backlog < self._low

    @property
    def backlog(self) -> int:
        """How many bytes wait to be sent."""
        return self.written - self._sent

    def append(self, data: bytes) -> None:
        """Write data for the job. Raises OSError."""
        try:
            append_to_file(self.path, data)
        except FileNotFoundError:
            if not self.closed:  # else the job has just ended, and its file was removed
                raise
        with self._changed:
            self.written += len(data)
            self._changed.notify_all()

    def end(self) -> None:
        """End the input of the job: nothing more is appended."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Note that the job has ended for good. Called on the dispatcher thread."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()
        self._wake()

    def send(self, file: int, pipe: int) -> None:
        """Write the whole file, which is open as `file`, into a pipe.

        Called on a thread for each attempt. A later attempt begins again, and its sender ends an earlier one. Raises
        OSError, BrokenPipeError if the job no longer reads.
        """
        with self._changed:
            self._sender += 1
            sender, sent, self._sent = self._sender, 0, 0
            self._changed.notify_all()
        while self._more(sender, sent):
            sent += self._send_some(file, pipe, sent)
            with self._changed:
                if sender == self._sender:
                    self._sent = sent
            if self.wants_more:
                self._wake()

    def _more(self, sender: int, sent: int) -> bool:
        """Wait until there is more to send; return False if there never will be."""
        with self._changed:
            self._changed.wait_for(
                lambda: self.written > sent or self._ended or self.closed or sender != self._sender
            )
            return self.written > sent and not self.closed and sender == self._sender

    def _send_some(self, file: int, pipe: int, at: int) -> int:
        data = os.pread(file, min(_CHUNK_BYTES, self.written - at), at)
        if not data:
            raise OSError(errno.ENODATA, "it is shorter than it was")
        return os.write(pipe, data)


def append_to_file(path: str, data: bytes) -> None:
    """Append data to a file. It is not kept open: there is one for each worker. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
    write_and_close(path, fd, data)


def write_and_close(path: str, fd: int, *pieces: bytes) -> None:
    """Write data to a file that is open, and close it. Raises OSError with the file's name."""
    try:
        for data in pieces:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(fd, rest) :]
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(fd)


class BlockFiles(Observer):
    """The kept blocks of a run: written on the main thread, and removed when their jobs are ok.

    A job that failed keeps its block for `resume --failed`, but not in a run that is not `recorded`.
    """

    def __init__(self, directory: str, *, recorded: bool) -> None:
        self.handlers = {ev.JobEnded: self._ended}
        self.growing: dict[int, GrowingFile] = {}
        self._directory = directory
        self._recorded = recorded

    def write(self, number: int, header: bytes, block: Block) -> InputBlock:
        """Keep a block. Raises OSError if it can't be written."""
        path, fd = self._create(number)
        write_and_close(path, fd, header, block.data)
        return InputBlock(number, block.offset, len(block.data), path, len(header), kept=True)

    def create_empty(self, number: int) -> str:
        """Create the file of a block that grows; return its path. Raises OSError if that is not possible."""
        path, fd = self._create(number)
        os.close(fd)
        return path

    def _create(self, number: int) -> tuple[str, int]:
        path = f"{self._directory}/{number}"
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return path, os.open(path, flags, 0o600)
        except FileNotFoundError:
            os.mkdir(self._directory, 0o700)
            return path, os.open(path, flags, 0o600)

    def _ended(self, event: ev.JobEnded, row: JobRow) -> None:
        block = block_of(row.spec)
        if block is None or not block.kept:
            return
        if (growing := self.growing.get(block.number)) is not None:
            growing.close()
        if event.outcome is Outcome.OK or not self._recorded:
            with contextlib.suppress(OSError):
                os.unlink(block.file)


def reopened_blocks(directory: str, rows: Iterable[JobRow], *, remove: bool) -> bool:
    """Prepare the kept blocks of a run that is resumed, and return whether there are any.

    Their paths are set anew, because the directory of the run may have moved. With `remove`, blocks of no use are
    removed: the job was ok just before pqrun was killed, or it was not recorded.
    """
    needed = set()
    found = False
    for row in rows:
        block = block_of(row.spec)
        if block is not None and block.kept:
            found = True
            if row.outcome is not Outcome.OK:
                needed.add(str(block.number))
                moved = block._replace(file=f"{directory}/{block.number}")
                row.spec = row.spec._replace(work=row.spec.work._replace(stdin=moved))
    if found and remove:
        for name in os.listdir(directory):
            if name not in needed:
                os.unlink(f"{directory}/{name}")
    return found
