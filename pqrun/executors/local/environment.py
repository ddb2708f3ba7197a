# SPDX-License-Identifier: LGPL-3.0-or-later
"""The variables of pqrun's environment that jobs inherit, and the make jobserver.

`PQRUN_SHARD=1/2` or `PQRUN_RUN_DIR=…` sets an option of one run. A pqrun inside a job would inherit the
option too, so jobs get none of pqrun's own variables, except the one that names the directory of recorded
runs.
"""

from __future__ import annotations

import fcntl
import os
import stat

TREE_VARIABLE = b"PQRUN_TREE"
"""The path of markers. Jobs don't inherit it unchanged: each job appends its own marker."""

STATE = b"PQRUN_STATE_DIR"
OF_PARALLEL = (b"PARALLEL_SEQ", b"PARALLEL_JOBSLOT")


def is_inherited(name: bytes) -> bool:
    """Say whether jobs get the variable with the value of pqrun's own environment."""
    return name == STATE or not (name == b"PQRUN" or name.startswith(b"PQRUN_") or name in OF_PARALLEL)


def inherited() -> dict[bytes, bytes]:
    """Return the variables of pqrun's environment that jobs inherit."""
    return {name: value for name, value in os.environb.items() if is_inherited(name)}


def inherited_names() -> frozenset[str]:
    """Return the names of the inherited variables."""
    return frozenset(name.decode("utf-8", "surrogateescape") for name in inherited())


_DESCRIPTORS = rb"--jobserver-(?:auth|fds)=(\d{1,9}),(\d{1,9})(?!\S)"


def jobserver_descriptors(makeflags: bytes) -> tuple[int, ...]:
    """Return the descriptors of the make jobserver in ascending order, empty without one.

    A `make` that does not treat pqrun as a sub-make closes the descriptors, and their numbers may now belong
    to files of pqrun. So a descriptor counts only if it is an inheritable pipe, which pqrun's own files are
    not.
    """
    if b"--jobserver" not in makeflags:
        return ()
    import re

    found = re.findall(_DESCRIPTORS, makeflags)
    if not found:
        return ()
    reading, writing = map(int, found[-1])  # make obeys the last flag
    if not (_is_end(reading, os.O_RDONLY) and _is_end(writing, os.O_WRONLY)):
        return ()
    return tuple(sorted((reading, writing)))


def _is_end(fd: int, way: int) -> bool:
    try:
        is_pipe = stat.S_ISFIFO(os.fstat(fd).st_mode) and os.get_inheritable(fd)
        return fd > 2 and is_pipe and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE in (way, os.O_RDWR)
    except (OSError, OverflowError):
        return False
