# SPDX-License-Identifier: LGPL-3.0-or-later
"""What goes over the socket: one JSON object a line, each way. `docs/control.md` describes it.

Whoever may open the socket may run commands as its owner, so there is nothing to authorise; but
nothing that comes in is believed.
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
"""An answer that takes several turns; each is told what time it is."""


def encode(message: dict[str, Any]) -> bytes:
    """One line."""
    return json.dumps(message, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


def encode_answer(answer: Answer) -> bytes:
    """One line for a client, who may take valid Unicode alone. (A request's commands have to stay exact.)"""
    return as_json(answer, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes | bytearray) -> ClientRequest:
    """A request; `Rejected` for what is none of ours."""
    try:
        message = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise Rejected("not a line of JSON") from None
    if not isinstance(message, dict) or not isinstance(message.get("verb"), str):
        raise Rejected("not a request: an object with a `verb`")
    version = message.get("pqrun")
    if version != VERSION or isinstance(version, bool):
        raise Rejected(f'this run speaks version {VERSION} of the protocol: say `"pqrun": {VERSION}`')
    return message


def refusal(error: Rejected) -> Answer:
    """The answer to what can't be done."""
    return {"ok": False, "error": str(error), "code": error.code, "pqrun": VERSION}


def busy(why: str) -> Answer:
    """The answer to what was not even looked at: ask again a little later."""
    return {**refusal(Rejected(why, FULL)), "busy": True}


def origin_of(request: ClientRequest) -> str:
    """Who asks, for the record."""
    by = request.get("by", "")
    return "".join(c for c in by[:MAX_ORIGIN_LENGTH] if is_printable(c)) if isinstance(by, str) else ""


def flag(request: ClientRequest, name: str) -> bool:
    """A yes or no; no if it isn't said."""
    value = request.get(name, False)
    if not isinstance(value, bool):
        raise Rejected(f"`{name}` is true or false")
    return value


def is_whole(value: Any, least: int, most: int = 1 << 53) -> bool:
    """Whether it is a number without a fraction within these."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _refuse(_text: str) -> float:
    raise ValueError


BACKLOG = 128
MAX_SOCKET_NAME_LENGTH = 100
"""Bytes of an address: 103 are the most where there are fewest."""


def listen(path: str) -> socket.socket:
    """A socket at that path, for its owner alone; what a dead run left there is replaced.

    Only for who holds the run's lock. `OwnFailure` if it can't be.
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
        os.chmod(path, 0o600)  # until here the directory's mode has kept others out
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise InternalFailure(f"cannot listen at {path}: {error.strerror}") from error
    return listening


@contextlib.contextmanager
def short_path(path: str) -> Iterator[str]:
    """A name for that path that fits into an address."""
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
    """Whether the peer is our own user, or root."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # the directory's mode has to do there
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return struct.unpack("3i", credentials)[1] in (os.geteuid(), 0)
