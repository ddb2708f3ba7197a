# SPDX-License-Identifier: LGPL-3.0-or-later
"""The clients of a live run, and what they want: never waits for any of them.

A request becomes an ask, so that it is carried out inside a turn, and its answer is sent after that
turn was recorded. What takes several turns is done step by step; others that deal with jobs have to
wait meanwhile, so that it is as if all had been done at once.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence

from pqrun import events as ev
from pqrun.control.connection import Client
from pqrun.control.desk import Desk, Result
from pqrun.control.listing import Listing
from pqrun.control.protocol import Rejected, Request, Steps, busy, decode, encode, refusal
from pqrun.control.waiting import End, ForJobs, ForRoom, Waiting
from pqrun.engine import Ask
from pqrun.reactor import Reactor
from pqrun.scheduler import Scheduler

MOST_CLIENTS = 64
MOST_WAITING = 60
IDLE, STUCK = 1.0, 10.0
LINGER = 0.5
IN_TURN = ("add", "set", "cancel")
_TELLING = (ev.JobEnded, ev.AttemptSubmitted, ev.JobRemoved, ev.JobAdded, ev.RunStopping)


class Service:
    """Keeps the connections, and has the desk do what they ask; `now` tells the time."""

    def __init__(self, reactor: Reactor, desk: Desk, now: Callable[[], float]) -> None:
        self._reactor = reactor
        self._desk = desk
        self._now = now
        self._clients: list[Client] = []
        self._todo: deque[tuple[Client, Request | Steps]] = deque()
        self._waiting: dict[Client, Waiting] = {}
        self._ended: deque[End] = deque()
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

    def read(self) -> Iterable[Ask]:
        """Goes on with what is half done, and looks after those who wait."""
        stirred, self._stirred = self._stirred, False
        return [*([self._go_on] if self._todo else ()), *([self.look] if stirred else ())]

    # What happens in the run

    def heard(self, events: Sequence[ev.Event]) -> None:
        """From any thread: what may be what somebody waits for."""
        if self._waiting and any(isinstance(event, _TELLING) for event in events):
            self._ended.extend(End(e.seq, e.outcome, e.allowed) for e in events if isinstance(e, ev.JobEnded))
            self._stirred = True
            self._reactor.ring()

    def look(self, scheduler: Scheduler, now: float) -> None:
        """Ask: answers those for whom it is time."""
        ended = []
        while self._ended:
            ended.append(self._ended.popleft())
        for client, waiting in list(self._waiting.items()):
            if self._todo and isinstance(waiting, ForRoom):
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
                client.answer(self._waiting[client].last_word())
        self._linger()
        for client in list(self._clients):
            client.hang_up()

    # What clients want

    def carry_out(self, client: Client, line: bytes, scheduler: Scheduler, now: float) -> None:
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
        scheduler.in_between = ""
        while self._todo:
            client, what = self._todo[0]
            steps = self._do(client, what, scheduler, now)
            if steps is not None:
                self._todo[0] = (client, steps)
                scheduler.in_between = "being changed"
                return
            self._todo.popleft()
        self._stirred = bool(self._waiting)

    def _do(self, client: Client, what: Request | Steps, scheduler: Scheduler, now: float) -> Steps | None:
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

    def _give(self, client: Client, result: Result, scheduler: Scheduler, now: float) -> None:
        if isinstance(result, dict):
            client.answer({"ok": True, **result})
        elif isinstance(result, Listing):
            client.answer(result)
        elif isinstance(result, ForJobs | ForRoom) and not client.gone:
            self._wait(client, result, scheduler, now)

    def _wait(self, client: Client, waiting: ForJobs | ForRoom, scheduler: Scheduler, now: float) -> None:
        behind = isinstance(waiting, ForRoom) and any(isinstance(w, ForRoom) for w in self._waiting.values())
        answer = None if behind else waiting.look((), scheduler, now)
        if answer is not None:
            client.answer(answer)
        elif len(self._waiting) >= MOST_WAITING:
            client.send_away(busy(f"{MOST_WAITING} clients wait already"))
        else:
            self._waiting[client] = waiting
            self._stirred = True

    # Who is here

    def admit(self, connection: socket.socket) -> None:
        """Another client; if there is no room, it or an idle one is asked to come again."""
        if len(self._clients) < MOST_CLIENTS or self._make_room():
            client = Client(connection, self, self._now())
            self._clients.append(client)
            self._reactor.add(client)
            return
        with contextlib.suppress(OSError):
            connection.send(encode(busy(f"{MOST_CLIENTS} clients are connected already")))
        connection.close()

    def forget(self, client: Client) -> None:
        """It has gone. What it has asked for is done all the same, but for what was to wait."""
        self._reactor.remove(client)
        self._desk.forget(client)
        self._waiting.pop(client, None)
        self._clients.remove(client)

    def _make_room(self) -> bool:
        """Sends away who has asked nothing for the longest time, if that is long enough."""
        now = self._now()
        for client in sorted(self._clients, key=lambda client: client.last_heard):
            patience = STUCK if client.sending or self._desk.is_in_between(client) else IDLE
            if not client.asked and now - client.last_heard >= patience:
                if not client.sending:
                    client.send_away(busy("others came while you asked nothing"))
                    client.write()
                client.hang_up()
                return True
        return False

    def _linger(self) -> None:
        """Lets clients take what they are being sent, for a moment."""
        end = self._now() + LINGER
        while (sending := [c for c in self._clients if c.sending]) and self._now() < end:
            poll = select.poll()
            for client in sending:
                poll.register(client, select.POLLOUT)
            poll.poll(20)
            for client in sending:
                client.write()


def _next_step(steps: Steps, now: float | None) -> Result:
    """The steps, or the answer at their end."""
    try:
        steps.send(now)  # type: ignore[arg-type]  # None begins
    except StopIteration as end:
        answer: Result = end.value
        return answer
    return steps
