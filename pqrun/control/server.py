# SPDX-License-Identifier: LGPL-3.0-or-later
"""The socket of a live run, as something that the reactor reads from.

Most runs are never talked to: what serves clients is loaded when the first one comes.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from math import inf
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
    is_ours,
    listen,
    refusal,
)
from pqrun.core import events as ev
from pqrun.core.errors import InternalFailure, Rejected
from pqrun.core.events import Event
from pqrun.core.scheduler import Scheduler
from pqrun.engine.engine import Request
from pqrun.engine.reactor import Reactor

if TYPE_CHECKING:
    from pqrun.control.handler import RequestHandler


DEAF_SECONDS = 0.5


class ControlServer:
    """Listens at a path, for who holds the run's lock. `desk` makes what answers; `now` tells the time."""

    def __init__(
        self, path: str, reactor: Reactor, handler: Callable[[], RequestHandler], now: Callable[[], float]
    ) -> None:
        self.path = path
        self._reactor = reactor
        self._make_desk = handler
        self._now = now
        self._service: ClientService | None = None
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

    def read(self) -> Iterable[Request]:
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
            self._reactor.wake()

    def _bind_anew(self) -> None:
        try:
            bound = listen(self.path)
        except InternalFailure:
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
            self._reactor.wake()
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

    def _opened(self) -> ClientService:
        pass

        return ClientService(self._reactor, self._make_desk(), self._now)


def _identity(path: str) -> tuple[int, int] | None:
    """Which file that is."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


MAX_CLIENTS = 64
MAX_WAITING_CLIENTS = 60
IDLE, STUCK = 1.0, 10.0
HANG_UP_DELAY_SECONDS = 0.5
IN_TURN = ("add", "set", "cancel")
_TELLING = (ev.JobEnded, ev.AttemptSubmitted, ev.JobRemoved, ev.JobAdded, ev.RunStopping)


class ClientService:
    """Keeps the connections, and has the desk do what they ask; `now` tells the time."""

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

    # As something that the reactor reads from, but for the sake of what is to be done here alone

    def fileno(self) -> int:
        """None: nothing is awaited."""
        return -1

    def wanted(self) -> bool:
        """Whether a request is half done, or somebody's waiting may be over."""
        return bool(self._todo) or self._stirred

    def pending(self) -> bool:
        """There is nothing to wait for."""
        return True

    def read(self) -> Iterable[Request]:
        """Goes on with what is half done, and looks after those who wait."""
        stirred, self._stirred = self._stirred, False
        return [*([self._go_on] if self._todo else ()), *([self.look] if stirred else ())]

    # What happens in the run

    def heard(self, events: Sequence[ev.Event]) -> None:
        """From any thread: what may be what somebody waits for."""
        if self._waiting and any(isinstance(event, _TELLING) for event in events):
            self._ended.extend(
                EndedJob(e.seq, e.outcome, e.allowed) for e in events if isinstance(e, ev.JobEnded)
            )
            self._stirred = True
            self._reactor.wake()

    def look(self, scheduler: Scheduler, now: float) -> None:
        """Ask: answers those for whom it is time."""
        ended = []
        while self._ended:
            ended.append(self._ended.popleft())
        for client, waiting in list(self._waiting.items()):
            if self._todo and isinstance(waiting, WaitForRoom):
                continue  # as all who deal with jobs
            answer = waiting.look(ended, scheduler, now)
            if answer is not None:
                del self._waiting[client]
                client.answer(answer)

    def close(self, *, broken: bool) -> None:
        """The run is over: last words, but nobody is told that something was done if it was not recorded."""
        self._reactor.remove(self)
        for client in self._clients:
            if broken:
                client.take_back()
            elif client in self._waiting:
                client.answer(self._waiting[client].on_run_ended())
        self._linger()
        for client in list(self._clients):
            client.hang_up()

    # What clients want

    def carry_out(self, client: ClientConnection, line: bytes, scheduler: Scheduler, now: float) -> None:
        """Inside a turn: does what the request says, or begins to."""
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
        """Ask: all requests that have to wait for each other, up to this turn's part of a long one."""
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
        """Has it answered, or the answer looked for; steps if there are more to go."""
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
            client.send_away(busy(f"{MAX_WAITING_CLIENTS} clients wait already"))
        else:
            self._waiting[client] = waiting
            self._stirred = True

    # Who is here

    def admit(self, connection: socket.socket) -> None:
        """Another client; if there is no room, it or an idle one is asked to come again."""
        if len(self._clients) < MAX_CLIENTS or self._make_room():
            client = ClientConnection(connection, self, self._now())
            self._clients.append(client)
            self._reactor.add(client)
            return
        with contextlib.suppress(OSError):
            connection.send(encode(busy(f"{MAX_CLIENTS} clients are connected already")))
        connection.close()

    def forget(self, client: ClientConnection) -> None:
        """It has gone. What it has asked for is done all the same, but for what was to wait."""
        self._reactor.remove(client)
        self._desk.forget(client)
        self._waiting.pop(client, None)
        self._clients.remove(client)

    def _make_room(self) -> bool:
        """Sends away who has asked nothing for the longest time, if that is long enough."""
        now = self._now()
        for client in sorted(self._clients, key=lambda client: client.last_heard):
            patience = STUCK if client.sending or self._desk.is_maintenance(client) else IDLE
            if not client.asked and now - client.last_heard >= patience:
                if not client.sending:
                    client.send_away(busy("others came while you asked nothing"))
                    client.write()
                client.hang_up()
                return True
        return False

    def _linger(self) -> None:
        """Lets clients take what they are being sent, for a moment."""
        end = self._now() + HANG_UP_DELAY_SECONDS
        while (sending := [c for c in self._clients if c.sending]) and self._now() < end:
            poll = select.poll()
            for client in sending:
                poll.register(client, select.POLLOUT)
            poll.poll(20)
            for client in sending:
                client.write()


def _next_step(steps: IncrementalAnswer, now: float | None) -> Result:
    """The steps, or the answer at their end."""
    try:
        steps.send(now)  # type: ignore[arg-type]  # None begins
    except StopIteration as end:
        answer: Result = end.value
        return answer
    return steps
