# SPDX-License-Identifier: LGPL-3.0-or-later
"""One client's connection to a live run, from the bytes of a request to the function of its verb.

`verbs_of` lists the verbs. Loaded when the first client connects, because most runs never have one.
"""

from __future__ import annotations

import select
import socket
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Protocol

from pqrun.control.commands import add, cancel, edit, hold, output, pause_stop, ps, restart, send, wait
from pqrun.control.commands import set as set_
from pqrun.control.job_payload import JobPayload, settings_for_all
from pqrun.control.protocol import (
    MAX_LINE_BYTES,
    MAX_MESSAGE_BYTES,
    MIN_VERSION,
    VERSION,
    Answer,
    ClientRequest,
    PendingAnswer,
    RequestWithLines,
    StreamedAnswer,
    encode_answer,
    parse_json,
    refusal,
)
from pqrun.core.errors import Rejected
from pqrun.core.scheduler import Scheduler
from pqrun.core.values import is_whole
from pqrun.engine.reactor import Request

if TYPE_CHECKING:
    from pqrun.control.protocol import IncrementalAnswer, Result, Verb
    from pqrun.engine.live_run import LiveRun

READ_CHUNK_BYTES = 65536
LINES_PER_TURN = 500
PIECES_PER_TURN = 4
IN_ORDER = ("add", "set", "edit", "cancel", "restart", "hold", "release", "limit")


def verbs_of(run: LiveRun) -> dict[str, Verb]:
    """Return the function of each verb, bound to what the function needs of the run."""
    payload = JobPayload(settings_for_all(run.job_options()), run.validate_job)
    return {
        "add": partial(add.add, payload),
        "cancel": cancel.cancel,
        "edit": partial(edit.edit, run),
        "hold": hold.hold,
        "info": partial(ps.info, run),
        "limit": set_.limit_tag,
        "output": partial(output.output, run.output_of),
        "pause": pause_stop.pause,
        "pool": set_.set_pool,
        "ps": partial(ps.ps, run),
        "release": hold.hold,
        "restart": partial(restart.restart, run),
        "send": partial(send.send, run.stdin_of),
        "set": set_.set_jobs,
        "signal": partial(cancel.signal, run),
        "stop": pause_stop.stop,
        "unpause": pause_stop.pause,
        "wait": partial(wait.WaitForJobs, endless=run.endless),
        "workers": partial(set_.set_workers, run.resize),
    }


class ConnectionOwner(Protocol):
    """The server, as its connections see it.

    `verbs`: the functions of the verbs. `in_order`: the clients whose requests are carried out one after the other.
    """

    verbs: Mapping[str, Verb]
    in_order: deque[ClientConnection]

    def forget(self, client: ClientConnection) -> None:
        """Remove a client that has disconnected."""

    def wait(
        self, client: ClientConnection, waiting: PendingAnswer, scheduler: Scheduler, now: float
    ) -> None:
        """Answer a client at once if its wait is over, else when it is."""


class ClientConnection:
    """A connection to a client, which never blocks. All methods run on the reactor's thread.

    A client may send garbage, stop reading or disconnect without harm to the run. The connection handles one
    request at a time: it reads the next one when the answer to the last has been sent.

    `last_active` is the engine's time of the last request, or of the connection itself. `busy` is true while a
    request has no answer yet.
    """

    def __init__(self, connection: socket.socket, server: ConnectionOwner, now: float) -> None:
        connection.setblocking(False)
        self.last_active = now
        self.busy = False
        self.gone = False
        self._connection = connection
        self._server = server
        self._received = bytearray()
        self._end_of_line = -1
        self._end_of_file = False
        self._unfinished: ClientRequest | RequestWithLines | IncrementalAnswer = {}
        self._with_lines: RequestWithLines | None = None
        self._message_bytes = 0
        self._piece = memoryview(b"")
        self._pieces: Iterator[bytes] = iter(())

    # The reactor's side: `DuplexSource`

    def fileno(self) -> int:
        return self._connection.fileno()

    def wanted(self) -> bool:
        """Return whether to read now: not while the client still has to take an answer."""
        if self.gone or self.sending:
            return False
        room = not self.busy or len(self._received) <= MAX_LINE_BYTES
        return self.pending() or (room and not self._end_of_file)

    def pending(self) -> bool:
        """Return whether a whole line has been received and can be handled now."""
        return self._end_of_line >= 0 and not self.busy

    @property
    def sending(self) -> bool:
        """Whether a part of an answer still has to be written."""
        return bool(self._piece)

    @property
    def in_message(self) -> bool:
        """Whether a message has been received in part."""
        return self._with_lines is not None

    def read(self) -> Iterable[Request]:
        """Return the client's next request as an engine request, or nothing if it is incomplete."""
        if not self.pending():
            self._receive()
        try:
            while self.pending():
                if self._with_lines is not None:
                    return [self._next_lines(self._with_lines)]
                if (line := self._next_line()).strip():
                    self.busy = True
                    return [lambda scheduler, now: self.carry_out(line, scheduler, now)]
            if len(self._received) > MAX_LINE_BYTES and not self.busy:
                raise Rejected("a line of a message is at most 1 MiB")
        except Rejected as error:  # hang up, because the start of the next message cannot be found
            self.send_away(refusal(error))
        if self._end_of_file and not (self.busy or self.sending):
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
            if self._end_of_file and not (self.sending or self.busy or self.pending()):
                self.hang_up()

    # Requests

    def carry_out(self, line: bytes, scheduler: Scheduler, now: float) -> None:
        """Carry out the request of a line, or put the client in line behind an unfinished request.

        Called in a turn of the engine.
        """
        self.last_active = now
        try:
            self._unfinished = request = _decode(line)
        except Rejected as error:
            self.answer(refusal(error))
            return
        if request["verb"] in IN_ORDER:
            self._join_order(scheduler, now)
        else:
            self.proceed(scheduler, now)

    def _join_order(self, scheduler: Scheduler, now: float) -> None:
        self._server.in_order.append(self)
        if self._server.in_order[0] is self:
            self.carry_out_in_order(scheduler, now)

    def carry_out_in_order(self, scheduler: Scheduler, now: float) -> None:
        """Carry out the requests of this client and those behind, until one needs another turn.

        An engine request. Nothing starts while a request is half done.
        """
        clients = self._server.in_order
        scheduler.maintenance = ""
        while clients:
            if clients[0].proceed(scheduler, now):
                scheduler.maintenance = "being changed"
                return
            clients.popleft()

    def proceed(self, scheduler: Scheduler, now: float) -> bool:
        """Begin or continue the unfinished request; return whether it needs another turn."""
        request = self._unfinished
        result: Result
        try:
            if isinstance(request, Generator):
                result = _next_step(request, now)
            elif isinstance(request, RequestWithLines):
                result = request.complete(scheduler, now)
            else:
                result = self._verb(request)(request, scheduler, now)
            if isinstance(result, Generator) and result is not request:
                result = _next_step(result, None)
        except Rejected as error:
            lines_follow = isinstance(request, dict) and request.get("lines") is True
            result = RequestWithLines(error) if lines_follow else refusal(error)
        if isinstance(result, Generator):
            self._unfinished = result
            return True
        self._unfinished = {}
        if isinstance(result, RequestWithLines):
            self._with_lines, self.busy = result, False
        elif not isinstance(result, PendingAnswer):
            self.answer({"ok": True, **result} if isinstance(result, dict) else result)
        elif not self.gone:
            self._server.wait(self, result, scheduler, now)
        return False

    def _verb(self, request: ClientRequest) -> Verb:
        """Return the function of a request. Raises `Rejected` for an unknown version or verb."""
        version, verb = request.get("pqrun"), request["verb"]
        if not is_whole(version, MIN_VERSION):
            raise Rejected(f'this run uses version {VERSION} of the protocol: send `"pqrun": {VERSION}`')
        if version > VERSION:
            raise Rejected(
                f"the run is of an older pqrun, with version {VERSION} of the protocol instead of {version}: "
                "restart the run with the pqrun that you call, or call the older one"
            )
        if verb not in self._server.verbs:
            raise Rejected(f"unknown verb {verb!r:.40}")
        return self._server.verbs[verb]

    def _next_line(self) -> bytes:
        line = bytes(self._received[: self._end_of_line])
        del self._received[: self._end_of_line + 1]
        self._end_of_line = self._received.find(b"\n")
        if len(line) > MAX_LINE_BYTES:
            raise Rejected("a line of a message is at most 1 MiB")
        return line

    def _next_lines(self, request: RequestWithLines) -> Request:
        """Read lines of a message; return the engine request that takes them in."""
        lines: list[bytes] = []
        complete = False
        while self.pending() and len(lines) < LINES_PER_TURN and not complete:
            line = self._next_line()
            complete = not line.strip()
            lines += () if complete else (line,)
            self._message_bytes += len(line)
        if self._message_bytes > MAX_MESSAGE_BYTES:
            raise Rejected("a message is at most 64 MiB: send several messages")
        request.read(lines)
        if complete:
            self._with_lines, self._message_bytes, self.busy = None, 0, True

        def take(scheduler: Scheduler, now: float) -> None:
            self.last_active = now
            request.take(scheduler)
            if complete:
                self._unfinished = request
                self._join_order(scheduler, now)

        return take

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

    # Answers

    def answer(self, answer: Answer | StreamedAnswer) -> None:
        """Begin to send an answer, and allow the client's next request."""
        self.busy = False
        if not self.gone:
            self._pieces = iter([encode_answer(answer)]) if isinstance(answer, dict) else answer.pieces()
            self._piece = memoryview(next(self._pieces))

    def send_away(self, answer: Answer) -> None:
        """Send a last answer, and hang up when it is sent. Later requests are not read."""
        self._received.clear()
        self._with_lines = None
        self._end_of_line, self._end_of_file = -1, True
        self.answer(answer)

    def take_back(self) -> None:
        """Drop the answer that is being sent, because its request was not carried out."""
        self._piece, self._pieces = memoryview(b""), iter(())

    def hang_up(self) -> None:
        """Close the connection and tell the server. A second call does nothing."""
        if not self.gone:
            self.gone = True
            self.take_back()
            self._server.forget(self)
            self._connection.close()


def _decode(line: bytes) -> ClientRequest:
    """Parse a line into a request. Raises `Rejected` if the line is not JSON or has no verb."""
    message = parse_json(line)
    if not isinstance(message, dict) or not isinstance(message.get("verb"), str):
        raise Rejected("not a request: an object with a `verb`")
    return message


def _next_step(steps: IncrementalAnswer, now: float | None) -> Result:
    """Run one step; return the generator, or its answer if that was the last step."""
    try:
        steps.send(now)  # type: ignore[arg-type]  # send(None) starts a generator
    except StopIteration as end:
        answer: Answer | PendingAnswer = end.value
        return answer
    return steps
