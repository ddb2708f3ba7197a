# SPDX-License-Identifier: LGPL-3.0-or-later
"""The client side of the control socket: find a live run, connect to it, and send requests."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NoReturn

from pqrun.control.protocol import MAX_LINE_BYTES, MIN_VERSION, VERSION, short_path
from pqrun.core.errors import USAGE, InternalFailure, UserError
from pqrun.core.text import quoted_word
from pqrun.journal.run_directory import SOCKET, RunDirectory, find_run, run_directories, runs_directory

NO_LIVE_RUN = 6
HOW_TO_START = "`pqrun serve --detach` starts a queue"
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.05, 1.0
LINES_PER_WRITE = 500
UNKNOWN_TO_OLDER_RUNS = ("unknown verb", "a job has no `")
"""How a run refuses a verb or a field that it does not know. This pqrun sends only what it knows itself."""


def request(run: str | None, verb: str, **facts: Any) -> dict[str, Any]:
    """Send one request to a live run and return its answer."""
    with ControlClient(run) as client:
        return client.request(verb, **facts)


class ControlClient:
    """A connection to a live run, closed at the end of its `with` block.

    The run is the one named `run`; without a name, the run that the calling job belongs to
    (`$PQRUN_SOCKET`); else the only live run.
    """

    def __init__(self, run: str | None = None) -> None:
        self.path, self._socket = _connect(run)
        self._received = self._socket.makefile("rb")

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._received.close()
        self._socket.close()

    def request(
        self,
        verb: str,
        *,
        timeout: float | None = None,
        lines: Sequence[dict[str, Any]] | None = None,
        **facts: Any,
    ) -> dict[str, Any]:
        """Send a request and return the run's answer. `lines`: the objects that follow, one in each line.

        A run that answers "busy" is asked again over a new connection, with a growing pause of at
        most 1 second.

        Raises:
            TimeoutError: `timeout` seconds have passed. The run may still carry out the request.
            InternalFailure: The run refused the request or is gone; `code` is the exit code.
            UserError: A line of the request is longer than 1 MiB.
        """
        head = {"pqrun": MIN_VERSION, "verb": verb, "by": _origin(), **facts}
        if lines is not None:
            head |= {"pqrun": VERSION, "lines": True}
        end = None if timeout is None else time.monotonic() + timeout
        pause = MIN_PAUSE_SECONDS
        while True:
            answer = self._answer_to(_message(head, lines), end)
            if answer.get("ok") is True:
                return answer
            if answer.get("busy") is not True:
                raise _failure(self.path, head, answer)
            self.close()  # frees the place for another client during the pause
            from random import uniform

            time.sleep(min(pause * uniform(0.5, 1.0), _left(end) or pause))
            pause = min(2 * pause, MAX_PAUSE_SECONDS)
            self._connect_again()

    def _answer_to(self, message: Iterator[bytes], end: float | None) -> dict[str, Any]:
        try:
            self._socket.settimeout(_left(end))
            self._send(message, end)
            line = self._received.readline()
        except TimeoutError:
            raise
        except OSError as error:
            raise InternalFailure(f"the run does not answer: {error.strerror}", NO_LIVE_RUN) from None
        if not line.endswith(b"\n"):
            raise InternalFailure("the run ended before it answered", NO_LIVE_RUN)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _send(self, message: Iterator[bytes], end: float | None) -> None:
        """Send a message, up to an early answer.

        A run that refuses a message answers before it has read all of it. If the client went on, both sides
        could wait for each other to read.
        """
        poll = select.poll()
        poll.register(self._socket, select.POLLIN | select.POLLOUT)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the run may have said why before
            for part in message:
                rest = memoryview(part)
                while rest:
                    ready = poll.poll(None if end is None else 1000 * max(0.0, end - time.monotonic()))
                    if not ready:
                        raise TimeoutError
                    if ready[0][1] & select.POLLIN:
                        return
                    with contextlib.suppress(BlockingIOError):
                        rest = rest[self._socket.send(rest, socket.MSG_DONTWAIT) :]

    def _connect_again(self) -> None:
        found = _opened(self.path)
        if found is None:
            _no_answer(self.path)
        self._socket = found
        self._received = found.makefile("rb")


def _connect(run: str | None) -> tuple[str, socket.socket]:
    if run is not None:
        path = f"{_by_name(run).path}/{SOCKET}"
        found = _opened(path)
        if found is None:
            make_sure_it_is_not_live(path)
            raise InternalFailure(f"run {run} is not live: {HOW_TO_START}", NO_LIVE_RUN)
        return path, found
    if path := os.environ.get("PQRUN_SOCKET", ""):
        found = _opened(path)
        return (path, found) if found is not None else _no_answer(path)
    live: dict[str, socket.socket | None] = {}
    for one in run_directories():
        if one.in_use():  # the socket file of a dead run may be left over; only a live run holds the lock
            found = _opened(f"{one.path}/{SOCKET}")
            if found is not None or one.holder():
                live[one.path] = found
    if len(live) > 1:
        for found in live.values():
            if found is not None:
                found.close()
        names = ", ".join(sorted(map(os.path.basename, live)))
        raise UserError(f"several runs are live ({names}): choose one with --run")
    for directory, found in live.items():
        path = f"{directory}/{SOCKET}"
        return (path, found) if found is not None else _no_answer(path)
    raise InternalFailure(f"no run is live: {HOW_TO_START}", NO_LIVE_RUN)


def _by_name(run: str) -> RunDirectory:
    try:
        return find_run(run)
    except UserError as error:
        raise InternalFailure(f"{error}: {HOW_TO_START}", NO_LIVE_RUN) from None


def make_sure_it_is_not_live(path: str) -> None:
    """Raise `InternalFailure` if the run of the socket at `path` is live but does not answer."""
    if pid := RunDirectory(os.path.dirname(path)).holder():
        what = "does not answer" if os.path.lexists(path) else "does not exist"
        raise InternalFailure(
            f"the run is live (pid {pid}), but its socket {path} {what}: it is starting or ending, or the "
            "socket was removed and will be back in a few seconds; try again",
            NO_LIVE_RUN,
        )


def _opened(path: str) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_path(path) as name:
            connection.connect(name)
    except OSError:
        connection.close()
        return None
    return connection


def _no_answer(path: str) -> NoReturn:
    make_sure_it_is_not_live(path)
    raise InternalFailure(f"no run answers at {path}: {HOW_TO_START}", NO_LIVE_RUN)


def _message(head: dict[str, Any], lines: Sequence[dict[str, Any]] | None) -> Iterator[bytes]:
    """Yield a message in parts. Raises `UserError` if a line is longer than 1 MiB."""
    yield _encode(head)
    if lines is not None:
        rest = iter(lines)
        while part := b"".join(map(_encode, islice(rest, LINES_PER_WRITE))):
            yield part
        yield b"\n"


def _encode(fact: dict[str, Any]) -> bytes:
    """Return a line. Lone surrogates stay as they are, so that the bytes of a command stay exact."""
    line = json.dumps(fact, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
    if len(line) > MAX_LINE_BYTES:
        raise UserError("the request has a line of more than 1 MiB, the limit of a run")
    return line


def _failure(path: str, head: dict[str, Any], answer: dict[str, Any]) -> InternalFailure:
    """Return the failure of a refused request to the run with the socket at `path`."""
    version, error = answer.get("pqrun"), str(answer.get("error"))
    is_older = isinstance(version, int) and version < head["pqrun"]
    if is_older or error.startswith(UNKNOWN_TO_OLDER_RUNS):
        return InternalFailure(
            f"the run is of an older pqrun, which cannot take this `{head['verb']}`: restart the run with "
            f"the pqrun that you call ({_how_to_restart(path)}), or call the older one",
            USAGE,
        )
    return InternalFailure(error, int(answer.get("code", USAGE)))


def _how_to_restart(path: str) -> str:
    """Return the commands that end the run with the socket at `path` and continue it with this pqrun."""
    from pqrun.journal.reader import JournalReader

    directory = RunDirectory(os.path.dirname(path))
    name, verb = directory.path, "resume"
    with contextlib.suppress(InternalFailure, OSError):
        if "serve" in JournalReader(directory.journal).first():
            verb = "serve --detach --run-dir"
            if os.path.dirname(directory.path) == runs_directory():
                name, verb = os.path.basename(directory.path), "serve --detach --run"
    word = quoted_word(name)
    return f"`pqrun stop --run {word}`, then `pqrun {verb} {word}`"


def _left(end: float | None) -> float | None:
    """Return the seconds until `end` for `settimeout`, at least 1 ms because 0 means non-blocking."""
    return None if end is None else max(0.001, end - time.monotonic())


def _origin() -> str:
    """Return the origin that the run records for a request: the job's id, else the process id."""
    job = os.environ.get("PQRUN_JOB_ID")
    return f"job {job}" if job else f"pid {os.getpid()}"
