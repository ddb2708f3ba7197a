# SPDX-License-Identifier: LGPL-3.0-or-later
"""The clients of a live run: their connections, the requests in progress, and who waits for an answer.

Loaded when the first client connects, because most runs never have one.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TYPE_CHECKING

from pqrun.control.commands.ps import Listing
from pqrun.control.commands.wait import EndedJob, PendingAnswer, WaitForJobs, WaitForRoom
from pqrun.control.connection import ClientConnection
from pqrun.control.handler import RequestHandler, Result
from pqrun.control.protocol import (
    ClientRequest,
    IncrementalAnswer,
    busy,
    decode,
    encode,
    refusal,
)
from pqrun.core import events as ev
from pqrun.core.errors import Rejected
from pqrun.core.scheduler import Scheduler
from pqrun.engine.engine import Request
from pqrun.engine.reactor import Reactor

if TYPE_CHECKING:
    from pqrun.control.handler import RequestHandler


MAX_CLIENTS = 64
MAX_WAITING_CLIENTS = 60
IDLE, STUCK = 1.0, 10.0
HANG_UP_DELAY_SECONDS = 0.5
IN_TURN = ("add", "set", "cancel")
_TELLING = (ev.JobEnded, ev.AttemptSubmitted, ev.JobRemoved, ev.JobAdded, ev.RunStopping)


class ClientService:
    """All connections of a run: carry out their requests, and answer those that wait.

    Methods run on the reactor's thread unless stated otherwise. `now` returns the engine's time.
    """

    def __init__(self, reactor: Reactor, handler: RequestHandler, now: Callable[[], float]) -> None:
        self._reactor = reactor
        self._desk = handler
        self._now = now
        self._clients: list[ClientConnection] = []
        self._todo: deque[tuple[ClientConnection, ClientRequest | IncrementalAnswer]] = deque()
        self._waiting: dict[ClientConnection, PendingAnswer] = {}
        self._ended: deque[EndedJob] = deque()
        self._stirred = False
        reactor.add(self)

    # The reactor's side: an `EventSource` without a descriptor

    def fileno(self) -> int:
        """Return -1: this source has no descriptor, only work that is left over from other sources."""
        return -1

    def wanted(self) -> bool:
        """Return whether a request is unfinished, or an event may have ended a client's wait."""
        return bool(self._todo) or self._stirred

    def pending(self) -> bool:
        """Return True: there is no descriptor to wait for."""
        return True

    def read(self) -> Iterable[Request]:
        """Return the engine requests that continue the unfinished one and check the waits."""
        stirred, self._stirred = self._stirred, False
        return [*([self._go_on] if self._todo else ()), *([self.look] if stirred else ())]

    # Events of the run

    def heard(self, events: Sequence[ev.Event]) -> None:
        """Note events that a waiting client may be waiting for. Can be called on any thread."""
        if self._waiting and any(isinstance(event, _TELLING) for event in events):
            self._ended.extend(
                EndedJob(e.seq, e.outcome, e.allowed) for e in events if isinstance(e, ev.JobEnded)
            )
            self._stirred = True
            self._reactor.wake()

    def look(self, scheduler: Scheduler, now: float) -> None:
        """Answer the clients whose wait is over. An engine request."""
        ended = []
        while self._ended:
            ended.append(self._ended.popleft())
        for client, waiting in list(self._waiting.items()):
            if self._todo and isinstance(waiting, WaitForRoom):
                continue  # an unfinished request goes first, as it does before every request of `IN_TURN`
            answer = waiting.look(ended, scheduler, now)
            if answer is not None:
                del self._waiting[client]
                client.answer(answer)

    def close(self, *, broken: bool) -> None:
        """Send the last answers and close all connections.

        With `broken`, answers are dropped, because their requests may not be in the journal.
        """
        self._reactor.remove(self)
        for client in self._clients:
            if broken:
                client.take_back()
            elif client in self._waiting:
                client.answer(self._waiting[client].on_run_ended())
        self._linger()
        for client in list(self._clients):
            client.hang_up()

    # Requests

    def carry_out(self, client: ClientConnection, line: bytes, scheduler: Scheduler, now: float) -> None:
        """Carry out one line of a client, or put it in line behind an unfinished request.

        Called inside a turn of the engine.
        """
        try:
            request = decode(line)
        except Rejected as error:
            client.answer(refusal(error))
            return
        if request["verb"] in IN_TURN:
            self._todo.append((client, request))
            if len(self._todo) == 1:
                self._go_on(scheduler, now)
        else:
            self._do(client, request, scheduler, now)

    def _go_on(self, scheduler: Scheduler, now: float) -> None:
        """Carry out the requests of `IN_TURN` in their order, until one needs another turn.

        An engine request. Nothing starts while a request is half done.
        """
        scheduler.maintenance = ""
        while self._todo:
            client, what = self._todo[0]
            steps = self._do(client, what, scheduler, now)
            if steps is not None:
                self._todo[0] = (client, steps)
                scheduler.maintenance = "being changed"
                return
            self._todo.popleft()
        self._stirred = bool(self._waiting)

    def _do(
        self,
        client: ClientConnection,
        what: ClientRequest | IncrementalAnswer,
        scheduler: Scheduler,
        now: float,
    ) -> IncrementalAnswer | None:
        """Begin or continue a request: answer it, or note that its client waits.

        Returns the remaining steps if the request needs another turn, else None.
        """
        try:
            begun = isinstance(what, Generator)
            result = what if isinstance(what, Generator) else self._desk.begin(client, what, scheduler, now)
            if isinstance(result, Generator):
                result = _next_step(result, now if begun else None)
        except Rejected as error:
            client.answer(refusal(error))
            return None
        if isinstance(result, Generator):
            return result
        self._give(client, result, scheduler, now)
        return None

    def _give(self, client: ClientConnection, result: Result, scheduler: Scheduler, now: float) -> None:
        if isinstance(result, dict):
            client.answer({"ok": True, **result})
        elif isinstance(result, Listing):
            client.answer(result)
        elif isinstance(result, WaitForJobs | WaitForRoom) and not client.gone:
            self._wait(client, result, scheduler, now)

    def _wait(
        self, client: ClientConnection, waiting: WaitForJobs | WaitForRoom, scheduler: Scheduler, now: float
    ) -> None:
        behind = isinstance(waiting, WaitForRoom) and any(
            isinstance(w, WaitForRoom) for w in self._waiting.values()
        )
        answer = None if behind else waiting.look((), scheduler, now)
        if answer is not None:
            client.answer(answer)
        elif len(self._waiting) >= MAX_WAITING_CLIENTS:
            client.send_away(busy(f"{MAX_WAITING_CLIENTS} clients are waiting already"))
        else:
            self._waiting[client] = waiting
            self._stirred = True

    # Connections

    def admit(self, connection: socket.socket) -> None:
        """Add a client. If all places are taken, an idle client is sent away, or else the new one."""
        if len(self._clients) < MAX_CLIENTS or self._make_room():
            client = ClientConnection(connection, self, self._now())
            self._clients.append(client)
            self._reactor.add_duplex(client)
            return
        with contextlib.suppress(OSError):
            connection.send(encode(busy(f"{MAX_CLIENTS} clients are connected already")))
        connection.close()

    def forget(self, client: ClientConnection) -> None:
        """Remove a client that has disconnected.

        Its requests are still carried out, except that it no longer waits for anything.
        """
        self._reactor.remove(client)
        self._desk.forget(client)
        self._waiting.pop(client, None)
        self._clients.remove(client)

    def _make_room(self) -> bool:
        """Send away the client that has been idle longest, if that is long enough.

        The threshold is `IDLE` seconds; `STUCK` seconds for a client that is taking an answer or is
        in the middle of an `add`. Returns whether a place is free.
        """
        now = self._now()
        for client in sorted(self._clients, key=lambda client: client.last_heard):
            patience = STUCK if client.sending or self._desk.is_maintenance(client) else IDLE
            if not client.asked and now - client.last_heard >= patience:
                if not client.sending:
                    client.send_away(busy("the connection was idle, and other clients needed its place"))
                    client.write()
                client.hang_up()
                return True
        return False

    def _linger(self) -> None:
        """Let clients take the rest of their answers, for at most `HANG_UP_DELAY_SECONDS`."""
        end = self._now() + HANG_UP_DELAY_SECONDS
        while (sending := [c for c in self._clients if c.sending]) and self._now() < end:
            poll = select.poll()
            for client in sending:
                poll.register(client, select.POLLOUT)
            poll.poll(20)
            for client in sending:
                client.write()


def _next_step(steps: IncrementalAnswer, now: float | None) -> Result:
    """Run one step; return the generator, or its answer if that was the last step."""
    try:
        steps.send(now)  # type: ignore[arg-type]  # send(None) starts a generator
    except StopIteration as end:
        answer: Result = end.value
        return answer
    return steps
