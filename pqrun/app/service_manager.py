# SPDX-License-Identifier: LGPL-3.0-or-later
"""Messages to a service manager, such as systemd: the queue is ready, lives, and ends."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterable, MutableMapping

from pqrun.engine.reactor import Request

SOCKET, WATCHDOG_TIME, WATCHDOG_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
"""The variables by which the service manager says where it listens, and how often it wants to hear that pqrun lives."""


class ServiceManager:
    """The service manager behind `$NOTIFY_SOCKET`. Without that variable, nothing is sent.

    The object is a source of the reactor that is never read: the main thread asks it before each wait, and
    then it says that the main thread lives. `look_again` is the reactor's method of that name.
    """

    def __init__(
        self,
        look_again: Callable[[float], None],
        variables: MutableMapping[str, str] = os.environ,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        # Jobs must not get these variables: they would speak in the name of the queue.
        path = variables.pop(SOCKET, "")
        limit, pid = variables.pop(WATCHDOG_TIME, ""), variables.pop(WATCHDOG_PID, "")
        self._look_again = look_again
        self._now = now
        self._next = 0.0
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        self._socket: socket.socket | None = None
        self.interval_seconds = 0.0
        """How often to say that pqrun lives: twice in the time that the service manager allows. 0: never."""
        if path.startswith(("/", "@")):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            if limit.isdecimal() and pid in ("", str(os.getpid())):
                self.interval_seconds = int(limit) / 2e6

    def ready(self) -> None:
        """Say that the queue accepts jobs."""
        self._send("READY=1")

    def stopping(self) -> None:
        """Say that the queue ends and no job runs any more.

        Not said earlier: from then on systemd allows only `TimeoutStopSec`, and after `pqrun stop` running jobs
        may finish, however long that takes.
        """
        self._send("STOPPING=1")

    def close(self) -> None:
        """Send nothing more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def wanted(self) -> bool:
        """Say that the main thread lives, if that is due. There is never anything to read."""
        if self.interval_seconds and self._socket is not None:
            if self._now() >= self._next:
                self._send("WATCHDOG=1")
                self._next = self._now() + self.interval_seconds
            self._look_again(max(0.0, self._next - self._now()))
        return False

    def pending(self) -> bool:
        """Return False: nothing is ever read."""
        return False

    def fileno(self) -> int:
        """Return the descriptor of the socket, which is never polled."""
        return -1 if self._socket is None else self._socket.fileno()

    def read(self) -> Iterable[Request]:
        """Return no request."""
        return ()

    def _send(self, text: str) -> None:
        if self._socket is not None:
            # A service manager that has gone or does not read must not hold up the queue.
            with contextlib.suppress(OSError):
                self._socket.sendto(text.encode(), socket.MSG_DONTWAIT, self._address)
