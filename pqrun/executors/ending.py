# SPDX-License-Identifier: LGPL-3.0-or-later
"""Whether a child has ended, and a descriptor to wait for it with; nothing is reaped."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
from typing import Protocol


class Watch(Protocol):
    """Readable when the child has ended."""

    def fileno(self) -> int: ...
    def close(self) -> None: ...


class _Handle:
    """A process by a descriptor of its own."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)


if sys.platform != "darwin":

    def has_ended(pid: int) -> bool:
        """Peeks. Also if somebody else in this program has reaped it."""
        try:
            return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def watch(pid: int) -> Watch | None:
        """None: there is no such thing here, or there are no descriptors left; look now and then."""
        with contextlib.suppress(AttributeError, OSError):
            return _Handle(os.pidfd_open(pid))
        return None

else:  # no pidfd, and no waitid before Python 3.13

    def has_ended(pid: int) -> bool:
        """Peeks."""
        try:
            queue = select.kqueue()
        except OSError:
            return False
        try:
            return bool(queue.control([_end_of(pid)], 1, 0))
        except OSError as error:
            return error.errno == errno.ESRCH  # a zombie can't be watched any more
        finally:
            queue.close()

    def watch(pid: int) -> Watch | None:
        """None: it has ended, or there are no descriptors left; look now and then."""
        with contextlib.suppress(OSError):
            queue = select.kqueue()
            try:
                queue.control([_end_of(pid)], 0, 0)
            except OSError:
                queue.close()
                raise
            return queue
        return None

    def _end_of(pid: int) -> select.kevent:
        return select.kevent(
            pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD | select.KQ_EV_ONESHOT, select.KQ_NOTE_EXIT
        )
