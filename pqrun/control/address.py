# SPDX-License-Identifier: LGPL-3.0-or-later
"""The socket as a file: private, whatever lay there before, and however long its path."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
from collections.abc import Iterator

BACKLOG = 64


def listen(path: str) -> socket.socket:
    """A socket at that path, for its owner alone; what a dead run left there is replaced."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | getattr(socket, "SOCK_CLOEXEC", 0))
    listening.setblocking(False)
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
    with short_path(path) as name:
        listening.bind(name)
    os.chmod(path, 0o600)  # until here the directory's mode has kept others out
    listening.listen(BACKLOG)
    return listening


@contextlib.contextmanager
def short_path(path: str) -> Iterator[str]:
    """A name for that path that fits into an address: 107 bytes are the most."""
    if len(os.fsencode(path)) < 100 or not os.path.isdir("/proc/self/fd"):
        yield path
        return
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{os.path.basename(path)}"
    finally:
        os.close(directory)


def is_ours(connection: socket.socket) -> bool:
    """Whether the peer is our own user, or root."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # the directory's mode has to do there
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return struct.unpack("3i", credentials)[1] in (os.geteuid(), 0)
