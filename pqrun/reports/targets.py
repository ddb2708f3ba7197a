# SPDX-License-Identifier: LGPL-3.0-or-later
"""Where a report goes, as an option named it, and why it could not be written, if so."""

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
DESCRIPTOR = re.compile(r"/dev/fd/(\d{1,5})|/proc/self/fd/(\d{1,5})")
STANDARD = {"-": 1, "/dev/stdout": 1, "/dev/stderr": 2}
STDOUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


class ReportTarget:
    """One report's file, as an option named it. `failure` says why it could not be written, if so.

    `patience`: so many seconds a reader may take nothing before it is given up; `wanted_to_stop` says
    whether somebody wants that now.
    """

    def __init__(self, option: str, path: str) -> None:
        self.option = option
        self.path = path
        self.failure = ""
        self.patience = WRITE_TIMEOUT_SECONDS
        self.wanted_to_stop: Callable[[], bool] = lambda: False

    def check(self) -> None:
        """`UserError` if it could not be written; makes its directory if there is none."""
        if not self.path:
            raise UserError(f"{self.option} needs the name of a file")
        import tempfile

        try:
            if found := DESCRIPTOR.fullmatch(self.path):
                os.fstat(int(found[1] or found[2]))
            elif not is_special(self.path):
                path = os.path.realpath(self.path)
                if os.path.isdir(path):
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with tempfile.TemporaryFile(dir=os.path.dirname(path)):
                    pass
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            if isinstance(error, FileExistsError):  # as makedirs has it
                why = os.strerror(errno.ENOTDIR)
            raise UserError(f"{self.option}: cannot write {self.path}: {why}") from None

    def failed(self, error: OSError | str) -> None:
        """The first failure is the one to tell."""
        if not self.failure:
            why = error if isinstance(error, str) else error.strerror or str(error)
            self.failure = f"cannot write {self.path} ({self.option}): {why}"


def same_file(one: str, other: str) -> bool:
    """Whether two reports would write over each other, or into each other; a terminal and /dev/null may be."""
    try:
        found = _status(one)
        return os.path.samestat(found, _status(other)) and not stat.S_ISCHR(found.st_mode)
    except (OSError, ValueError):  # one of them is not there yet
        return not is_special(one) and os.path.realpath(one) == os.path.realpath(other)


def is_stdout(path: str) -> bool:
    """Whether it is where `--json` writes its document."""
    return path in STDOUT


def _status(path: str) -> os.stat_result:
    return os.fstat(STANDARD[path]) if path in STANDARD else os.stat(path)


def is_special(path: str) -> bool:
    """Whether it is a pipe, a device or an open descriptor: nothing that could be replaced."""
    if path in STANDARD or DESCRIPTOR.fullmatch(path):
        return True
    try:
        return not stat.S_ISREG(mode := os.stat(path).st_mode) and not stat.S_ISDIR(mode)
    except (OSError, ValueError):
        return False


MAX_PENDING_BYTES = 16 * 1024 * 1024
PIPE_CHUNK_BYTES = 4096


class StreamingFile(ReportTarget):
    """A file or pipe that is written as things happen."""

    def __init__(self, option: str, path: str) -> None:
        super().__init__(option, path)
        self._fd: int | None = None
        self._pending = bytearray()
        self._is_file = False
        self._over = False
        self._screen: IncrementalDecoder | None = None

    def open(self) -> None:
        """Opens it; a named pipe that nobody reads yet is tried again later."""
        try:
            self._fd = _open(self.path)
            self._is_file = stat.S_ISREG(os.fstat(self._fd).st_mode)
            if os.isatty(self._fd):  # who has a report shown there wants to read it, not to obey it
                self._screen = getincrementaldecoder("utf-8")("replace")
        except OSError as error:
            if error.errno != errno.ENXIO:
                self._give_up(error)

    def write(self, data: bytes) -> None:
        """Writes it, or keeps it until the reader takes it; waits only when far too much is kept."""
        if self._over:
            return
        if self._screen is not None:
            data = escape_controls(self._screen.decode(data), keep="\t\n").encode()
        self._pending += data
        self.flush()
        if len(self._pending) > MAX_PENDING_BYTES:
            self._wait_for_less_than(MAX_PENDING_BYTES // 2)

    def flush(self) -> float:
        """Writes what goes without waiting; seconds until it is worth another look."""
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
        """Waits for a reader, but not for ever."""
        self._wait_for_less_than(1)
        self._let_go()

    def _wait_for_less_than(self, size: int) -> None:
        left, since = len(self._pending), time.monotonic()
        while len(self._pending) >= size and not self._over:
            if time.monotonic() > since + self.patience or self.wanted_to_stop():
                self._give_up("nobody reads it" if self._fd is None else "its reader does not read")
                return
            if self._fd is None:
                time.sleep(0.05)
            else:
                _has_room(self._fd, 50)
            self.flush()
            if len(self._pending) < left:
                left, since = len(self._pending), time.monotonic()

    def _give_up(self, error: OSError | str) -> None:
        if not isinstance(error, OSError) or error.errno != errno.EPIPE:  # a reader may leave when it likes
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
    found = DESCRIPTOR.fullmatch(path)
    if path in STANDARD or found:
        return os.dup(STANDARD[path] if found is None else int(found[1] or found[2]))
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    return os.open(path, flags | (os.O_NONBLOCK if is_special(path) else 0), 0o666)


def _has_room(fd: int, milliseconds: int) -> bool:
    """Whether a pipe takes something without keeping us waiting, now or within that time."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(milliseconds))


class AtomicFile(ReportTarget):
    """A file that appears when it is complete, in place of what was there."""

    def write(self, pieces: Iterable[bytes]) -> None:
        """All of it at once."""
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
                self.failure = ""  # what could not be written earlier is in it now
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(unfinished)
        except OSError as error:
            self.failed(error)
