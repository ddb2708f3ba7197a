# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which variables of its caller pqrun hands on to the commands that it starts.

`PQRUN_SHARD=1/2` or `PQRUN_RUN_DIR=…` sets an option of one run. Handed on, it would also set that of
every pqrun within a job, so no variable of pqrun's own is, but for the one that says where runs are recorded.
"""

from __future__ import annotations

import os

TREE = b"PQRUN_TREE"
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
