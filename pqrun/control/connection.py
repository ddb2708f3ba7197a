# SPDX-License-Identifier: LGPL-3.0-or-later
"""One client's connection to a live run, which reads and writes without blocking.

A client may send garbage, stop reading or disconnect without harm to the run. The connection
handles one request at a time: it reads the next request when the answer to the last one has
been sent.
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
    """The owner of the connections, which carries out their requests."""

    def carry_out(self, client: ClientConnection, line: bytes, scheduler: Scheduler, now: float) -> None: ...
    def forget(self, client: ClientConnection) -> None: ...


class ClientConnection:
    """A connection to a client. All methods run on the reactor's thread.

    `last_heard` is the engine's time of the last request, or of the connection itself. `asked`
    is true while a request has no answer yet.
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

    # The reactor's side: `DuplexSource`

    def fileno(self) -> int:
        return self._connection.fileno()

    def wanted(self) -> bool:
        """Return whether to read now: not while the client still has to take an answer."""
        if self.gone or self.sending:
            return False
        room = not self.asked or len(self._received) <= MAX_MESSAGE_BYTES
        return self.pending() or (room and not self._end_of_file)

    def pending(self) -> bool:
        """Return whether a whole request has been received and can be handled now."""
        return self._end_of_line >= 0 and not self.asked

    @property
    def sending(self) -> bool:
        """Whether a part of an answer still has to be written."""
        return bool(self._piece)

    def read(self) -> Iterable[Request]:
        """Return the client's next request as an engine request, or nothing if it is incomplete."""
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
        """Write what the socket takes without blocking.

        A long answer is written in at most `PIECES_PER_TURN` pieces a call, so that one client
        does not hold up the others.
        """
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

    # The host's side

    def answer(self, answer: dict[str, Any] | Listing) -> None:
        """Begin to send an answer, and allow the client's next request."""
        self.asked = False
        if not self.gone:
            self._pieces = iter([encode_answer(answer)]) if isinstance(answer, dict) else answer.pieces()
            self._piece = memoryview(next(self._pieces))

    def send_away(self, answer: dict[str, Any]) -> None:
        """Send a last answer, and hang up when it is sent. Later requests are not read."""
        self._received.clear()
        self._end_of_line, self._end_of_file = -1, True
        self.answer(answer)

    def take_back(self) -> None:
        """Drop the answer that is being sent, because its request was not carried out."""
        self._piece, self._pieces = memoryview(b""), iter(())

    def hang_up(self) -> None:
        """Close the connection and tell the host. A second call does nothing."""
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
        """Return whether the client closed both directions, and not only its writing side.

        A client that closed only its writing side still expects its answers.
        """
        poll = select.poll()
        poll.register(self._connection, 0)
        return any(happened & (select.POLLHUP | select.POLLERR) for _, happened in poll.poll(0))

    def _too_long(self) -> Iterable[Request]:
        """Refuse an overlong message and hang up: the start of the next one cannot be found."""
        self.send_away(refusal(Rejected("a message is at most 1 MiB")))
        return []
