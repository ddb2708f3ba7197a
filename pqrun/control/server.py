# SPDX-License-Identifier: LGPL-3.0-or-later
"""The control socket of a live run, as a source of the reactor.

`ControlServer` listens. It creates a `ClientService` when the first client connects, because most
runs never have one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from math import inf
from typing import TYPE_CHECKING

from pqrun.control.protocol import (
    is_ours,
    listen,
)
from pqrun.core.errors import InternalFailure
from pqrun.core.events import Event
from pqrun.core.scheduler import Scheduler
from pqrun.engine.engine import Request
from pqrun.engine.reactor import Reactor

if TYPE_CHECKING:
    from pqrun.control.client_service import ClientService
    from pqrun.engine.live_run import LiveRun


DEAF_SECONDS = 0.5


class ControlServer:
    """The listening socket at `path`, for clients of the run. The caller must hold the run's lock."""

    def __init__(self, path: str, reactor: Reactor, run: LiveRun) -> None:
        self.path = path
        self._reactor = reactor
        self._run = run
        self._now = run.clock.now
        self._service: ClientService | None = None
        self._deaf_until = -inf
        self._lost = False
        self._socket = listen(path)
        self._place = _identity(path)
        reactor.add(self)

    def fileno(self) -> int:
        return self._socket.fileno()

    def wanted(self) -> bool:
        """Return whether to accept a connection or to bind the socket again."""
        return self._lost or self._deaf_until == -inf or self._now() >= self._deaf_until

    def pending(self) -> bool:
        """Return whether the socket file is lost, so that `read` has work without a connection."""
        return self._lost

    def read(self) -> Iterable[Request]:
        """Accept one client, or bind the socket again if its file was lost."""
        if self._lost:
            self._lost = False
            self._bind_anew()
            return []
        self._let_in()
        return []

    def look_after(self) -> None:
        """Check the socket file; if it was removed or replaced, have the reactor bind it again.

        Can be called on any thread.
        """
        if _identity(self.path) != self._place:
            self._lost = True
            self._reactor.wake()

    def _bind_anew(self) -> None:
        try:
            bound = listen(self.path)
        except InternalFailure:
            return  # `look_after` notices it again at its next call
        while self._let_in():  # accept the connections that the old socket still holds
            pass
        before, self._socket = self._socket, bound
        self._place = _identity(self.path)
        before.close()

    def _let_in(self) -> bool:
        """Accept one connection; return whether there was one."""
        try:
            connection, _ = self._socket.accept()
        except OSError as error:
            # Out of descriptors: poll would report the socket at once again and use up a CPU, so don't
            # listen until an event may have freed a descriptor, or for half a second.
            if not isinstance(error, BlockingIOError | InterruptedError | ConnectionError):
                self._deaf_until = self._now() + DEAF_SECONDS
                self._reactor.look_again(DEAF_SECONDS)
            return False
        self._deaf_until = -inf
        if is_ours(connection):
            self._service = self._service or self._opened()
            self._service.admit(connection)
        else:
            connection.close()
        return True

    def heard(self, events: Sequence[Event]) -> None:
        """Take in the events of a turn. Can be called on any thread."""
        if self._deaf_until > -inf:
            self._deaf_until = -inf
            self._reactor.wake()
        if self._service is not None:
            self._service.heard(events)

    def look(self, scheduler: Scheduler, now: float) -> None:
        """Answer the clients whose wait is over. An engine request."""
        if self._service is not None:
            self._service.look(scheduler, now)

    def close(self, *, broken: bool = False) -> None:
        """Stop listening, tell the clients that the run is over, and close their connections.

        With `broken`, the journal may lack what was done last, so answers in progress are dropped.
        """
        self._reactor.remove(self)
        self._socket.close()
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        if self._service is not None:
            self._service.close(broken=broken)

    def _opened(self) -> ClientService:
        from pqrun.control.client_service import ClientService
        from pqrun.control.handler import RequestHandler

        return ClientService(self._reactor, RequestHandler(self._run), self._now)


def _identity(path: str) -> tuple[int, int] | None:
    """Return the device and inode of the file at `path`, or None if it does not exist."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
