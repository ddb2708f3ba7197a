# SPDX-License-Identifier: LGPL-3.0-or-later
"""Where reports go: files that are there whole or not at all, files that grow, pipes.

What can't be written is known before anything runs, if the machine can know; later it is said in
`failure`. A reader who does not read may cost us a report, never the run.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import stat
import tempfile
import time
from collections.abc import Iterable

from pqrun.capture import write_all
from pqrun.errors import UserError

PATIENCE = 30.0
MOST_PENDING = 16 * 1024 * 1024
A_PIPEFUL = 4096
_DESCRIPTOR = re.compile(r"/dev/fd/(\d{1,5})|/proc/self/fd/(\d{1,5})")
_STANDARD = {"-": 1, "/dev/stdout": 1, "/dev/stderr": 2}


class Target:
    """One report's file, as an option named it. `failure` says why it could not be written, if so."""

    def __init__(self, option: str, path: str) -> None:
        self.option = option
        self.path = path
        self.failure = ""

    def failed(self, error: OSError | str) -> None:
        """The first failure is the one to tell."""
        if not self.failure:
            why = error if isinstance(error, str) else error.strerror or str(error)
            self.failure = f"cannot write {self.path} ({self.option}): {why}"


class Whole(Target):
    """A file that appears when it is complete, in place of what was there."""

    def check(self) -> None:
        """`UserError` if it could not be written; makes its directory if there is none."""
        if not self.path:
            raise UserError(f"{self.option} needs the name of a file")
        try:
            if not _is_special(self.path):
                path = os.path.realpath(self.path)
                if os.path.isdir(path):
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
                os.makedirs(os.path.dirname(path), exist_ok=True)
                tempfile.TemporaryFile(dir=os.path.dirname(path)).close()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise UserError(f"{self.option}: cannot write {self.path}: {why}") from None

    def write(self, pieces: Iterable[bytes]) -> None:
        """All of it at once."""
        if _is_special(self.path):
            growing = Growing(self.option, self.path)
            growing.open()
            for piece in pieces:
                growing.write(piece)
            growing.close()
            self.failure = self.failure or growing.failure
            return
        path = os.path.realpath(self.path)
        unfinished = f"{os.path.dirname(path)}/.{os.path.basename(path)[:100]}.{os.getpid()}"
        try:
            try:
                with open(unfinished, "wb") as file:
                    file.writelines(pieces)
                os.replace(unfinished, path)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(unfinished)
        except OSError as error:
            self.failed(error)


class Growing(Target):
    """A file or pipe that is written as things happen."""

    hurry = False  # nobody waits for slow readers any more

    def __init__(self, option: str, path: str) -> None:
        super().__init__(option, path)
        self._fd: int | None = None
        self._pending = bytearray()
        self._is_file = False
        self._over = False

    def open(self) -> None:
        """Opens it; a named pipe that nobody reads yet is tried again later."""
        try:
            self._fd = _open(self.path)
            self._is_file = stat.S_ISREG(os.fstat(self._fd).st_mode)
        except OSError as error:
            if error.errno != errno.ENXIO:
                self._give_up(error)

    def write(self, data: bytes) -> None:
        """Writes it, or keeps it until the reader takes it; waits only when far too much is kept."""
        if self._over:
            return
        self._pending += data
        self.flush()
        if len(self._pending) > MOST_PENDING:
            self._wait_for_less_than(MOST_PENDING // 2)

    def flush(self) -> float:
        """Writes what goes without waiting; seconds until it is worth another look."""
        try:
            if self._fd is None and not self._over:
                self.open()
            if self._fd is not None and self._is_file:
                write_all(self._fd, bytes(self._pending))
                self._pending.clear()
            while self._fd is not None and self._pending and _has_room(self._fd, 0):
                del self._pending[: os.write(self._fd, self._pending[:A_PIPEFUL])]
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
            if self.hurry or time.monotonic() > since + PATIENCE:
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


def same_file(one: str, other: str) -> bool:
    """Whether two reports would write over each other."""
    return not _is_special(one) and os.path.realpath(one) == os.path.realpath(other)


def _is_special(path: str) -> bool:
    """Whether it is a pipe, a device or an open descriptor: nothing that could be replaced."""
    if path in _STANDARD or _DESCRIPTOR.fullmatch(path):
        return True
    try:
        return not stat.S_ISREG(mode := os.stat(path).st_mode) and not stat.S_ISDIR(mode)
    except (OSError, ValueError):
        return False


def _open(path: str) -> int:
    found = _DESCRIPTOR.fullmatch(path)
    if path in _STANDARD or found:
        return os.dup(_STANDARD[path] if found is None else int(found[1] or found[2]))
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    return os.open(path, flags | (os.O_NONBLOCK if _is_special(path) else 0), 0o666)


def _has_room(fd: int, milliseconds: int) -> bool:
    """Whether a pipe takes something without keeping us waiting, now or within that time."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(milliseconds))
