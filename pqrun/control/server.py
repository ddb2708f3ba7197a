# SPDX-License-Identifier: LGPL-3.0-or-later
"""The socket of a live run, served by the reactor: never blocks, and believes nothing.

A request becomes an ask, so that it is answered inside a turn; what has to wait for something (the
end of jobs, room in the queue) is answered when that has happened.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pqrun import events as ev
from pqrun.capture import Capture
from pqrun.control.address import is_ours, listen
from pqrun.control.connection import Client, Waiting
from pqrun.engine import Ask
from pqrun.metrics import Metrics
from pqrun.model import Key, Outcome
from pqrun.reactor import Reactor
from pqrun.scheduler import Scheduler

MOST_CLIENTS = 64


class Server:
    """Listens at a path. `facts` tells of the run itself, `output_of` gives a running job's output."""

    def __init__(
        self,
        path: str,
        reactor: Reactor,
        *,
        facts: Callable[[], dict[str, Any]],
        metrics: Callable[[], Metrics],
        resize: Callable[[int], None],
        output_of: Callable[[Key], Capture | None],
    ) -> None:
        self.path = path
        self.facts = facts
        self.metrics = metrics
        self.resize = resize
        self.output_of = output_of
        self._reactor = reactor
        self._clients: list[Client] = []
        self._waiting: list[Waiting] = []
        self._ended: deque[tuple[int, Outcome, bool]] = deque()
        self._stirred = False
        self._socket = listen(path)
        reactor.add(self)

    def fileno(self) -> int:
        """The listening socket."""
        return self._socket.fileno()

    def wanted(self) -> bool:
        """Whether another client may come, or somebody's waiting may be over."""
        return self._stirred or len(self._clients) < MOST_CLIENTS

    def pending(self) -> bool:
        """Whether what somebody waits for may have happened."""
        return self._stirred

    def read(self) -> Iterable[Ask]:
        """Looks after those who wait, or lets a client in, if it is one of ours."""
        if self._stirred:
            self._stirred = False
            return [self.answer_waiting]
        with contextlib.suppress(OSError):
            connection, _ = self._socket.accept()
            if not is_ours(connection):
                connection.close()
                return []
            client = Client(connection, self)
            self._clients.append(client)
            self._reactor.add(client)
        return []

    def heard(self, events: Sequence[ev.Event]) -> None:
        """From any thread: what may be what somebody waits for."""
        if self._waiting and any(isinstance(event, ev.JobEnded | ev.AttemptSubmitted) for event in events):
            self._ended.extend((e.seq, e.outcome, e.allowed) for e in events if isinstance(e, ev.JobEnded))
            self._stirred = True
            self._reactor.ring()

    def wait_for(self, waiting: Waiting) -> None:
        """Answers it later."""
        self._waiting.append(waiting)

    def forget(self, client: Client) -> None:
        """It has gone."""
        self._reactor.remove(client)
        self._waiting = [waiting for waiting in self._waiting if waiting.client is not client]
        if client in self._clients:
            self._clients.remove(client)

    def close(self) -> None:
        """Everybody is told that the run is over; the socket goes."""
        for waiting in self._waiting:
            waiting.client.send(waiting.last_word())
        for client in list(self._clients):
            client.write()
            client.hang_up()
        self._reactor.remove(self)
        self._socket.close()
        with contextlib.suppress(OSError):
            os.unlink(self.path)

    def answer_waiting(self, scheduler: Scheduler, now: float) -> None:
        """Ask: answers those for whom it is time."""
        ended = []
        while self._ended:
            ended.append(self._ended.popleft())
        for waiting in list(self._waiting):
            answer = waiting.look(ended, scheduler, now)
            if answer is not None:
                self._waiting.remove(waiting)
                waiting.client.send(answer)
