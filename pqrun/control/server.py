# SPDX-License-Identifier: LGPL-3.0-or-later
"""The control socket of a live run, as a source of the reactor: accepts clients, and answers those that wait."""

from __future__ import annotations

import contextlib
import os
import select
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING

from pqrun.control.protocol import PendingAnswer, busy, encode_answer, is_ours, listen
from pqrun.core import events as ev
from pqrun.core.errors import InternalFailure
from pqrun.core.scheduler import Scheduler
from pqrun.engine.reactor import Reactor, Request

if TYPE_CHECKING:
    from pqrun.control.connection import ClientConnection
    from pqrun.control.protocol import Verb
    from pqrun.engine.live_run import LiveRun

PAUSE_WITHOUT_DESCRIPTORS_SECONDS = 0.5
MAX_CLIENTS = 64
MAX_WAITING_CLIENTS = 60
IDLE_SECONDS, STUCK_SECONDS = 1.0, 10.0
HANG_UP_DELAY_SECONDS = 0.5
_MAY_END_A_WAIT = (ev.JobEnded, ev.AttemptSubmitted, ev.JobRemoved, ev.JobAdded, ev.RunStopping)


class ControlServer:
    """The listening socket at `path` and all connections. The caller must hold the run's lock.

    `in_order` are the clients whose requests have to be carried out one after the other.
    Methods run on the reactor's thread unless stated otherwise.
    """

    def __init__(self, path: str, reactor: Reactor, run: LiveRun) -> None:
        self.path = path
        self.verbs: Mapping[str, Verb] = {}
        self.in_order: deque[ClientConnection] = deque()
        self._reactor = reactor
        self._run = run
        self._now = run.clock.now
        self._paused_until = -inf
        self._lost = False
        self._socket = listen(path)
        self._place = _identity(path)
        self._clients: list[ClientConnection] = []
        self._waiting: dict[ClientConnection, PendingAnswer] = {}
        self._ended: deque[ev.JobEnded] = deque()
        self._look_again = False
        reactor.add(self)

    # The reactor's side: `EventSource`

    def fileno(self) -> int:
        return self._socket.fileno()

    def wanted(self) -> bool:
        """Return whether to accept a connection, to continue a request or to bind the socket again."""
        return self.pending() or self._paused_until == -inf or self._now() >= self._paused_until

    def pending(self) -> bool:
        """Return whether `read` has work although no client may be connecting."""
        return self._lost or self._look_again or bool(self.in_order)

    def read(self) -> Iterable[Request]:
        """Accept one client. Return the requests that continue the unfinished one and check the waits."""
        if self._lost:
            self._lost = False
            self._bind_anew()
        elif self._paused_until == -inf or self._now() >= self._paused_until:
            self._accept()
        look_again, self._look_again = self._look_again, False
        requests: list[Request] = []
        if self.in_order:
            requests.append(self.in_order[0].carry_out_in_order)
        if look_again:
            requests.append(self.look)
        return requests

    # The socket file

    def check_socket_file(self) -> None:
        """If the socket file was removed or replaced, have the reactor bind it again. Called on any thread."""
        if _identity(self.path) != self._place:
            self._lost = True
            self._reactor.wake()

    def _bind_anew(self) -> None:
        try:
            bound = listen(self.path)
        except InternalFailure:
            return  # `check_socket_file` notices it again at its next call
        while self._accept():  # accept the connections that the old socket still holds
            pass
        before, self._socket = self._socket, bound
        self._place = _identity(self.path)
        before.close()

    # Connections

    def _accept(self) -> bool:
        """Accept one connection; return whether there was one."""
        try:
            connection, _ = self._socket.accept()
        except OSError as error:
            # Out of descriptors: poll would report the socket at once again and use up a CPU, so don't
            # listen until an event may have freed a descriptor, or for half a second.
            if not isinstance(error, BlockingIOError | InterruptedError | ConnectionError):
                self._paused_until = self._now() + PAUSE_WITHOUT_DESCRIPTORS_SECONDS
                self._reactor.look_again(PAUSE_WITHOUT_DESCRIPTORS_SECONDS)
            return False
        self._paused_until = -inf
        if not is_ours(connection):
            connection.close()
        elif len(self._clients) < MAX_CLIENTS or self._make_room():
            from pqrun.control.connection import ClientConnection, verbs_of

            self.verbs = self.verbs or verbs_of(self._run)
            client = ClientConnection(connection, self, self._now())
            self._clients.append(client)
            self._reactor.add_duplex(client)
        else:
            with contextlib.suppress(OSError):
                connection.send(encode_answer(busy(f"{MAX_CLIENTS} clients are connected already")))
            connection.close()
        return True

    def _make_room(self) -> bool:
        """Send away the client that has been idle longest, if that is long enough.

        The threshold is `IDLE_SECONDS`; `STUCK_SECONDS` for a client that is taking an answer or is in the
        middle of a message. Returns whether a place is free.
        """
        now = self._now()
        for client in sorted(self._clients, key=lambda client: client.last_active):
            threshold = STUCK_SECONDS if client.sending or client.in_message else IDLE_SECONDS
            if not client.busy and now - client.last_active >= threshold:
                if not client.sending:
                    client.send_away(busy("the connection was idle, and other clients needed its place"))
                    client.write()
                client.hang_up()
                return True
        return False

    def forget(self, client: ClientConnection) -> None:
        """Remove a client that has disconnected.

        Its requests are still carried out, except that it no longer waits for anything.
        """
        self._reactor.remove(client)
        self._waiting.pop(client, None)
        self._clients.remove(client)

    # Requests that take several turns, and waits

    def wait(
        self, client: ClientConnection, waiting: PendingAnswer, scheduler: Scheduler, now: float
    ) -> None:
        """Answer a client at once if its wait is over, else when it is."""
        behind = waiting.adds and any(other.adds for other in self._waiting.values())
        answer = None if behind else waiting.look((), scheduler, now)
        if answer is not None:
            client.answer(answer)
        elif len(self._waiting) >= MAX_WAITING_CLIENTS:
            client.send_away(busy(f"{MAX_WAITING_CLIENTS} clients are waiting already"))
        else:
            self._waiting[client] = waiting
            self._look_again = True

    def on_events(self, events: Sequence[ev.Event]) -> None:
        """Note events that may end a wait or have freed a descriptor. Can be called on any thread."""
        if self._waiting and any(isinstance(event, _MAY_END_A_WAIT) for event in events):
            self._ended.extend(event for event in events if isinstance(event, ev.JobEnded))
            self._look_again = True
        if self._paused_until > -inf or self._look_again:
            self._paused_until = -inf
            self._reactor.wake()

    def look(self, scheduler: Scheduler, now: float) -> None:
        """Answer the clients whose wait is over. An engine request."""
        ended = []
        while self._ended:
            ended.append(self._ended.popleft())
        for client, waiting in list(self._waiting.items()):
            if self.in_order and waiting.adds:
                self._look_again = True  # after the unfinished request, as every other `add`
                continue
            answer = waiting.look(ended, scheduler, now)
            if answer is not None:
                del self._waiting[client]
                client.answer(answer)

    # The end

    def close(self, *, broken: bool = False) -> None:
        """Stop listening, tell the clients that the run is over, and close their connections.

        With `broken`, the journal may lack what was done last, so answers in progress are dropped.
        """
        self._reactor.remove(self)
        self._socket.close()
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        for client in self._clients:
            if broken:
                client.take_back()
            elif client in self._waiting:
                client.answer(self._waiting[client].on_run_ended())
        self._finish_sending()
        for client in list(self._clients):
            client.hang_up()

    def _finish_sending(self) -> None:
        """Let clients take the rest of their answers, for at most `HANG_UP_DELAY_SECONDS`."""
        end = self._now() + HANG_UP_DELAY_SECONDS
        while (sending := [c for c in self._clients if c.sending]) and self._now() < end:
            poll = select.poll()
            for client in sending:
                poll.register(client, select.POLLOUT)
            poll.poll(20)
            for client in sending:
                client.write()


def _identity(path: str) -> tuple[int, int] | None:
    """Return the device and inode of the file at `path`, or None if it does not exist."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
