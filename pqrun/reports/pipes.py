# SPDX-License-Identifier: LGPL-3.0-or-later
"""Files and pipes that are written as things happen: a slow reader may cost us a report, never the run."""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from codecs import IncrementalDecoder, getincrementaldecoder

from pqrun.capture import write_all
from pqrun.display.safe import safe
from pqrun.reports.target import DESCRIPTOR, STANDARD, Target, is_special

MOST_PENDING = 16 * 1024 * 1024
A_PIPEFUL = 4096


class Growing(Target):
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
            data = safe(self._screen.decode(data), keep="\t\n").encode()
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
