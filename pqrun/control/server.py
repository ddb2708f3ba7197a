# SPDX-License-Identifier: LGPL-3.0-or-later
"""The socket of a live run, as something that the reactor reads from.

Most runs are never talked to: what serves clients is loaded when the first one comes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import TYPE_CHECKING

from pqrun.control.address import is_ours, listen
from pqrun.engine import Ask
from pqrun.errors import OwnFailure
from pqrun.events import Event
from pqrun.reactor import Reactor
from pqrun.scheduler import Scheduler

if TYPE_CHECKING:
    from pqrun.control.desk import Desk
    from pqrun.control.service import Service

DEAF_SECONDS = 0.5


class Server:
    """Listens at a path, for who holds the run's lock. `desk` makes what answers; `now` tells the time."""

    def __init__(
        self, path: str, reactor: Reactor, desk: Callable[[], Desk], now: Callable[[], float]
    ) -> None:
        self.path = path
        self._reactor = reactor
        self._make_desk = desk
        self._now = now
        self._service: Service | None = None
        self._deaf_until = -inf
        self._lost = False
        self._socket = listen(path)
        self._place = _identity(path)
        reactor.add(self)

    def fileno(self) -> int:
        """The listening socket."""
        return self._socket.fileno()

    def wanted(self) -> bool:
        """Whether somebody may come."""
        return self._lost or self._deaf_until == -inf or self._now() >= self._deaf_until

    def pending(self) -> bool:
        """Whether there is something to do that nobody has to come for."""
        return self._lost

    def read(self) -> Iterable[Ask]:
        """Lets a client in, if it is one of ours; or binds the socket anew."""
        if self._lost:
            self._lost = False
            self._bind_anew()
            return []
        self._let_in()
        return []

    def look_after(self) -> None:
        """From any thread: if the socket was removed or replaced, it is bound anew soon."""
        if _identity(self.path) != self._place:
            self._lost = True
            self._reactor.ring()

    def _bind_anew(self) -> None:
        try:
            bound = listen(self.path)
        except OwnFailure:
            return  # tried again at the next look
        while self._let_in():  # those that had come before it was removed
            pass
        before, self._socket = self._socket, bound
        self._place = _identity(self.path)
        before.close()

    def _let_in(self) -> bool:
        """Whether somebody came."""
        try:
            connection, _ = self._socket.accept()
        except OSError as error:
            # Without a descriptor for it, it would be called again at once: not before one may be free.
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
        """From any thread, after each turn: what has happened in the run."""
        if self._deaf_until > -inf:
            self._deaf_until = -inf
            self._reactor.ring()
        if self._service is not None:
            self._service.heard(events)

    def look(self, scheduler: Scheduler, now: float) -> None:
        """Ask: answers those for whom it is time."""
        if self._service is not None:
            self._service.look(scheduler, now)

    def close(self, *, broken: bool = False) -> None:
        """Everybody is told that the run is over, and nothing else if it could not be recorded."""
        self._reactor.remove(self)
        self._socket.close()
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        if self._service is not None:
            self._service.close(broken=broken)

    def _opened(self) -> Service:
        from pqrun.control.service import Service

        return Service(self._reactor, self._make_desk(), self._now)


def _identity(path: str) -> tuple[int, int] | None:
    """Which file that is."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
