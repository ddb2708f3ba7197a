# SPDX-License-Identifier: LGPL-3.0-or-later
"""The targets of reports: files, pipes and descriptors, written at once or step by step."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import stat
import time
from codecs import IncrementalDecoder, getincrementaldecoder
from collections.abc import Callable, Iterable

from pqrun.core.errors import UserError
from pqrun.core.text import escape_controls
from pqrun.output.store import write_all

WRITE_TIMEOUT_SECONDS = 30.0
MAX_ADDED_BYTES = 64 * 1024
MAX_PENDING_BYTES = 16 * 1024 * 1024
PIPE_CHUNK_BYTES = 4096
_STANDARD = {"-": 1, "/dev/stdout": 1, "/dev/stderr": 2}
_DESCRIPTOR = re.compile(r"/dev/fd/(\d{1,5})|/proc/self/fd/(\d{1,5})")


def descriptor_of(path: str) -> int | None:
    """Return the descriptor that a path stands for, as `-` and `/dev/fd/3` do; None for any other path."""
    if path in _STANDARD:
        return _STANDARD[path]
    found = _DESCRIPTOR.fullmatch(path)
    return None if found is None else int(found[1] or found[2])


class ReportTarget:
    """One report's target, as an option named it. `failure`: why it could not be written, if so.

    `patience`: the seconds for which a reader may read nothing before the report is given up.
    `wanted_to_stop` returns whether the user wants pqrun to stop now.
    """

    def __init__(self, option: str, path: str) -> None:
        self.option = option
        self.path = path
        self.failure = ""
        self.patience = WRITE_TIMEOUT_SECONDS
        self.wanted_to_stop: Callable[[], bool] = lambda: False

    def check(self) -> None:
        """Create the target's directory; raise `UserError` if the target cannot be written."""
        from tempfile import TemporaryFile  # loads much that a run without reports does not need

        if not self.path:
            raise UserError(f"{self.option} needs the name of a file")
        try:
            fd = descriptor_of(self.path)
            if fd is not None and self.path not in _STANDARD:
                os.fstat(fd)
            elif not is_special(self.path):
                path = os.path.realpath(self.path)
                if os.path.isdir(path):
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with TemporaryFile(dir=os.path.dirname(path)):
                    pass
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            if isinstance(error, FileExistsError):  # `makedirs` raises this for a file in the path
                why = os.strerror(errno.ENOTDIR)
            raise UserError(f"{self.option}: cannot write {self.path}: {why}") from None

    def failed(self, error: OSError | str) -> None:
        """Record a failure. The first one counts, because later ones only follow from it."""
        if not self.failure:
            why = error if isinstance(error, str) else error.strerror or str(error)
            self.failure = f"cannot write {self.path} ({self.option}): {why}"


def same_file(one: str, other: str) -> bool:
    """Return whether two reports would overwrite or mix with each other.

    Two reports may share a terminal or /dev/null.
    """
    try:
        found = _status(one)
        return os.path.samestat(found, _status(other)) and not stat.S_ISCHR(found.st_mode)
    except (OSError, ValueError):  # at least one of the files does not exist yet
        return not is_special(one) and os.path.realpath(one) == os.path.realpath(other)


def is_stdout(path: str) -> bool:
    """Return whether the path is stdout, where `--json` writes its document."""
    return descriptor_of(path) == 1


def _status(path: str) -> os.stat_result:
    fd = descriptor_of(path)
    return os.stat(path) if fd is None else os.fstat(fd)


def is_special(path: str) -> bool:
    """Return whether the path is a pipe, a device or an open descriptor, which cannot be replaced."""
    if descriptor_of(path) is not None:
        return True
    try:
        return not stat.S_ISREG(mode := os.stat(path).st_mode) and not stat.S_ISDIR(mode)
    except (OSError, ValueError):
        return False


class StreamingFile(ReportTarget):
    """A file or pipe that is written during the run."""

    def __init__(self, option: str, path: str) -> None:
        super().__init__(option, path)
        self._fd: int | None = None
        self._pending = bytearray()
        self._added: list[bytes] = []
        self._added_bytes = 0
        self._is_file = False
        self._over = False
        self._screen: IncrementalDecoder | None = None

    def open(self) -> None:
        """Open the target. A named pipe without a reader is tried again by `flush`."""
        try:
            self._fd = _open(self.path)
            self._is_file = stat.S_ISREG(os.fstat(self._fd).st_mode)
            if os.isatty(self._fd):  # job output in a report must not control the terminal
                self._screen = getincrementaldecoder("utf-8")("replace")
        except OSError as error:
            if error.errno != errno.ENXIO:
                self._give_up(error)

    def write(self, data: bytes) -> None:
        """Write the data, or keep it until the reader reads; blocks only if more than 16 MiB are kept."""
        if self._over:
            return
        if self._screen is not None:
            data = escape_controls(self._screen.decode(data), keep="\t\n").encode()
        self._pending += data
        self.flush()
        if len(self._pending) > MAX_PENDING_BYTES:
            self._wait_for_less_than(MAX_PENDING_BYTES // 2)

    def add(self, data: bytes) -> None:
        """Keep the data for the next `flush`; write now if more than 64 KiB are kept."""
        self._added.append(data)
        self._added_bytes += len(data)
        if self._added_bytes > MAX_ADDED_BYTES:
            self._write_added()

    def _write_added(self) -> None:
        if self._added:
            data = b"".join(self._added)
            self._added.clear()
            self._added_bytes = 0
            self.write(data)

    def flush(self) -> float:
        """Write what can be written without blocking; return the seconds until the next try."""
        self._write_added()
        try:
            if self._fd is None and not self._over:
                self.open()
            if self._fd is not None and self._is_file:
                write_all(self._fd, bytes(self._pending))
                self._pending.clear()
            while self._fd is not None and self._pending and _has_room(self._fd, 0):
                del self._pending[: os.write(self._fd, self._pending[:PIPE_CHUNK_BYTES])]
        except OSError as error:
            self._give_up(error)
        return 0.1 if self._pending else 3600.0

    def close(self) -> None:
        """Wait for the reader, for at most `patience` seconds without progress, and close the target."""
        self._write_added()
        self._wait_for_less_than(1)
        self._let_go()

    def _wait_for_less_than(self, size: int) -> None:
        left, since = len(self._pending), time.monotonic()
        while len(self._pending) >= size and not self._over:
            if time.monotonic() > since + self.patience or self.wanted_to_stop():
                self._give_up("it has no reader" if self._fd is None else "its reader does not keep up")
                return
            if self._fd is None:
                time.sleep(0.05)
            else:
                _has_room(self._fd, 50)
            self.flush()
            if len(self._pending) < left:
                left, since = len(self._pending), time.monotonic()

    def _give_up(self, error: OSError | str) -> None:
        # A reader that closes its end, as `head` does, is no failure.
        if not isinstance(error, OSError) or error.errno != errno.EPIPE:
            self.failed(error)
        self._over = True
        self._pending.clear()
        self._let_go()

    def _let_go(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        self._over = True


def _open(path: str) -> int:
    fd = descriptor_of(path)
    if fd is not None:
        return os.dup(fd)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    return os.open(path, flags | (os.O_NONBLOCK if is_special(path) else 0), 0o666)


def _has_room(fd: int, milliseconds: int) -> bool:
    """Return whether a pipe can be written without blocking, now or within that time."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(milliseconds))


class AtomicFile(ReportTarget):
    """A file that is written completely under another name and then put in place of the old one."""

    def write(self, pieces: Iterable[bytes]) -> None:
        """Write all pieces. A pipe or device is written in place."""
        if is_special(self.path):
            growing = StreamingFile(self.option, self.path)
            growing.patience, growing.wanted_to_stop = self.patience, self.wanted_to_stop
            growing.open()
            for piece in pieces:
                growing.write(piece)
            growing.close()
            self.failure = growing.failure
            return
        path = os.path.realpath(self.path)
        name = os.fsencode(os.path.basename(path))[:100].decode("ascii", "replace").replace("\ufffd", "_")
        unfinished = f"{os.path.dirname(path)}/.{name}.{os.getpid()}"
        try:
            try:
                with open(unfinished, "wb") as file:
                    file.writelines(pieces)
                os.replace(unfinished, path)
                self.failure = ""  # this write contains what an earlier, failed one could not write
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(unfinished)
        except OSError as error:
            self.failed(error)
