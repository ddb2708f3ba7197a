# SPDX-License-Identifier: LGPL-3.0-or-later
"""Where a job's output goes, and how it is read back: byte for byte.

Small outputs stay in memory, larger ones go from the pipe to a file without passing through
Python. A file is named by numbers, never by what a job is called.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import termios
from collections.abc import Iterator

from pqrun.core.errors import InternalFailure
from pqrun.core.job import AttemptId

MAX_IN_MEMORY_BYTES = 64 * 1024
COPY_CHUNK_BYTES = 1024 * 1024
FILES_PER_DIRECTORY = 500
SUFFIX = {1: "out", 2: "err"}

_splice = getattr(os, "splice", None)


class Logs:
    """The directory for output files; `keep`: small outputs are written there too."""

    def __init__(self, directory: str, *, keep: bool) -> None:
        self.directory = directory
        self.keep = keep

    def path(self, key: AttemptId, stream: int) -> str:
        """Where that stream of that attempt is, if there was any."""
        shard = f"{key.seq // FILES_PER_DIRECTORY:04d}"
        return f"{self.directory}/{shard}/{key.seq}.{key.attempt}.{SUFFIX[stream]}"

    def create(self, key: AttemptId, stream: int) -> int:
        """A new file, open; `OwnFailure` if it can't be."""
        path = self.path(key, stream)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            try:
                return os.open(path, flags, 0o600)
            except FileNotFoundError:
                # A run directory that was removed is not made anew: nobody would find in it what is missing.
                made = os.mkdir if self.keep else os.makedirs
                with contextlib.suppress(FileExistsError):
                    made(os.path.dirname(path), 0o700)
            except FileExistsError:
                os.unlink(path)
            return os.open(path, flags, 0o600)
        except OSError as error:
            raise InternalFailure(f"cannot create {path}: {error.strerror}") from error


class Stream:
    """One stream of one attempt. One thread writes; others may read what is there already."""

    __slots__ = ("_chunks", "_fd", "_key", "_logs", "last_line_end", "number", "path", "size")

    def __init__(self, logs: Logs, key: AttemptId, number: int) -> None:
        self.number = number
        self.size = 0
        self.path: str | None = None
        self.last_line_end = 0
        self._logs = logs
        self._key = key
        self._chunks: list[bytes] = []
        self._fd: int | None = None

    def take(self, pipe: int, *, limit: int = COPY_CHUNK_BYTES, by_line: bool = False) -> int:
        """Moves what a pipe holds; 0 at its end. `by_line` keeps `last_line_end` up to date."""
        if self._fd is None or by_line or _splice is None:
            data = os.read(pipe, min(limit, MAX_IN_MEMORY_BYTES))
            was_small = self._fd is None
            self.put(data, by_line=by_line)
            if was_small and self._fd is not None:
                _widen(pipe)
            return len(data)
        moved: int = _splice(pipe, self._fd, limit)
        self.size += moved
        return moved

    def put(self, data: bytes, *, by_line: bool = False) -> None:
        """Takes in bytes that did not come through a pipe."""
        if by_line and (end := data.rfind(b"\n")) >= 0:
            self.last_line_end = self.size + end + 1
        if self._fd is None:
            self._chunks.append(data)
            self.size += len(data)
            if self.size > MAX_IN_MEMORY_BYTES:
                self._spill()
        else:
            write_all(self._fd, data)
            self.size += len(data)

    def _spill(self) -> None:
        self._fd = self._logs.create(self._key, self.number)
        # Before anything is written: if that fails, the file has to be closed and removed all the same.
        self.path = self._logs.path(self._key, self.number)
        write_all(self._fd, b"".join(self._chunks))
        self._chunks = []

    @property
    def in_memory(self) -> int:
        """Bytes of memory that it takes."""
        return self.size if self._chunks else 0

    def finish(self) -> None:
        """No more will come; what is to be kept is in its file now."""
        if self.size and self._fd is None and self._logs.keep:
            self.to_file()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def to_file(self) -> None:
        """Writes what is in memory to its file too."""
        fd = self._logs.create(self._key, self.number)
        try:
            write_all(fd, b"".join(self._chunks))
        except OSError as error:
            path = self._logs.path(self._key, self.number)
            raise InternalFailure(f"cannot write {path}: {error.strerror}") from error
        finally:
            os.close(fd)
        self.path = self._logs.path(self._key, self.number)

    def forget(self) -> None:
        """Frees the memory of what is in a file."""
        if self.path is not None:
            self._chunks = []

    def drop(self) -> None:
        """Removes a file that is not to be kept."""
        if self.path is not None and not self._logs.keep:
            with contextlib.suppress(OSError):
                os.unlink(self.path)

    def pieces(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` to `end`, a piece at a time."""
        end = self.size if end is None else end
        chunks = self._chunks
        if self.path is None or chunks:
            yield b"".join(chunks)[start:end]
            return
        with open(self.path, "rb", buffering=0) as file:
            file.seek(start)
            while start < end and (piece := file.read(min(COPY_CHUNK_BYTES, end - start))):
                start += len(piece)
                yield piece

    def copy_to(self, fd: int, start: int = 0, end: int | None = None) -> None:
        """Writes the bytes from `start` to `end` to a descriptor, by the kernel where it can."""
        end = self.size if end is None else end
        if self.path is None or self._chunks:
            write_all(fd, b"".join(self._chunks)[start:end])
            return
        source = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            copy_range(source, fd, start, end)
        finally:
            os.close(source)

    def tail(self, limit: int = 8192) -> bytes:
        """The last bytes."""
        return b"".join(self.pieces(max(0, self.size - limit)))


class Capture:
    """What one attempt printed."""

    __slots__ = ("err", "out")

    def __init__(self, logs: Logs, key: AttemptId) -> None:
        self.out = Stream(logs, key, 1)
        self.err = Stream(logs, key, 2)

    @classmethod
    def stored(cls, logs: Logs, key: AttemptId, out: int, err: int) -> Capture:
        """What an attempt printed in an earlier process: so many bytes, in their files."""
        capture = cls(logs, key)
        for stream, size in ((capture.out, out), (capture.err, err)):
            stream.size = size
            stream.path = logs.path(key, stream.number) if size else None
        return capture

    def stream(self, number: int) -> Stream:
        """1 is stdout, 2 is stderr."""
        return self.out if number == 1 else self.err

    @property
    def in_memory(self) -> int:
        """Bytes of memory that both take."""
        return self.out.in_memory + self.err.in_memory

    @property
    def on_disk(self) -> int:
        """Bytes of files that both take."""
        return sum(stream.size for stream in (self.out, self.err) if stream.path is not None)

    def finish(self) -> None:
        """Both have ended."""
        self.out.finish()
        self.err.finish()

    def drop(self) -> None:
        """Nobody will read them again, unless they are kept."""
        self.out.drop()
        self.err.drop()


def _widen(pipe: int) -> None:
    """Lets a pipe hold more, as there is much to come: fewer, larger steps."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):  # no pipe, or its owner has as many pages in pipes as may be
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, COPY_CHUNK_BYTES)


def bytes_available(pipe: int) -> int:
    """How many bytes wait in it."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, b"\0\0\0\0"), "little")


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Writes everything, also to a descriptor that somebody made non-blocking."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            _wait_for_room(fd)


def copy_range(source: int, fd: int, start: int, end: int) -> None:
    """Copies bytes from a file to a descriptor, by `sendfile` if the kernel can do that here."""
    by_kernel = True
    if end - start >= COPY_CHUNK_BYTES:
        _widen(fd)
    while start < end:
        try:
            if by_kernel:
                moved = os.sendfile(fd, source, start, min(end - start, 1 << 30))
            else:
                data = _read_at(source, min(COPY_CHUNK_BYTES, end - start), start)
                write_all(fd, data)
                moved = len(data)
        except BlockingIOError:
            _wait_for_room(fd)
            continue
        except (BrokenPipeError, ConnectionResetError):
            raise
        except OSError:
            if not by_kernel:
                raise
            by_kernel = (
                False  # an append-only file, or not Linux; or a fault, and then by hand it shows whose
            )
            continue
        if not moved:
            return
        start += moved


def _read_at(source: int, size: int, start: int) -> bytes:
    """Some bytes of a file with output; a failure to read it is told from one to write by its file name."""
    try:
        return os.pread(source, size, start)
    except OSError as error:
        error.filename = "what a job has printed"
        raise


def _wait_for_room(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    poll.poll()
