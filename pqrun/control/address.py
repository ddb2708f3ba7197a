# SPDX-License-Identifier: LGPL-3.0-or-later
"""The socket as a file: private, whatever lay there before, and however long its path."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
from collections.abc import Iterator

from pqrun.errors import OwnFailure

BACKLOG = 128
LONGEST_NAME = 100
"""Bytes of an address: 103 are the most where there are fewest."""


def listen(path: str) -> socket.socket:
    """A socket at that path, for its owner alone; what a dead run left there is replaced.

    Only for who holds the run's lock. `OwnFailure` if it can't be.
    """
    try:
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    except OSError as error:
        raise OwnFailure(f"cannot listen at {path}: {error.strerror}") from error
    listening.setblocking(False)
    try:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR(os.lstat(path).st_mode):
                raise OwnFailure(f"cannot listen at {path}: it is a directory")
            os.unlink(path)
        with short_path(path) as name:
            listening.bind(name)
        os.chmod(path, 0o600)  # until here the directory's mode has kept others out
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise OwnFailure(f"cannot listen at {path}: {error.strerror}") from error
    return listening


@contextlib.contextmanager
def short_path(path: str) -> Iterator[str]:
    """A name for that path that fits into an address."""
    if len(os.fsencode(path)) <= LONGEST_NAME:
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
