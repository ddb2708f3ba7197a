# SPDX-License-Identifier: LGPL-3.0-or-later
"""The jobserver of a `make` above: its descriptors, for a `make` in a job to take part in.

`MAKEFLAGS` names either a FIFO, which whoever knows its path can open, or two ends of a pipe by their
numbers, which have to be handed down.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat

_DESCRIPTORS = re.compile(rb"--jobserver-(?:auth|fds)=(\d{1,9}),(\d{1,9})(?!\S)")


def jobserver_descriptors(makeflags: bytes) -> tuple[int, ...]:
    """The ends to read from and write to, in ascending order; none if there are none, or not any more.

    A `make` that does not take us for one of its own closes them: their numbers may be our files' by now.
    But ours are closed in what we execute, and what was handed down to us is not.
    """
    found = _DESCRIPTORS.findall(makeflags)
    if not found:
        return ()
    reading, writing = map(int, found[-1])  # the last one counts
    if not (_is_end(reading, os.O_RDONLY) and _is_end(writing, os.O_WRONLY)):
        return ()
    return tuple(sorted((reading, writing)))


def _is_end(fd: int, way: int) -> bool:
    try:
        is_pipe = stat.S_ISFIFO(os.fstat(fd).st_mode) and os.get_inheritable(fd)
        return fd > 2 and is_pipe and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE in (way, os.O_RDWR)
    except (OSError, OverflowError):
        return False
