# SPDX-License-Identifier: LGPL-3.0-or-later
"""Processes as `/proc` shows them: who they are, what is below them, and a signal to just that one.

Looks and signals; whose a process is, and what is to become of it, others decide.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import NamedTuple

LINUX = sys.platform == "linux"
MAX_DESCENDANTS = 100_000
PAGE_MAY_BE_FULL_BYTES = 2048
UNKILLABLE = 5.0
MAX_EXEC_SECONDS = 1.0
_PF_KTHREAD = 0x00200000
OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37


class Process(NamedTuple):
    """What `/proc/PID/stat` says that matters here; `born` in clock ticks since the boot.

    `bare`: the kernel does not show where its variables are. Either it executes a program in this very
    moment, or it is not ours to look into.
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
        """Whether it is more than an entry that nobody has reaped."""
        return self.state not in "ZX"


def read_stat(pid: int) -> Process | None:
    """That process, if there is one that can be seen; OSError if there is no descriptor or memory to look with."""
    text = _read(f"/proc/{pid}/stat", 4096)
    if not text:
        return None
    facts = text[text.rfind(b")") + 2 :].split()
    bare = facts[48:49] == [b"0"] and not int(facts[6]) & _PF_KTHREAD
    return Process(pid, facts[0].decode(), int(facts[1]), int(facts[2]), int(facts[3]), int(facts[19]), bare)


def environment_of(pid: int) -> bytes | None:
    """The variables with which it was started; empty if it has none, or we may not know.

    None in the moment in which it executes a program: its variables are on their way, so look again.
    OSError as above.
    """
    for _ in range(2):  # it may have got them between the first look and the second
        if data := _read(f"/proc/{pid}/environ", 1 << 20):
            return data
        process = read_stat(pid)
        if process is not None and process.is_alive and process.bare:
            return None
    return b""


def _read(path: str, limit: int) -> bytes:
    """Some of a file about a process; nothing if that has gone or may not be seen."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(limit)
    except OSError as error:
        if error.errno in OUT_OF_RESOURCES:  # that says nothing about the process
            raise
        return b""


def newest_pid() -> int:
    """The number that was given out last; 0 if the kernel does not say."""
    with contextlib.suppress(OSError, ValueError), open("/proc/loadavg", "rb", buffering=0) as file:
        return int(file.read(256).split()[-1])
    return 0


def all_processes() -> Iterator[Process]:
    """Every process there is, as far as it may be seen; OSError if there is nothing to look with."""
    for name in os.listdir("/proc"):
        if name.isdecimal() and (process := read_stat(int(name))):
            yield process


def descendants_of(pid: int) -> list[Process]:
    """The children of a process, and theirs, and so on."""
    found: list[Process] = []
    waiting = [pid]
    while waiting and len(found) < MAX_DESCENDANTS:
        for child in children_of(waiting.pop()):
            with contextlib.suppress(OSError):
                if process := read_stat(child):
                    found.append(process)
            waiting.append(child)
    return found


def children_of(pid: int) -> list[int]:
    """The children of all its threads; none if the kernel keeps no such lists."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb", buffering=0) as file:
                while data := file.read(1 << 16):
                    found += map(int, data.split())
    return found


class Children:
    """The children of our main thread, among whom orphans turn up; not those of other threads."""

    def __init__(self) -> None:
        self._fd = -1

    @property
    def only_orphans(self) -> bool:
        """Whether what other threads have started is not among them."""
        return self._fd >= 0

    def open(self) -> None:
        """A kernel without such a list: all of `/proc` is searched each time instead."""
        with contextlib.suppress(OSError):
            path = f"/proc/self/task/{threading.main_thread().native_id}/children"
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self) -> bytes:
        """Their numbers, the eldest first; one system call if there are few. OSError if they can't be listed."""
        if self._fd < 0:
            return self._search()
        try:
            data = piece = os.pread(self._fd, 1 << 16, 0)
            while len(piece) > PAGE_MAY_BE_FULL_BYTES:
                piece = os.pread(self._fd, 1 << 16, len(data))
                data += piece
        except OSError:  # the kernel has no memory to make the list with
            return self._search()
        return data

    def _search(self) -> bytes:
        own = os.getpid()
        return b"".join(b"%d " % process.pid for process in all_processes() if process.parent == own)

    def close(self) -> None:
        """Nobody asks any more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def group_is_alive(group: int) -> bool:
    """Whether more than zombies are in a group whose number can't have been reused; so if it can't be seen."""
    if LINUX:
        try:
            return any(process.group == group and process.is_alive for process in all_processes())
        except OSError:  # no descriptors left to look with
            return True
    try:
        os.killpg(group, 0)
    except OSError:  # EPERM: nothing but zombies
        return False
    return True


def reap(pid: int) -> bool:
    """Reaps a child of ours if it is dead, and says so."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def is_dead(pid: int) -> bool:
    """The same without reaping."""
    process = read_stat(pid)
    return process is None or not process.is_alive


def signal_if_same(process: Process, *numbers: int) -> None:
    """Signals that process, and not another that has got its number since.

    PermissionError if it is not ours to signal; silent if it has gone.
    """
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    except (AttributeError, OSError):  # no such thing here, or no descriptors left
        with contextlib.suppress(ProcessLookupError):
            for number in numbers:
                os.kill(process.pid, number)
        return
    try:
        try:
            now = read_stat(process.pid)
        except OSError:  # no descriptors left: a moment ago it was the one
            now = process
        if now is not None and now.start_time == process.start_time:
            with contextlib.suppress(ProcessLookupError):
                for number in numbers:
                    signal.pidfd_send_signal(handle, number)
    finally:
        os.close(handle)


def be_subreaper(*, wanted: bool = True) -> bool:
    """Orphans of our jobs become our children, or no longer; False where there is no such thing."""
    if not LINUX:
        return False
    import ctypes

    return bool(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0) == 0)


def is_subreaper() -> bool:
    """Whether orphans below us become our children."""
    if not LINUX:
        return False
    import ctypes

    answer = ctypes.c_int()
    ctypes.CDLL(None).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(answer), 0, 0, 0)
    return bool(answer.value)
