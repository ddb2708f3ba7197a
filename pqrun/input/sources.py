# SPDX-License-Identifier: LGPL-3.0-or-later
"""Reading of descriptors that may be non-blocking, and the check for sources that are named twice."""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Sequence

from pqrun.core.errors import UserError

STDIN_NAMED_TWICE = "stdin can be read only once: give `-` only once"


def read_some(fd: int, size: int) -> bytes:
    """Read up to `size` bytes like `os.read`, but wait even if the descriptor is non-blocking.

    All programs on a terminal or pipe share that flag (node and ssh set it), so it is not changed back here.
    """
    while True:
        try:
            return os.read(fd, size)
        except BlockingIOError:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            poll.poll()


def read_all(fd: int, most: int | None = None) -> bytes:
    """Read to the end of a descriptor, or until at least `most` bytes have been read."""
    pieces: list[bytes] = []
    length = 0
    while (most is None or length < most) and (data := read_some(fd, 1 << 20)):
        pieces.append(data)
        length += len(data)
    return b"".join(pieces)


def refuse_twice(paths: Sequence[str]) -> None:
    """Raise UserError if a source that can be read only once is named twice, under whatever names."""
    if len(paths) < 2:
        return
    seen: dict[object, str] = {}
    for path in paths:
        identity = _once(path)
        if identity is None:
            continue
        if identity in seen:
            if path == seen[identity] == "-":
                raise UserError(STDIN_NAMED_TWICE)
            both = f"{_called(seen[identity])} and {_called(path)}"
            raise UserError(f"{both} are the same source, which can be read only once: give it only once")
        seen[identity] = path


def _once(path: str) -> object:
    """Return the identity of a source that can be read only once; None for any other source.

    Pipes, sockets, terminals and standard input can be read only once.
    """
    try:
        found = os.fstat(0) if path == "-" else os.stat(path)
        if stat.S_ISCHR(found.st_mode):
            return None if found.st_rdev == os.stat(os.devnull).st_rdev else found.st_rdev
    except OSError:
        return None  # the attempt to open it will report the error

    if stat.S_ISFIFO(found.st_mode) or stat.S_ISSOCK(found.st_mode) or path == "-":
        return found.st_dev, found.st_ino, stat.S_ISREG(found.st_mode)
    return None


def _called(path: str) -> str:
    return "stdin" if path == "-" else path
