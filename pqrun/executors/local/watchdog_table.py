# SPDX-License-Identifier: LGPL-3.0-or-later
"""The memory that pqrun shares with its watchdogs: the running jobs and the state of the terminal.

The table is a file in memory, which outlives a `kill -9` of pqrun. Noting a job costs one write and wakes no
watchdog.

Layout: a page with a flag (the work is done), the pids of the watchdogs and the state of the terminal,
then one row of 16 bytes for each running job.
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
    """The state that restores a terminal.

    `before`: its modes before pqrun changed them. `ours`: the modes that pqrun set. `text`: the sequences to
    send, such as those that show the cursor and leave the alternate screen.
    """

    before: list[object] | None = None
    ours: list[object] | None = None
    text: bytes = b""


class SharedTable:
    """The shared file. pqrun writes the jobs and the terminal; each watchdog writes its own pid.

    Not thread-safe: the caller holds a lock.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._rows: dict[int, int] = {}
        self._free: list[int] = []

    @classmethod
    def create(cls) -> SharedTable:
        """Create a new table. Raises OSError if there is no room for it."""
        try:
            return cls(os.memfd_create("pq-watchdog"))
        except (AttributeError, OSError):
            import tempfile

            fd, path = tempfile.mkstemp()
            os.unlink(path)
            return cls(fd)

    def close(self) -> None:
        """Close this process's descriptor. Other processes keep theirs."""
        os.close(self.fd)

    # Jobs

    def add(self, pid: int, grace: float) -> None:
        """Note a job's leader, and the seconds that it has to end after SIGTERM."""
        row = self._free.pop() if self._free else len(self._rows)
        self._rows[pid] = row
        data = pid.to_bytes(8, "little") + int(grace * 1000).to_bytes(8, "little")
        os.pwrite(self.fd, data, HEADER_BYTES + row * ROW_BYTES)

    def remove(self, pid: int) -> None:
        """Remove a job's leader."""
        row = self._rows.pop(pid, None)
        if row is not None:
            self._free.append(row)
            os.pwrite(self.fd, _EMPTY, HEADER_BYTES + row * ROW_BYTES)

    def jobs(self) -> dict[int, float]:
        """Return the pids of all leaders, each with its grace in seconds."""
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
        """Note how to restore the terminal."""
        data = marshal.dumps(tuple(terminal))
        os.pwrite(self.fd, len(data).to_bytes(4, "little") + data, _TERMINAL_AT)

    def terminal(self) -> Terminal:
        """Return how to restore the terminal; an empty `Terminal` if nothing was noted."""
        data = os.pread(self.fd, HEADER_BYTES - _TERMINAL_AT, _TERMINAL_AT)
        size = int.from_bytes(data[:4], "little")
        return Terminal(*marshal.loads(data[4 : 4 + size])) if size else Terminal()

    # The watchdogs

    def put_watchdog(self, index: int, pid: int, born: int) -> None:
        """Note the pid of a watchdog and when it was born, in clock ticks. Pid 0: no watchdog yet."""
        os.pwrite(self.fd, b"%20d %20d" % (pid, born), _WATCHDOGS_AT + index * _WATCHDOG_BYTES)

    def other_watchdogs(self, index: int, count: int) -> Sequence[tuple[int, int]]:
        """Return the pid and the time of birth, in clock ticks, of each other watchdog."""
        found = []
        for other in range(count):
            words = os.pread(self.fd, 41, _WATCHDOGS_AT + other * _WATCHDOG_BYTES).split()
            if other != index and len(words) == 2 and int(words[0]):
                found.append((int(words[0]), int(words[1])))
        return found

    @property
    def done(self) -> bool:
        """Whether a watchdog has ended all jobs."""
        return os.pread(self.fd, 1, 0) == b"\1"

    def set_done(self) -> None:
        """Note that all jobs were ended, so that the other watchdogs need not act."""
        os.pwrite(self.fd, b"\1", 0)
