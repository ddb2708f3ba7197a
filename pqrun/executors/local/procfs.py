# SPDX-License-Identifier: LGPL-3.0-or-later
"""Processes as `/proc` shows them; signals to single processes, reaping, and the subreaper flag.

This module only looks and acts; other modules decide which job a process belongs to and what to do with
it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Iterator
from typing import NamedTuple

LINUX = sys.platform == "linux"
MAX_DESCENDANTS = 100_000
PAGE_MAY_BE_FULL_BYTES = 2048
UNKILLABLE_SECONDS = 5.0
MAX_EXEC_SECONDS = 1.0
LOOKS_AT_WORK = 3
_PF_KTHREAD = 0x00200000
MAX_PIDS_PROBED = 300
OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37


class Process(NamedTuple):
    """The fields of `/proc/PID/stat` that are needed here. `start_time`: clock ticks since boot.

    `bare`: the kernel does not show where the environment is. Either the process is in the middle of an exec,
    or we are not permitted to read it.
    """

    pid: int
    state: str
    parent: int
    group: int
    session: int
    start_time: int
    bare: bool

    @property
    def is_alive(self) -> bool:
        """Whether the process is neither a zombie nor dead."""
        return self.state not in "ZX"


def read_stat(pid: int) -> Process | None:
    """Return the process, None if it does not exist or can't be seen.

    Raises OSError if no descriptor or memory is left to read with.
    """
    text = _read(f"/proc/{pid}/stat", 4096)
    if not text:
        return None
    facts = text[text.rfind(b")") + 2 :].split()
    # The first process of a system may have no variables for ever; it is nobody's job.
    # To other users the kernel shows 1 as the beginning of the code, and zeros for the variables.
    is_hidden = facts[23] == b"1"
    bare = facts[48:49] == [b"0"] and not is_hidden and pid != 1 and not int(facts[6]) & _PF_KTHREAD
    return Process(pid, facts[0].decode(), int(facts[1]), int(facts[2]), int(facts[3]), int(facts[19]), bare)


def environment_of(pid: int) -> bytes | None:
    """Return the environment that the process was started with.

    Empty if it has none or we are not permitted to read it. None while the process is in the middle of an
    exec: its environment is not visible yet, so look again. Raises OSError like `read_stat`.
    """
    for _ in range(2):  # the exec may finish between reading `environ` and reading `stat`
        if data := _read(f"/proc/{pid}/environ", 1 << 20):
            return data
        process = read_stat(pid)
        if process is not None and process.is_alive and process.bare:
            return None
    return b""


def _read(path: str, limit: int) -> bytes:
    """Return the start of a file in /proc, empty if the process has gone or can't be seen."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(limit)
    except OSError as error:
        if error.errno in OUT_OF_RESOURCES:  # a fault of ours, which says nothing about the process
            raise
        return b""


def newest_pid() -> int:
    """Return the pid that the kernel gave out last, 0 if unknown."""
    with contextlib.suppress(OSError, ValueError), open("/proc/loadavg", "rb", buffering=0) as file:
        return int(file.read(256).split()[-1])
    return 0


def all_processes() -> Iterator[Process]:
    """Yield every visible process. Raises OSError if no descriptor or memory is left to read with."""
    for name in os.listdir("/proc"):
        if name.isdecimal() and (process := read_stat(int(name))):
            yield process


def all_processes_to_the_newest() -> Iterator[Process]:
    """Yield every visible process, and those that begin during the scan. Raises OSError like `all_processes`.

    A list of processes is old when it is read: a process that forked and ended meanwhile is gone, and its
    child is not in the list. A chain of such processes would escape scan after scan.
    """
    newest = newest_pid()
    yield from all_processes()
    yield from processes_since(newest)


def processes_since(pid: int) -> Iterator[Process]:
    """Yield the processes with pids above `pid`, up to the newest one when all others were yielded.

    Pids are given out in ascending order. Nothing is yielded for more than `MAX_PIDS_PROBED` new pids.
    """
    number, newest = pid + 1, newest_pid()
    while number <= newest < number + MAX_PIDS_PROBED:
        with contextlib.suppress(OSError):
            if process := read_stat(number):
                yield process
        number += 1
        if number > newest:
            newest = newest_pid()


def descendants_of(pid: int) -> list[Process]:
    """Return the children of a process, their children, and so on."""
    found: list[Process] = []
    waiting = [pid]
    while waiting and len(found) < MAX_DESCENDANTS:
        for child in children_of(waiting.pop()):
            with contextlib.suppress(OSError):
                if process := read_stat(child):
                    found.append(process)
            waiting.append(child)
    return found


def is_at_work(pid: int) -> bool:
    """Say whether a process or one below it uses a CPU or a disk, or waits for its turn to do so.

    A process may hand its work to a child, or take it back, during a look; so there are some looks.
    """
    with contextlib.suppress(OSError):
        for _ in range(LOOKS_AT_WORK):
            process = read_stat(pid)
            if any(one.state in "RD" for one in (process, *descendants_of(pid)) if one is not None):
                return True
    return False


def children_of(pid: int) -> list[int]:
    """Return the children of all threads of a process, empty if the kernel keeps no such lists."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb", buffering=0) as file:
                while data := file.read(1 << 16):
                    found += map(int, data.split())
    return found


class Children:
    """The children of the main thread, among which orphans appear.

    Children that other threads started are not in this list.
    """

    def __init__(self) -> None:
        self._fd = -1

    @property
    def only_orphans(self) -> bool:
        """Whether the list leaves out the children that other threads started."""
        return self._fd >= 0

    def open(self) -> None:
        """Open the list of children.

        On a kernel without such a list, `read` searches all of `/proc` each time instead.
        """
        with contextlib.suppress(OSError):
            # The number of the main thread is that of the process. Python's `native_id` is old after a fork.
            self._fd = os.open(f"/proc/self/task/{os.getpid()}/children", os.O_RDONLY | os.O_CLOEXEC)

    def read(self) -> bytes:
        """Return the pids of the children, separated by spaces, the eldest first.

        A short list takes one system call. Raises OSError if the children can't be listed.
        """
        if self._fd < 0:
            return self._search()
        try:
            data = piece = os.pread(self._fd, 1 << 16, 0)
            while len(piece) > PAGE_MAY_BE_FULL_BYTES:
                piece = os.pread(self._fd, 1 << 16, len(data))
                data += piece
        except OSError:  # the kernel has no memory for the list
            return self._search()
        return data

    def _search(self) -> bytes:
        own = os.getpid()
        return b"".join(b"%d " % process.pid for process in all_processes() if process.parent == own)

    def close(self) -> None:
        """Close the list of children."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def group_is_alive(group: int) -> bool:
    """Say whether a process group has a member that is not a zombie. True if that can't be seen.

    The number of the group must not have been reused.
    """
    if LINUX:
        try:
            return any(process.group == group and process.is_alive for process in all_processes())
        except OSError:  # no descriptor is left to read /proc with
            return True
    try:
        os.killpg(group, 0)
    except OSError:  # EPERM: the group has only zombies
        return False
    return True


def reap(pid: int) -> bool:
    """Reap a child if it is dead. Returns whether it is gone."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def is_dead(pid: int) -> bool:
    """Say whether a process is dead, without reaping it."""
    process = read_stat(pid)
    return process is None or not process.is_alive


def signal_if_same(process: Process, *numbers: int) -> None:
    """Signal a process, unless its pid now belongs to another process.

    Does nothing if the process has gone. Raises PermissionError if we are not permitted to signal it.
    """
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    except (AttributeError, OSError):  # this system has no pidfd, or no descriptor is left
        with contextlib.suppress(ProcessLookupError):
            for number in numbers:
                os.kill(process.pid, number)
        return
    try:
        try:
            now = read_stat(process.pid)
        except OSError:  # no descriptor is left to compare with; the caller has just seen the process
            now = process
        if now is not None and now.start_time == process.start_time:
            with contextlib.suppress(ProcessLookupError):
                for number in numbers:
                    signal.pidfd_send_signal(handle, number)
    finally:
        os.close(handle)


def be_subreaper(*, wanted: bool = True) -> bool:
    """Set or clear the subreaper flag, by which orphans of our jobs become our children.

    Returns False if the system has no such flag or refuses it.
    """
    if not LINUX:
        return False
    import ctypes

    return bool(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0) == 0)


def is_subreaper() -> bool:
    """Say whether this process is a subreaper."""
    if not LINUX:
        return False
    import ctypes

    answer = ctypes.c_int()
    ctypes.CDLL(None).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(answer), 0, 0, 0)
    return bool(answer.value)
