# SPDX-License-Identifier: LGPL-3.0-or-later
"""One client of a live run, and what it waits for. It may send garbage, stop reading, or go."""

from __future__ import annotations

import base64
import socket
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from pqrun.capture import Capture
from pqrun.control import verbs
from pqrun.control.protocol import LONGEST, VERSION, Rejected, decode, encode
from pqrun.engine import Ask
from pqrun.metrics import Metrics
from pqrun.model import Key, Outcome
from pqrun.scheduler import Scheduler

MOST_REQUESTS_AT_ONCE = 16
OUTPUT_PIECE = 256 * 1024


class Host(Protocol):
    """What a connection needs of the server."""

    facts: Callable[[], dict[str, Any]]
    metrics: Callable[[], Metrics]
    resize: Callable[[int], None]
    output_of: Callable[[Key], Capture | None]

    def wait_for(self, waiting: Waiting) -> None: ...
    def forget(self, client: Client) -> None: ...


class Waiting:
    """A client that waits for jobs to end (`any`: for one of them), or for room in the queue."""

    def __init__(
        self, client: Client, request: dict[str, Any], jobs: dict[int, str], failed: list[str]
    ) -> None:
        self.client = client
        self._request = request
        self._jobs = jobs
        self._failed = failed

    def look(
        self, ended: list[tuple[int, Outcome, bool]], scheduler: Scheduler, now: float
    ) -> dict[str, Any] | None:
        """The answer, if it is time for it."""
        if self._request["verb"] == "add":
            try:
                return {"ok": True, **verbs.add(self._request, scheduler, now)}
            except Rejected as error:
                return None if error.code == verbs.FULL else refusal(error)
        one = False
        for seq, outcome, allowed in ended:
            if seq in self._jobs:
                one = True
                if outcome is not Outcome.OK and not allowed:
                    self._failed.append(self._jobs[seq])
                del self._jobs[seq]
        if not self._jobs or (one and self._request.get("any") is True):
            return {"ok": True, "failed": self._failed}
        return None

    def last_word(self) -> dict[str, Any]:
        """The run is over before it happened."""
        return refusal(Rejected("the run ended before that", 3 if self._request["verb"] == "wait" else 6))


class Client:
    """One connection. It may send garbage, stop reading, or go: that is its own affair."""

    def __init__(self, connection: socket.socket, server: Host) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._server = server
        self._received = b""
        self._to_send: deque[bytes] = deque()
        self._unsent = 0
        self._gone = False

    def fileno(self) -> int:
        """The connection."""
        return self._connection.fileno()

    def wanted(self) -> bool:
        """Not while it does not take what it was sent."""
        return not self._gone and self._unsent < LONGEST * 16

    def pending(self) -> bool:
        """Whether a whole request is here already."""
        return b"\n" in self._received

    @property
    def sending(self) -> bool:
        """Whether an answer is on its way."""
        return bool(self._to_send)

    def read(self) -> Iterable[Ask]:
        """Its requests, as asks."""
        if not self.pending():
            try:
                data = self._connection.recv(65536)
            except (BlockingIOError, InterruptedError):
                return []
            except OSError:
                data = b""
            if not data:
                self.hang_up()
                return []
            self._received += data
        asks: list[Ask] = []
        while len(asks) < MOST_REQUESTS_AT_ONCE and b"\n" in self._received:
            line, _, self._received = self._received.partition(b"\n")
            if line.strip():
                asks.append(self._ask(line))
        if len(self._received) > LONGEST and b"\n" not in self._received:
            self.send(refusal(Rejected("a message is at most 1 MiB")))
            self.write()
            self.hang_up()
        return asks

    def send(self, answer: dict[str, Any]) -> None:
        """Puts an answer on its way."""
        data = encode(answer)
        self._to_send.append(data)
        self._unsent += len(data)

    def write(self) -> None:
        """Sends what goes without blocking."""
        try:
            while self._to_send:
                data = self._to_send[0]
                sent = self._connection.send(data)
                self._unsent -= sent
                if sent < len(data):
                    self._to_send[0] = data[sent:]
                    return
                self._to_send.popleft()
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self.hang_up()

    def hang_up(self) -> None:
        """It has gone, or is sent away."""
        if not self._gone:
            self._gone = True
            self._to_send.clear()
            self._server.forget(self)
            self._connection.close()

    def _ask(self, line: bytes) -> Ask:
        def ask(scheduler: Scheduler, now: float) -> None:
            if self._gone:
                return
            try:
                request = decode(line)
                answer = self._answer(request, scheduler, now)
            except Rejected as error:
                answer = refusal(error)
            if answer is not None:
                self.send(answer)

        return ask

    def _answer(self, request: dict[str, Any], scheduler: Scheduler, now: float) -> dict[str, Any] | None:
        server = self._server
        match request["verb"]:
            case "info":
                numbers = {
                    k: round(v, 6) if isinstance(v, float) else v
                    for k, v in server.metrics().as_dict().items()
                }
                return {"ok": True, "pqrun": VERSION, "run": server.facts(), "metrics": numbers}
            case "workers":
                workers = request.get("workers")
                if not isinstance(workers, int) or isinstance(workers, bool) or not 1 <= workers <= 100_000:
                    raise Rejected("`workers` is a whole number, at least 1")
                server.resize(workers)
                scheduler.set_workers(workers, now, str(request.get("by", ""))[:100])
                return {"ok": True}
            case "output":
                return {"ok": True, **_output(request, scheduler, server.output_of)}
            case "wait":
                return self._wait(request, scheduler)
            case "add" if request.get("wait") is True:
                try:
                    return {"ok": True, **verbs.add(request, scheduler, now)}
                except Rejected as error:
                    if error.code != verbs.FULL:
                        raise
                    server.wait_for(Waiting(self, request, {}, []))
                    return None
            case verb if verb in verbs.VERBS:
                return {"ok": True, **verbs.VERBS[verb](request, scheduler, now)}
            case verb:
                raise Rejected(f"unknown verb {verb!r:.40}")

    def _wait(self, request: dict[str, Any], scheduler: Scheduler) -> dict[str, Any] | None:
        unfinished, ended = verbs.outcomes(request, scheduler)
        failed = [name for name, outcome in ended.items() if outcome is not Outcome.OK]
        if not unfinished and not ended:
            raise Rejected("no such job", 1)
        if not unfinished or (ended and request.get("any") is True):
            return {"ok": True, "failed": failed}
        jobs = {task.seq: task.spec.id for name in unfinished if (task := scheduler.find(name)) is not None}
        self._server.wait_for(Waiting(self, request, jobs, failed))
        return None


def refusal(error: Rejected) -> dict[str, Any]:
    """The answer to what can't be done."""
    return {"ok": False, "error": str(error), "code": error.code}


def _output(
    request: dict[str, Any], scheduler: Scheduler, output_of: Callable[[Key], Capture | None]
) -> dict[str, Any]:
    """A piece of what a running attempt has printed so far."""
    seq, stream, offset = request.get("seq"), request.get("stream"), request.get("offset")
    if not all(isinstance(number, int) and number >= 0 for number in (seq, stream, offset)) or stream not in (
        1,
        2,
    ):
        raise Rejected("`seq`, `stream` (1 or 2) and `offset` are whole numbers")
    assert isinstance(seq, int) and isinstance(offset, int)
    task = scheduler.tasks.get(seq)
    if task is None:
        return {"state": "ended"}
    capture = output_of(Key(seq, task.attempts))
    data = b""
    if capture is not None:
        found = capture.stream(stream)
        data = b"".join(found.pieces(offset, min(found.size, offset + OUTPUT_PIECE)))
    state = verbs.state_of(task)
    return {"state": state, "attempt": task.attempts, "data": base64.b64encode(data).decode()}
