# SPDX-License-Identifier: LGPL-3.0-or-later
"""The memory that pqrun shares with its watchdogs: the running jobs and the state of the terminal.

The table is a file in memory, which outlives a `kill -9` of pqrun. pqrun maps the jobs' part: noting a job is
one store of 8 bytes, without a system call or a lock, and wakes no watchdog.

Layout: a page with a flag (the work is done), the pids of the watchdogs and the state of the terminal,
then one cell of 8 bytes for each slot: the pid of the job's leader and the grace in milliseconds, 0 if no job runs.
"""

from __future__ import annotations

import marshal
import os
from collections.abc import Sequence
from mmap import mmap
from typing import NamedTuple

HEADER_BYTES = 4096
CELL_BYTES = 8
SLOTS = 1 << 16  # jobs in slots beyond are found by their marker; unused pages take no memory
GRACE_BITS = (1 << 32) - 1
_WATCHDOGS_AT, _WATCHDOG_BYTES = 64, 64
_TERMINAL_AT = 1024


class Terminal(NamedTuple):
    """The state that restores a terminal.

    `before`: its modes before pqrun changed them. `ours`: the modes that pqrun set. `text`: the sequences to
    send, such as those that show the cursor and leave the alternate screen.
    """

    before: list[object] | None = None
    ours: list[object] | None = None
    text: bytes = b""


def cell_of(pid: int, grace: float) -> int:
    """Return the cell of a job with the leader `pid`, and the seconds that it has to end after SIGTERM."""
    return pid << 32 | int(grace * 1000)


class SharedTable:
    """The shared file. pqrun writes the jobs and the terminal; each watchdog writes its own pid.

    `cells`: one for each slot, in the process that created the table; see `cell_of`. Not thread-safe, except for
    the cells.
    """

    def __init__(self, fd: int, memory: mmap | None = None) -> None:
        self.fd = fd
        self._memory = memory
        self.cells = None if memory is None else memoryview(memory)[HEADER_BYTES:].cast("Q")

    @classmethod
    def create(cls) -> SharedTable:
        """Create a new table. Raises OSError if there is no room for it."""
        try:
            fd = os.memfd_create("pq-watchdog")
        except (AttributeError, OSError):
            import tempfile

            fd, path = tempfile.mkstemp()
            os.unlink(path)
        try:
            os.ftruncate(fd, HEADER_BYTES + SLOTS * CELL_BYTES)
            return cls(fd, mmap(fd, 0))
        except OSError:
            os.close(fd)
            raise

    def close(self) -> None:
        """Close this process's descriptor. Other processes keep theirs."""
        if self.cells is not None and self._memory is not None:
            self.cells.release()
            self.cells = None
            self._memory.close()
        os.close(self.fd)

    # Jobs

    def jobs(self) -> dict[int, float]:
        """Return the pids of all leaders, each with its grace in seconds."""
        found: dict[int, float] = {}
        at = HEADER_BYTES
        while data := os.pread(self.fd, 1 << 16, at):
            at += len(data)
            if data.strip(b"\0"):
                cells = memoryview(data).cast("Q")
                found.update((cell >> 32, (cell & GRACE_BITS) / 1000) for cell in cells if cell)
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
