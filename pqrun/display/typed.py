# SPDX-License-Identifier: LGPL-3.0-or-later
"""Whether the list of jobs is typed on our terminal: then its line editing is left alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence

from pqrun.executors.processes import LINUX, all_processes


class Typed:
    """`unread` gives the descriptors of input that has not ended."""

    def __init__(self, unread: Callable[[], Sequence[int]]) -> None:
        self._unread = unread
        self._here: dict[int, bool] = {}
        self._fed: dict[int, bool] = {}

    def here(self) -> bool:
        """Whether that is read from the terminal itself."""
        return any(self._once(fd, self._here, _is_our_terminal) for fd in self._unread())

    def maybe(self) -> bool:
        """The same, or whether a program that feeds us may read from there, as in `cat | pqrun run`."""
        return self.here() or any(self._once(fd, self._fed, _may_be_fed) for fd in self._unread())

    @staticmethod
    def _once(fd: int, known: dict[int, bool], ask: Callable[[int], bool]) -> bool:
        if fd not in known:
            known[fd] = ask(fd)
        return known[fd]


def _is_our_terminal(fd: int) -> bool:
    try:
        os.tcgetpgrp(fd)  # which only our controlling terminal tells
    except OSError:
        return False
    return True


def _may_be_fed(fd: int) -> bool:
    """Whether it is a pipe, and a program of our pipeline has the terminal as its own stdin.

    Whether that reads it can't be told before it does; the keys of the table are the lesser loss.
    """
    try:
        mode = os.fstat(fd).st_mode
        terminals = {os.fstat(2).st_rdev, os.stat("/dev/tty").st_rdev}
    except OSError:
        return False
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return False
    if not LINUX:
        return True
    group, own = os.getpgrp(), os.getpid()
    beside = (process.pid for process in all_processes() if process.group == group and process.pid != own)
    return any(_stdin_of(pid) in terminals - {0} for pid in beside)


def _stdin_of(pid: int) -> int:
    """The device that it reads; 0 if that is none, or not ours to know."""
    try:
        return os.stat(f"/proc/{pid}/fd/0").st_rdev
    except OSError:
        return 0
