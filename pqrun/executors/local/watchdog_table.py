# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a killed pqrun leaves to its watchdogs: which jobs run, and how its terminal was.

A file in memory that pqrun and its watchdogs share. It outlives a `kill -9` of pqrun, and no watchdog
has to be awake while jobs come and go: one write a job, no wake-up.

Layout: a page with a flag (the work is done), the watchdogs' numbers and the terminal's state, then
one row of 16 bytes for each job that runs.
"""

from __future__ import annotations

import marshal
import os
from collections.abc import Sequence
from typing import NamedTuple

HEADER_BYTES = 4096
ROW_BYTES = 16
_WATCHDOGS_AT, _WATCHDOG_BYTES = 64, 64
_TERMINAL_AT = 1024
_EMPTY = b"\0" * ROW_BYTES


class Terminal(NamedTuple):
    """How to put a terminal right: its modes `before` pqrun changed them, and as pqrun has set them.

    `text` is what a screen has to be sent: show the cursor, leave the alternate screen.
    """

    before: list[object] | None = None
    ours: list[object] | None = None
    text: bytes = b""


class SharedTable:
    """The file. pqrun writes jobs and the terminal, each watchdog its own number, nobody both.

    Not thread-safe: its owner has a lock.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._rows: dict[int, int] = {}
        self._free: list[int] = []

    @classmethod
    def create(cls) -> SharedTable:
        """A new one; OSError if there is no room for it."""
        try:
            return cls(os.memfd_create("pq-watchdog"))
        except (AttributeError, OSError):
            import tempfile

            fd, path = tempfile.mkstemp()
            os.unlink(path)
            return cls(fd)

    def close(self) -> None:
        """Closes the file here; others keep it."""
        os.close(self.fd)

    # Jobs

    def add(self, pid: int, grace: float) -> None:
        """Notes a job's leader, and how many seconds it may take to end when it is asked to."""
        row = self._free.pop() if self._free else len(self._rows)
        self._rows[pid] = row
        data = pid.to_bytes(8, "little") + int(grace * 1000).to_bytes(8, "little")
        os.pwrite(self.fd, data, HEADER_BYTES + row * ROW_BYTES)

    def remove(self, pid: int) -> None:
        """Takes it out again."""
        row = self._rows.pop(pid, None)
        if row is not None:
            self._free.append(row)
            os.pwrite(self.fd, _EMPTY, HEADER_BYTES + row * ROW_BYTES)

    def jobs(self) -> dict[int, float]:
        """All leaders, with their grace."""
        found: dict[int, float] = {}
        at = HEADER_BYTES
        while data := os.pread(self.fd, 1 << 16, at):
            at += len(data)
            for start in range(0, len(data) - ROW_BYTES + 1, ROW_BYTES):
                if pid := int.from_bytes(data[start : start + 8], "little"):
                    found[pid] = int.from_bytes(data[start + 8 : start + 16], "little") / 1000
        return found

    # The terminal

    def put_terminal(self, terminal: Terminal) -> None:
        """Notes how to put it right."""
        data = marshal.dumps(tuple(terminal))
        os.pwrite(self.fd, len(data).to_bytes(4, "little") + data, _TERMINAL_AT)

    def terminal(self) -> Terminal:
        """How to put it right; nothing to be done if nothing was noted."""
        data = os.pread(self.fd, HEADER_BYTES - _TERMINAL_AT, _TERMINAL_AT)
        size = int.from_bytes(data[:4], "little")
        return Terminal(*marshal.loads(data[4 : 4 + size])) if size else Terminal()

    # The watchdogs

    def put_watchdog(self, index: int, pid: int, born: int) -> None:
        """Notes which process a watchdog is; 0: none yet."""
        os.pwrite(self.fd, b"%20d %20d" % (pid, born), _WATCHDOGS_AT + index * _WATCHDOG_BYTES)

    def other_watchdogs(self, index: int, count: int) -> Sequence[tuple[int, int]]:
        """The other watchdogs: process number and time of birth."""
        found = []
        for other in range(count):
            words = os.pread(self.fd, 41, _WATCHDOGS_AT + other * _WATCHDOG_BYTES).split()
            if other != index and len(words) == 2 and int(words[0]):
                found.append((int(words[0]), int(words[1])))
        return found

    @property
    def done(self) -> bool:
        """Whether a watchdog has ended everything."""
        return os.pread(self.fd, 1, 0) == b"\1"

    def set_done(self) -> None:
        """Everything was ended: other watchdogs need not look."""
        os.pwrite(self.fd, b"\1", 0)
