# SPDX-License-Identifier: LGPL-3.0-or-later
"""The agreement of both sides of the control socket: versions, bounds, checks of values, and the socket file.

`docs/control.md` describes the messages. A process that may open the socket may run commands as its
owner, so there is no authorisation; but every value of a request is checked before its use.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import struct
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pqrun.core.errors import InternalFailure, Rejected
from pqrun.core.text import is_printable

if TYPE_CHECKING:  # a client that loads this module needs no scheduler
    from pqrun.core.events import JobEnded
    from pqrun.core.scheduler import Scheduler

VERSION, MIN_VERSION = 2, 1
"""A request states the lowest version that has all it uses: 2 for `lines`, 1 for everything else."""
MAX_LINE_BYTES = 1 << 20
MAX_MESSAGE_BYTES = 64 << 20
JOBS_PER_TURN = 250
MAX_ORIGIN_LENGTH = 100
NONE, GONE, FULL = 1, 6, 75

ClientRequest = dict[str, Any]
Answer = dict[str, Any]
BACKLOG = 128
MAX_SOCKET_NAME_LENGTH = 100
"""In bytes. The smallest limit of the supported systems is 103 (macOS)."""


class StreamedAnswer(Protocol):
    """A long answer, encoded piece by piece as it is sent."""

    def pieces(self) -> Iterator[bytes]: ...


class PendingAnswer:
    """A wait of a client. With `adds`, it changes the run, so it waits for unfinished requests."""

    adds = False

    def look(self, ended: Sequence[JobEnded], scheduler: Scheduler, now: float) -> Answer | None:
        """Return the answer if the wait is over, else None. `ended`: the jobs that have ended since."""
        raise NotImplementedError

    def on_run_ended(self) -> Answer:
        """Return the answer for a run that ended before the wait was over."""
        raise NotImplementedError


class RequestWithLines:
    """A request followed by lines, up to an empty line. If it is `refused`, the lines are ignored."""

    def __init__(self, refused: Rejected | None = None) -> None:
        self.refused = refused

    def read(self, lines: Sequence[bytes]) -> None:
        """Parse the next lines. Called outside of turns."""

    def take(self, scheduler: Scheduler) -> None:
        """Compare the parsed lines with the run. Called in a turn after each `read`."""

    def complete(self, scheduler: Scheduler, now: float) -> Result:
        """Carry out the request at the end of its message. Raises `Rejected` if it is refused."""
        raise self.refused or NotImplementedError


if TYPE_CHECKING:
    IncrementalAnswer = Generator[None, float, Answer | PendingAnswer]
    """An answer that takes several turns. Each turn sends the engine's time in seconds."""
    Result = Answer | IncrementalAnswer | PendingAnswer | RequestWithLines | StreamedAnswer
    Verb = Callable[[ClientRequest, Scheduler, float], Result]


def parse_json(line: bytes) -> Any:
    """Parse a line of a message. Raises `Rejected` if it is not JSON."""
    try:
        return json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise Rejected("not a line of JSON") from None


def refusal(error: Rejected) -> Answer:
    """Return the answer to a request that cannot be carried out."""
    return {"ok": False, "error": str(error), "code": error.code, "pqrun": VERSION}


def encode_answer(answer: Answer) -> bytes:
    """Return an answer as one line of valid Unicode: a JSON reader may refuse lone surrogates."""
    # The module is loaded with the verbs, when the first client connects: a run without clients has no use for it.
    from pqrun.core.unicode_json import as_json

    return as_json(answer, separators=(",", ":")).encode() + b"\n"


def busy(why: str) -> Answer:
    """Return the answer to a request that was not looked at. The client should ask again later."""
    return {**refusal(Rejected(why, FULL)), "busy": True}


def origin_of(request: ClientRequest) -> str:
    """Return the origin that a request states in `by`, shortened and printable, for the journal."""
    by = request.get("by", "")
    return "".join(c for c in by[:MAX_ORIGIN_LENGTH] if is_printable(c)) if isinstance(by, str) else ""


def flag(request: ClientRequest, name: str) -> bool:
    """Return a boolean field of a request; False if it is absent. Raises `Rejected` for other types."""
    value = request.get(name, False)
    if not isinstance(value, bool):
        raise Rejected(f"`{name}` is true or false")
    return value


def _refuse(_text: str) -> float:
    raise ValueError


def listen(path: str) -> socket.socket:
    """Open a listening socket at `path`, with mode 0600.

    A socket file that a dead run left there is replaced, so the caller must hold the run's lock.
    Raises `InternalFailure` if the socket cannot be opened.
    """
    try:
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    except OSError as error:
        raise InternalFailure(f"cannot listen at {path}: {error.strerror}") from error
    listening.setblocking(False)
    try:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR(os.lstat(path).st_mode):
                raise InternalFailure(f"cannot listen at {path}: it is a directory")
            os.unlink(path)
        with short_path(path) as name:
            listening.bind(name)
        os.chmod(path, 0o600)  # until now the directory's mode (0700) kept other users out
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise InternalFailure(f"cannot listen at {path}: {error.strerror}") from error
    return listening


@contextlib.contextmanager
def short_path(path: str) -> Iterator[str]:
    """Give a name of `path` that fits into a socket address, valid inside the `with` block.

    A longer path is reached through `/proc/self/fd`, or else through a temporary symbolic link.
    """
    if len(os.fsencode(path)) <= MAX_SOCKET_NAME_LENGTH:
        yield path
        return
    where, name = os.path.split(path)
    with contextlib.ExitStack() as stack:
        if os.path.isdir("/proc/self/fd"):
            directory = os.open(where, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, directory)
            yield f"/proc/self/fd/{directory}/{name}"
        else:
            import tempfile

            short = stack.enter_context(tempfile.TemporaryDirectory(prefix="pqrun-", dir="/tmp"))
            os.symlink(where, f"{short}/d")
            yield f"{short}/d/{name}"


def is_ours(connection: socket.socket) -> bool:
    """Return whether the peer's user is our own or root."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # without SO_PEERCRED, only the directory's mode (0700) keeps other users out
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return struct.unpack("3i", credentials)[1] in (os.geteuid(), 0)
