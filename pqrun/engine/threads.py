# SPDX-License-Identifier: LGPL-3.0-or-later
"""The start of threads: the one place that recognises a machine without room for another thread."""

from __future__ import annotations

import errno
import os
import time
from threading import Thread

from pqrun.core.errors import CURES, InternalFailure

START_TIMEOUT_SECONDS = 3.0
_PAUSE = 0.1


class NoThread(InternalFailure, RuntimeError):
    """Raised when the machine has no room for another thread; a `RuntimeError` too, as `threading` raises.

    `why` is the system's text for a system call that fails for the same reason.
    """

    why = os.strerror(errno.EAGAIN)


def start_thread(thread: Thread, *, patience: float = 0.0) -> None:
    """Start the thread. On a machine without room for it, try again for `patience` seconds.

    A thread counts as a process where the number of processes of a user is limited.

    Raises:
        NoThread: There was still no room after `patience` seconds.
    """
    until = time.monotonic() + patience
    while True:
        try:
            thread.start()
            return
        except RuntimeError:
            if thread.ident is not None:  # the thread was started before, a bug of pqrun
                raise
        if time.monotonic() >= until:
            raise NoThread(f"cannot start a thread: {NoThread.why}; {CURES[errno.EAGAIN]}")
        time.sleep(_PAUSE)
