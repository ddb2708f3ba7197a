# SPDX-License-Identifier: LGPL-3.0-or-later
"""The start of a process with a niceness of its own."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from typing import ParamSpec

from pqrun.executors.local.spawn import StartError
from pqrun.executors.local.user_paths import interruptible

Arguments = ParamSpec("Arguments")


def niced(nice: int, start: Callable[Arguments, int]) -> Callable[Arguments, int]:
    """Return a function that calls `start` in a thread of that niceness, and so starts a process that has it.

    On Linux, niceness belongs to a thread, and a new process inherits that of the thread that starts it: the process
    has it from its first instruction on. A thread without privileges can't lower its niceness again, so the worker's
    own thread must keep its niceness for the next job. To set the niceness of the process after its start would be
    too late: the process may have started others by then. The program `nice` would only print a warning if it may not
    set the niceness, and would report a missing program in its own way.

    The function raises StartError if this niceness is not permitted.
    """

    def act(*words: Arguments.args, **more: Arguments.kwargs) -> int:
        try:
            os.setpriority(os.PRIO_PROCESS, 0, nice)
        except OSError as error:
            ours = os.getpriority(os.PRIO_PROCESS, 0)
            raise StartError(
                126,
                f"cannot be started with niceness {nice}: {(error.strerror or str(error)).lower()}; "
                f"set `nice` to {ours} or more, or run pqrun with the capability CAP_SYS_NICE",
            ) from None
        pid = start(*words, **more)
        _set_autogroup(pid, nice)
        return pid

    def begin(*words: Arguments.args, **more: Arguments.kwargs) -> int:
        if sys.platform != "linux":  # there, niceness belongs to the whole process
            raise StartError(126, "cannot be started with a niceness: only Linux has one for each thread")
        return interruptible(lambda: act(*words, **more), lambda: False)

    return begin


def _set_autogroup(pid: int, nice: int) -> None:
    """Give the session of a job the niceness of its processes, on a kernel that has autogroups.

    Such a kernel shares the CPUs between sessions first, and each job is a session: the niceness of its processes
    alone would count only among themselves. Without privileges, the kernel takes ten such changes a second; a job
    above that is not slowed down for it. The file is that of pqrun's own session until the process has left it.
    """
    with contextlib.suppress(OSError):
        if os.getsid(pid) == pid:
            with open(f"/proc/{pid}/autogroup", "w") as file:
                file.write(str(nice))
