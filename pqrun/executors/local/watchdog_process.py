# SPDX-License-Identifier: LGPL-3.0-or-later
"""The code that a watchdog runs: wait for pqrun's end, end the remaining jobs, restore the terminal.

This code must not depend on anything that a killed pqrun may have left half done. It reads a `SharedTable`: the
running jobs and the state of the terminal, in a file in memory, which outlives a `kill -9` of pqrun. pqrun maps the
jobs' part: noting a job is one store of 8 bytes, without a system call or a lock, and wakes no watchdog.

Layout of the table: a page with a flag (the work is done), the pids of the watchdogs and the state of the terminal,
then one cell of 8 bytes for each slot: the pid of the job's leader and the grace in milliseconds, 0 if no job runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import marshal
import os
import signal
import time
from collections.abc import Iterator, Sequence
from mmap import mmap
from typing import NamedTuple

from pqrun.executors.local.procfs import (
    LINUX,
    MAX_EXEC_SECONDS,
    Process,
    all_processes_to_the_newest,
    environment_of,
    group_is_alive,
    read_stat,
    signal_if_same,
)
from pqrun.journal.run_directory import WATCHDOG_NAME

GRACE_SECONDS = 3.0
POLL_INTERVAL_SECONDS = 0.05
GIVE_UP_SECONDS = 60.0
IGNORED_SIGNALS = (
    "SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGUSR1", "SIGUSR2",
    "SIGALRM", "SIGPIPE", "SIGXCPU", "SIGVTALRM", "SIGPROF",
)  # fmt: skip

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


def run(
    reading: int,
    table_fd: int,
    index: int,
    count: int,
    mark: bytes,
    keep: Sequence[int],
    longest: float = GRACE_SECONDS,
    terminal: int = -1,
) -> None:
    """Wait until pqrun has gone, and return when no process of its jobs is left.

    `reading`: the read end of a pipe that closes with pqrun. `index`: the number of this watchdog, out of
    `count`. `keep`: descriptors to hold until then. `longest`: the longest grace, in seconds. `terminal`: a
    descriptor of the terminal, or -1. Without a `mark` there are no jobs, only a terminal.
    """
    _leave_everything_but({reading, table_fd, terminal, *keep} - {-1})
    table = SharedTable(table_fd)
    table.put_watchdog(index, os.getpid(), _born(os.getpid()))
    while os.read(reading, 4096):
        pass
    if not _take_charge(table, index, count):
        return
    if terminal >= 0:
        restore_terminal(terminal, table.terminal())
    if mark and LINUX:
        end_all({pid: min(grace, longest) for pid, grace in table.jobs().items()}, mark, longest)
    elif mark:
        end_groups(table.jobs())
    table.set_done()
    for pid, born in table.other_watchdogs(index, count):  # a stopped one would hold the lock for ever
        if born and _born(pid) == born:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def _leave_everything_but(fds: set[int]) -> None:
    """Become a process of its own: a name, ignored signals, a session, and only these descriptors."""
    be_called(WATCHDOG_NAME.encode())
    for name in IGNORED_SIGNALS:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.set_wakeup_fd(-1)
    if os.getsid(0) != os.getpid():
        os.setsid()
    close_all_but(fds)


def _take_charge(table: SharedTable, index: int, count: int) -> bool:
    """Wait for the right to act. Returns False if another watchdog has done the work.

    One watchdog acts, and another one only if the first dies. If both acted, each job would get SIGTERM
    twice, which many programs take for "at once".
    """
    while True:
        try:
            fcntl.lockf(table.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return not table.done
        except OSError:
            for pid, born in table.other_watchdogs(index, count):
                with contextlib.suppress(OSError):
                    if (other := read_stat(pid)) and other.start_time == born and other.state in "Tt":
                        os.kill(pid, signal.SIGKILL)
            time.sleep(POLL_INTERVAL_SECONDS)


def _born(pid: int) -> int:
    """Return when a process was born, in clock ticks since boot; 0 if it does not exist or can't be seen."""
    with contextlib.suppress(OSError):
        if process := read_stat(pid):
            return process.start_time
    return 0


def restore_terminal(fd: int, terminal: Terminal) -> None:
    """Restore a terminal that a killed pqrun has left behind, without ever waiting for it.

    The modes are restored only if they are still those that pqrun set: a shell that continues may already
    have set its own.
    """
    with contextlib.suppress(Exception):
        if terminal.before and terminal.ours:
            import termios

            if termios.tcgetattr(fd) == terminal.ours:
                termios.tcsetattr(fd, termios.TCSANOW, terminal.before)  # type: ignore[arg-type]
    with contextlib.suppress(OSError):
        if terminal.text:
            os.write(fd, terminal.text)


def end_all(jobs: dict[int, float], mark: bytes, longest: float = GRACE_SECONDS) -> None:
    """End every process of these jobs: SIGTERM first, SIGKILL after the grace.

    `jobs`: the pids of the leaders, each with its grace in seconds. Returns after a scan that has found no
    process, or a minute after the SIGKILL.
    """
    began = time.monotonic()
    kill_at = began + max(jobs.values(), default=longest)
    asked: dict[int, int] = {}
    denied: set[int] = set()
    left = True
    while left:
        executing: set[int] = set()
        left = False
        try:
            for process in _those_of(jobs, mark, asked, executing):
                force = time.monotonic() >= kill_at
                if process.pid in denied:
                    continue
                left = True
                try:
                    if force:
                        _kill(process)
                    elif process.pid not in asked:
                        signal_if_same(process, signal.SIGTERM, signal.SIGCONT)
                except PermissionError:
                    if force:
                        denied.add(process.pid)
                except OSError:
                    pass  # the next scan tries again
                asked[process.pid] = process.start_time
        except OSError:  # no descriptor or memory is left to scan with; a process may still live
            left = True
        # A process in the middle of an exec shows its marker a moment later.
        left = left or (bool(executing) and time.monotonic() < began + MAX_EXEC_SECONDS)
        if time.monotonic() > kill_at + GIVE_UP_SECONDS:
            return
        time.sleep(0.01)


def end_groups(jobs: dict[int, float]) -> None:
    """End the process groups of these jobs, on systems without /proc."""
    kill_at = time.monotonic() + max(jobs.values(), default=GRACE_SECONDS)
    numbers: tuple[int, ...] = (signal.SIGTERM, signal.SIGCONT)
    while left := [group for group in jobs if group_is_alive(group)]:
        for number in numbers:
            for group in left:
                with contextlib.suppress(OSError):
                    os.killpg(group, number)
        numbers = (signal.SIGKILL,) if time.monotonic() >= kill_at else ()
        if time.monotonic() > kill_at + GIVE_UP_SECONDS:
            return
        time.sleep(0.01)


def _kill(process: Process) -> None:
    """Kill a process together with its process group.

    The group is killed as a whole because a process that forks faster than we scan would escape single
    signals.
    """
    if process.group != os.getpgid(0):
        with contextlib.suppress(OSError):
            os.killpg(process.group, signal.SIGKILL)
    signal_if_same(process, signal.SIGKILL)


def _those_of(
    jobs: dict[int, float], mark: bytes, asked: dict[int, int], executing: set[int]
) -> Iterator[Process]:
    """Yield the living processes of the jobs.

    They are in a job's session or group, carry the marker, descend from such a process, or were found before.
    Each is yielded as soon as it is found, because a process that keeps forking to new pids is gone a moment
    later.
    """
    found: set[int] = set()
    others: list[Process] = []
    for process in all_processes_to_the_newest():
        if not process.is_alive or process.pid == os.getpid():
            continue
        if asked.get(process.pid) == process.start_time or _is_theirs(process, jobs, mark, executing):
            found.add(process.pid)
            yield process
        else:
            others.append(process)
    grew = bool(found)
    while grew:
        below = [process for process in others if process.parent in found and process.pid not in found]
        found.update(process.pid for process in below)
        yield from below
        grew = bool(below)


def _is_theirs(process: Process, jobs: dict[int, float], mark: bytes, executing: set[int]) -> bool:
    if process.session in jobs or process.group in jobs:
        return True
    environment = environment_of(process.pid)
    if environment is None:
        executing.add(process.pid)
    return mark in (environment or b"")


def be_called(name: bytes) -> None:
    """Change the name and the arguments of this process, so that it survives a `pkill -f pqrun`.

    Such programs read the arguments from memory of the process, which it may overwrite.
    """
    with contextlib.suppress(OSError), open("/proc/self/comm", "wb", buffering=0) as file:
        file.write(name)
    with contextlib.suppress(OSError, IndexError, ValueError):
        with open("/proc/self/stat", "rb", buffering=0) as file:
            text = file.read(4096)
        fields = text[text.rfind(b")") + 2 :].split()
        start, end = int(fields[45]), int(fields[46])
        if not start < end:
            return
        arguments = name[: end - start - 1].ljust(end - start, b"\0")
        try:
            with open("/proc/self/mem", "r+b", buffering=0) as file:
                file.seek(start)
                file.write(arguments)
        except OSError:  # some sandboxes have no /proc/self/mem
            import ctypes

            ctypes.memmove(start, arguments, len(arguments))


def close_all_but(kept: set[int]) -> None:
    """Close all other descriptors, and turn the standard ones into /dev/null."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        if fd not in kept:
            os.dup2(null, fd)
    limit = os.sysconf("SC_OPEN_MAX")
    low = 3
    for fd in (*sorted(kept), limit):
        if fd >= low:
            os.closerange(low, fd)
            low = fd + 1
