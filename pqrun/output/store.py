# SPDX-License-Identifier: LGPL-3.0-or-later
"""The store for the output of attempts, which returns it byte for byte.

Small outputs stay in memory; in a run with a record, they also go to a pack when their attempt has ended.
Larger ones are moved from the pipe to a file by the kernel, without passing through Python. File names contain
numbers, never the name of a job.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
from collections.abc import Iterator

from pqrun.core.errors import InternalFailure
from pqrun.core.job import AttemptId, OutputPlace, new
from pqrun.output.pack import PREFIX, Pack, Packs

MAX_IN_MEMORY_BYTES = 64 * 1024
COPY_CHUNK_BYTES = 1024 * 1024
FILES_PER_DIRECTORY = 500
SUFFIX = {1: "out", 2: "err"}

_splice = getattr(os, "splice", None)


PackPlace = tuple[int, int]
"""The number of a pack, and the offset of an output in it, as the journal has them."""


class Logs:
    """The directory of output files. `keep`: keep all output, small outputs included, in files.

    `packs`: where small outputs are kept; None if each output gets a file, as journals of version 1 have it.
    """

    def __init__(self, directory: str, *, keep: bool, packed: bool = True) -> None:
        self.directory = directory
        self.keep = keep
        self.packs = Packs(directory) if keep and packed else None

    def path(self, key: AttemptId, stream: int) -> str:
        """Return the path for a stream of an attempt. The file exists only if there is output in it."""
        shard = f"{key.seq // FILES_PER_DIRECTORY:04d}"
        return f"{self.directory}/{shard}/{key.seq}.{key.attempt}.{SUFFIX[stream]}"

    def place(self, key: AttemptId, stream: int, at: PackPlace | None) -> OutputPlace:
        """Return the place of a recorded stream: in a pack if `at` is given, else in a file of its own."""
        if at is None:
            return OutputPlace(self.path(key, stream))
        return OutputPlace(f"{self.directory}/{PREFIX}{at[0]}", at[1], at[0])

    def create(self, key: AttemptId, stream: int) -> int:
        """Create and open the file for a stream. Raises InternalFailure if that fails."""
        path = self.path(key, stream)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            try:
                return os.open(path, flags, 0o600)
            except FileNotFoundError:
                # With `keep`, don't create a run directory again that was removed: the new one would look
                # complete but lack the earlier files.
                made = os.mkdir if self.keep else os.makedirs
                with contextlib.suppress(FileExistsError):
                    made(os.path.dirname(path), 0o700)
            except FileExistsError:
                os.unlink(path)
            return os.open(path, flags, 0o600)
        except OSError as error:
            raise InternalFailure(f"cannot create {path}: {error.strerror}") from error


class Stream:
    """One stream of one attempt. One thread writes it; other threads may read what is there.

    `place`: where its bytes are in a file, None if they are in memory only.
    """

    __slots__ = ("_chunks", "_fd", "_key", "_logs", "_pack", "last_line_end", "number", "place", "size")

    def __init__(self, logs: Logs, key: AttemptId, number: int) -> None:
        self.number = number
        self.size = 0
        self.place: OutputPlace | None = None
        self.last_line_end = 0
        self._pack: Pack | None = None
        self._logs = logs
        self._key = key
        self._chunks: list[bytes] = []
        self._fd: int | None = None

    @property
    def path(self) -> str | None:
        """The path of the file that holds the stream and nothing else; None if there is no such file."""
        place = self.place
        return None if place is None or place.pack else place.file

    def take(self, pipe: int, *, limit: int = COPY_CHUNK_BYTES, by_line: bool = False) -> int:
        """Move bytes from a pipe into the stream. Returns their number, 0 at the end of the pipe.

        `by_line` keeps `last_line_end` up to date, the offset after the last complete line.
        """
        if self._fd is None or by_line or _splice is None:
            data = os.read(pipe, min(limit, MAX_IN_MEMORY_BYTES))
            was_small = self._fd is None
            self.put(data, by_line=by_line)
            if was_small and self._fd is not None:
                widen(pipe)
            return len(data)
        moved: int = _splice(pipe, self._fd, limit)
        self.size += moved
        return moved

    def put(self, data: bytes, *, by_line: bool = False) -> None:
        """Append bytes that did not come through a pipe."""
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
        # Set the place before writing: if the write fails, `finish` and `drop` must still find the file.
        self.place = OutputPlace(self._logs.path(self._key, self.number))
        write_all(self._fd, b"".join(self._chunks))
        self._chunks = []

    @property
    def in_memory(self) -> int:
        """The bytes of memory that the stream uses."""
        return self.size if self._chunks else 0

    def finish(self) -> None:
        """Close the stream. If output is kept, small output is written to a pack, or to a file of its own."""
        if self._fd is not None:
            if self._chunks:  # the disk had no room for them
                self.size = os.fstat(self._fd).st_size
                self._chunks = [b"".join(self._chunks)[: self.size]]
            os.close(self._fd)
            self._fd = None
        elif self.size and self._logs.keep:
            packs = self._logs.packs
            if packs is None:
                self.to_file()
            else:
                self.set_pack(*packs.append(b"".join(self._chunks)))

    def set_pack(self, pack: Pack, offset: int) -> None:
        """Note where in a pack the stream was written."""
        self._pack = pack
        self.place = new(OutputPlace, (pack.path, offset, pack.number))

    def to_file(self) -> None:
        """Write the bytes in memory to the file as well. Raises InternalFailure if that fails."""
        fd = self._logs.create(self._key, self.number)
        try:
            write_all(fd, b"".join(self._chunks))
        except OSError as error:
            path = self._logs.path(self._key, self.number)
            raise InternalFailure(f"cannot write {path}: {error.strerror}") from error
        finally:
            os.close(fd)
        self.place = OutputPlace(self._logs.path(self._key, self.number))

    def forget(self) -> None:
        """Free the memory of bytes that are in a file."""
        if self.place is not None:
            self._chunks = []

    def drop(self) -> None:
        """Remove the file, unless output is kept."""
        if self.place is not None and not self._logs.keep:
            with contextlib.suppress(OSError):
                os.unlink(self.place.file)

    @contextlib.contextmanager
    def opened(self) -> Iterator[tuple[int, int]]:
        """Open the file that holds the bytes for a `with` block: the descriptor, and where the bytes begin.

        Raises OSError if the file is gone, or ends before the bytes do.
        """
        place = self.place
        if place is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "the output of a job")
        if self._pack is not None:
            yield self._pack.fd, place.offset
            return
        fd = os.open(place.file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.fstat(fd).st_size < place.offset + self.size:
                raise OSError(
                    errno.ENODATA, "it ends before this output, so a part of it was lost", place.file
                )
            yield fd, place.offset
        finally:
            os.close(fd)

    def pieces(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield the bytes from `start` to `end` in pieces."""
        end = self.size if end is None else end
        chunks = self._chunks
        if self.place is None or chunks:
            yield b"".join(chunks)[start:end]
            return
        with self.opened() as (file, first):
            while start < end:
                piece = os.pread(file, min(COPY_CHUNK_BYTES, end - start), first + start)
                if not piece:
                    return
                start += len(piece)
                yield piece

    def copy_to(self, fd: int, start: int = 0, end: int | None = None) -> None:
        """Write the bytes from `start` to `end` to a descriptor, copied by the kernel if possible."""
        end = self.size if end is None else end
        if self.place is None or self._chunks:
            write_all(fd, b"".join(self._chunks)[start:end])
            return
        with self.opened() as (source, first):
            copy_range(source, fd, first + start, first + end)

    def tail(self, limit: int = 8192) -> bytes:
        """Return the last `limit` bytes."""
        return b"".join(self.pieces(max(0, self.size - limit)))


class Capture:
    """The stdout and stderr of one attempt."""

    __slots__ = ("err", "out")

    def __init__(self, logs: Logs, key: AttemptId) -> None:
        self.out = Stream(logs, key, 1)
        self.err = Stream(logs, key, 2)

    @classmethod
    def stored(
        cls,
        logs: Logs,
        key: AttemptId,
        out: int,
        err: int,
        out_at: PackPlace | None = None,
        err_at: PackPlace | None = None,
    ) -> Capture:
        """Open the recorded output of an attempt, with `out` and `err` bytes.

        `out_at`, `err_at`: where in a pack the bytes are, None for files of their own.
        """
        capture = cls(logs, key)
        for stream, size, at in ((capture.out, out, out_at), (capture.err, err, err_at)):
            stream.size = size
            stream.place = logs.place(key, stream.number, at) if size else None
        return capture

    def stream(self, number: int) -> Stream:
        """Return stdout for 1, stderr for 2."""
        return self.out if number == 1 else self.err

    @property
    def in_memory(self) -> int:
        """The bytes of memory that both streams use."""
        return self.out.in_memory + self.err.in_memory

    @property
    def on_disk(self) -> int:
        """The bytes in the files of both streams."""
        return sum(stream.size for stream in (self.out, self.err) if stream.place is not None)

    def finish(self) -> None:
        """Close both streams. Raises InternalFailure if small output can't be written to its file."""
        if self.out.size:
            self.out.finish()
        if self.err.size:
            self.err.finish()

    def drop(self) -> None:
        """Remove the files of both streams, unless output is kept."""
        self.out.drop()
        self.err.drop()


def widen(pipe: int) -> None:
    """Raise the capacity of a pipe to 1 MiB, for fewer and larger steps."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):  # not a pipe, or the user's limit is reached
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, COPY_CHUNK_BYTES)


def bytes_available(pipe: int) -> int:
    """Return the number of bytes that wait in a pipe."""
    import termios

    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, b"\0\0\0\0"), "little")


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all the data, waiting for room if another program made the descriptor non-blocking."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            _wait_for_room(fd)


def copy_range(source: int, fd: int, start: int, end: int) -> None:
    """Copy bytes from a file to a descriptor, with `sendfile` if the kernel can do that here."""
    by_kernel = True
    if end - start >= COPY_CHUNK_BYTES:
        widen(fd)
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
                False  # sendfile can't write here, or a real error, which the copy by hand will locate
            )
            continue
        if not moved:
            return
        start += moved


def _read_at(source: int, size: int, start: int) -> bytes:
    """Read bytes of an output file.

    An error gets a file name, by which `StreamWriter` tells it from a failed write.
    """
    try:
        return os.pread(source, size, start)
    except OSError as error:
        error.filename = "the output of a job"
        raise


def _wait_for_room(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    poll.poll()
