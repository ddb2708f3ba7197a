# SPDX-License-Identifier: LGPL-3.0-or-later
"""One connection to a live run. It may send garbage, stop reading, or go: that is its own affair.

One request at a time: the next is looked at when the last has been answered and the answer taken.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from pqrun.control.commands.ps import Listing
from pqrun.control.protocol import MAX_MESSAGE_BYTES, encode_answer, refusal
from pqrun.core.errors import Rejected
from pqrun.core.scheduler import Scheduler
from pqrun.engine.engine import Request

READ_CHUNK_BYTES = 65536
PIECES_PER_TURN = 4


class ConnectionHost(Protocol):
    """Who has requests carried out, and keeps the connections."""

    def carry_out(self, client: ClientConnection, line: bytes, scheduler: Scheduler, now: float) -> None: ...
    def forget(self, client: ClientConnection) -> None: ...


class ClientConnection:
    """Reads requests and writes answers, without ever waiting for its peer.

    `last_heard` is when its last request came, or itself; `asked`: it has not been answered yet.
    """

    def __init__(self, connection: socket.socket, host: ConnectionHost, now: float) -> None:
        connection.setblocking(False)
        self.last_heard = now
        self.asked = False
        self.gone = False
        self._connection = connection
        self._host = host
        self._received = bytearray()
        self._end_of_line = -1
        self._end_of_file = False
        self._piece = memoryview(b"")
        self._pieces: Iterator[bytes] = iter(())

    # As something that the reactor reads from and writes to

    def fileno(self) -> int:
        """The connection."""
        return self._connection.fileno()

    def wanted(self) -> bool:
        """Whether to read: not while it does not take what it was sent."""
        if self.gone or self.sending:
            return False
        room = not self.asked or len(self._received) <= MAX_MESSAGE_BYTES
        return self.pending() or (room and not self._end_of_file)

    def pending(self) -> bool:
        """Whether a whole request is here already, and it is its turn."""
        return self._end_of_line >= 0 and not self.asked

    @property
    def sending(self) -> bool:
        """Whether a part of an answer is on its way."""
        return bool(self._piece)

    def read(self) -> Iterable[Request]:
        """Its next request, as an ask."""
        if not self.pending():
            self._receive()
        while self.pending():
            line = bytes(self._received[: self._end_of_line])
            del self._received[: self._end_of_line + 1]
            self._end_of_line = self._received.find(b"\n")
            if len(line) > MAX_MESSAGE_BYTES:
                return self._too_long()
            if line.strip():
                self.asked = True
                return [self._ask(line)]
        if len(self._received) > MAX_MESSAGE_BYTES and not self.asked:
            return self._too_long()
        if self._end_of_file and not (self.asked or self.sending):
            self.hang_up()
        return []

    def write(self) -> None:
        """Sends what goes without blocking, but of a long answer only so much at a time."""
        try:
            for _ in range(PIECES_PER_TURN):
                if not self._piece:
                    return
                self._piece = self._piece[self._connection.send(self._piece) :]
                if self._piece:
                    return
                self._piece = memoryview(next(self._pieces, b""))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.hang_up()
        finally:
            if self._end_of_file and not (self.sending or self.asked or self.pending()):
                self.hang_up()

    # What its host does with it

    def answer(self, answer: dict[str, Any] | Listing) -> None:
        """Puts an answer on its way; the next request may come."""
        self.asked = False
        if not self.gone:
            self._pieces = iter([encode_answer(answer)]) if isinstance(answer, dict) else answer.pieces()
            self._piece = memoryview(next(self._pieces))

    def send_away(self, answer: dict[str, Any]) -> None:
        """The last that it is told: nothing more of it is read."""
        self._received.clear()
        self._end_of_line, self._end_of_file = -1, True
        self.answer(answer)

    def take_back(self) -> None:
        """What was to be answered has not been done."""
        self._piece, self._pieces = memoryview(b""), iter(())

    def hang_up(self) -> None:
        """It has gone, or is sent away."""
        if not self.gone:
            self.gone = True
            self.take_back()
            self._host.forget(self)
            self._connection.close()

    def _ask(self, line: bytes) -> Request:
        def ask(scheduler: Scheduler, now: float) -> None:
            self.last_heard = now
            self._host.carry_out(self, line, scheduler, now)

        return ask

    def _receive(self) -> None:
        try:
            data = self._connection.recv(READ_CHUNK_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.hang_up()
            return
        if not data:
            self._end_of_file = True
            if self._is_closed():
                self.hang_up()
            return
        if self._end_of_line < 0 and (end := data.find(b"\n")) >= 0:
            self._end_of_line = len(self._received) + end
        self._received += data

    def _is_closed(self) -> bool:
        """Whether it takes no answers either: else it has only said all that it has to say."""
        poll = select.poll()
        poll.register(self._connection, 0)
        return any(happened & (select.POLLHUP | select.POLLERR) for _, happened in poll.poll(0))

    def _too_long(self) -> Iterable[Request]:
        """There is no way to tell where the next request begins."""
        self.send_away(refusal(Rejected("a message is at most 1 MiB")))
        return []
