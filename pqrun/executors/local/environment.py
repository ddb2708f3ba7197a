# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which variables of its caller pqrun hands on to the commands that it starts.

`PQRUN_SHARD=1/2` or `PQRUN_RUN_DIR=…` sets an option of one run. Handed on, it would also set that of
every pqrun within a job, so no variable of pqrun's own is, but for the one that says where runs are recorded.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat

TREE_VARIABLE = b"PQRUN_TREE"
"""Not inherited as it is: a job adds its own mark to those of the jobs around it."""

STATE = b"PQRUN_STATE_DIR"
OF_PARALLEL = (b"PARALLEL_SEQ", b"PARALLEL_JOBSLOT")


def is_inherited(name: bytes) -> bool:
    """Whether a command gets the variable as it is in our own environment."""
    return name == STATE or not (name == b"PQRUN" or name.startswith(b"PQRUN_") or name in OF_PARALLEL)


def inherited() -> dict[bytes, bytes]:
    """Those variables."""
    return {name: value for name, value in os.environb.items() if is_inherited(name)}


def inherited_names() -> frozenset[str]:
    """The names of those variables."""
    return frozenset(name.decode("utf-8", "surrogateescape") for name in inherited())


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
