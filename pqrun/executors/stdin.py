# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a job reads: a file, or a text that is given as it is. No opening here ever waits for a writer."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Final

from pqrun.executors.interruptible import interruptible

_OPEN_AND_EXECUTE: Final = b'exec "$@" <"$0"'


def opened(path: str, stopped: Callable[[], bool]) -> int | None:
    """A descriptor of the file; None if it is a FIFO, which the job itself has to open.

    Opening a FIFO waits for a writer, so that happens in a process that limits and signals can end.
    Nor is it opened here for a look: a writer that waits for a reader would take this one for it.
    `Abandoned` if the caller is `stopped` before the file's disk has answered.
    """
    return interruptible(lambda: _opened(path), stopped, drop=_let_go)


def _opened(path: str) -> int | None:
    # Below /proc are pipes without a name, such as `/dev/stdin`: they never wait, and are only ours.
    if stat.S_ISFIFO(os.stat(path).st_mode) and not os.path.realpath(path).startswith("/proc/"):
        return None
    # A terminal may wait for its line to be connected; the job reads it as usual.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    os.set_blocking(fd, True)
    return fd


def _let_go(fd: int | None) -> None:
    if fd is not None:
        os.close(fd)


def reading(path: str, argv: list[bytes]) -> list[bytes]:
    """The words that open a FIFO as stdin, and then execute those of the job in the same process."""
    return [b"/bin/sh", b"-c", _OPEN_AND_EXECUTE, os.fsencode(path), *argv]


def of_text(text: bytes, workspace: str) -> int:
    """A descriptor from which this text can be read; the file has no name."""
    import tempfile

    with tempfile.TemporaryFile(dir=workspace) as file:
        file.write(text)
        file.seek(0)
        return os.dup(file.fileno())
