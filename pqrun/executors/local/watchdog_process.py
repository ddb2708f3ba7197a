# SPDX-License-Identifier: LGPL-3.0-or-later
"""The code that a watchdog runs: wait for pqrun's end, end the remaining jobs, restore the terminal.

This code must not depend on anything that a killed pqrun may have left half done.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Iterator, Sequence

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
from pqrun.executors.local.watchdog_table import SharedTable, Terminal
from pqrun.journal.run_directory import WATCHDOG_NAME

GRACE_SECONDS = 3.0
POLL_INTERVAL_SECONDS = 0.05
GIVE_UP_SECONDS = 60.0
IGNORED_SIGNALS = (
    "SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGUSR1", "SIGUSR2",
    "SIGALRM", "SIGPIPE", "SIGXCPU", "SIGVTALRM", "SIGPROF",
)  # fmt: skip


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
