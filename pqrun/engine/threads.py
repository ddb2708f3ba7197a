# SPDX-License-Identifier: LGPL-3.0-or-later
"""Starts threads: the one place that knows how a machine without room for another one says so."""

from __future__ import annotations

import errno
import os
import time
from threading import Thread

from pqrun.core.errors import CURES, InternalFailure

START_TIMEOUT_SECONDS = 3.0
_PAUSE = 0.1


class NoThread(InternalFailure, RuntimeError):
    """The machine has no room for another thread; a RuntimeError too, which is what `threading` raises.

    `why` is said in the words of a system call that fails for that.
    """

    why = os.strerror(errno.EAGAIN)


def start_thread(thread: Thread, *, patience: float = 0.0) -> None:
    """Start the thread; `NoThread` if that can't be, after trying again for `patience` seconds.

    A thread counts as a process where the number of a user's processes is limited.
    """
    until = time.monotonic() + patience
    while True:
        try:
            thread.start()
            return
        except RuntimeError:
            if thread.ident is not None:  # it was started before: a mistake of ours
                raise
        if time.monotonic() >= until:
            raise NoThread(f"cannot start a thread: {NoThread.why}; {CURES[errno.EAGAIN]}")
        time.sleep(_PAUSE)
