# SPDX-License-Identifier: LGPL-3.0-or-later
"""The messages of the control socket: one JSON object a line, in both directions.

`docs/control.md` describes them. A process that may open the socket may run commands as its
owner, so there is no authorisation; but every value of a request is checked before its use.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import struct
from collections.abc import Generator, Iterator
from typing import Any

from pqrun.core.errors import InternalFailure, Rejected
from pqrun.core.text import is_printable
from pqrun.core.unicode_json import as_json

VERSION = 1
MAX_MESSAGE_BYTES = 1 << 20
MAX_ORIGIN_LENGTH = 100
NONE, GONE, FULL = 1, 6, 75

ClientRequest = dict[str, Any]
Answer = dict[str, Any]
IncrementalAnswer = Generator[None, float, Answer]
"""An answer that takes several turns. Each turn sends the engine's time in seconds."""


def encode(message: dict[str, Any]) -> bytes:
    """Return a message as one line of bytes."""
    return json.dumps(message, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


def encode_answer(answer: Answer) -> bytes:
    """Return an answer as one line of valid Unicode.

    Lone surrogates are replaced, because a JSON reader may refuse them. `encode` keeps them, so
    that the bytes of a request's command stay exact.
    """
    return as_json(answer, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes | bytearray) -> ClientRequest:
    """Parse a line into a request.

    Raises `Rejected` if the line is not JSON, has no verb, or is of another protocol version.
    """
    try:
        message = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise Rejected("not a line of JSON") from None
    if not isinstance(message, dict) or not isinstance(message.get("verb"), str):
        raise Rejected("not a request: an object with a `verb`")
    version = message.get("pqrun")
    if version != VERSION or isinstance(version, bool):
        raise Rejected(f'this run uses version {VERSION} of the protocol: send `"pqrun": {VERSION}`')
    return message


def refusal(error: Rejected) -> Answer:
    """Return the answer to a request that cannot be carried out."""
    return {"ok": False, "error": str(error), "code": error.code, "pqrun": VERSION}


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


BACKLOG = 128
MAX_SOCKET_NAME_LENGTH = 100
"""In bytes. The smallest limit of the supported systems is 103 (macOS)."""


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
