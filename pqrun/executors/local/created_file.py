# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a job `creates`: whether it is there, and the way aside for what a failed attempt has made of it.

The next run takes what is there for done. So what an attempt that did not go well has made or changed
must not keep its name, as with `.DELETE_ON_ERROR` of make; but it is kept, to be looked at.
"""

from __future__ import annotations

import contextlib
import errno
import os

from pqrun.core.job import Exit, ExitedWith, JobSpec, SelfReport

SUFFIX = ".failed"
MAX_KEPT = 100
_Identity = tuple[int, int, int, int, int]


class Creation:
    """A file, or a directory, as an attempt finds it. `name`: as the job calls it."""

    __slots__ = ("_found", "_path", "name")

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self._path = path
        self._found = _identity(path)

    @property
    def exists(self) -> bool:
        """Whether it was there before the attempt."""
        return self._found is not None

    def settle(self, spec: JobSpec, exit: Exit, said: SelfReport, *, stopped: bool) -> SelfReport:
        """Move aside what an attempt that ended so has made; what it said, and that."""
        if not stopped and isinstance(exit, ExitedWith) and exit.code in spec.success_codes:
            return said
        now = _identity(self._path)
        if now is None or now == self._found:
            return said
        moved = move_aside(self.name, self._path)
        return said._replace(moved=moved, message=f"{said.message}; {moved}" if said.message else moved)


def move_aside(name: str, path: str) -> str:
    """Rename what is at `path`, which the job calls `name`; says where to, or why not.

    A file that an earlier attempt has left there is replaced; a directory gets a number.
    """
    error: OSError | None = None
    bare = path.rstrip("/") or path
    for suffix in (SUFFIX, *(f"{SUFFIX}.{number}" for number in range(2, MAX_KEPT))):
        try:
            os.rename(bare, bare + suffix)
        except OSError as failure:
            error = failure
            if failure.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR, errno.ENOTDIR):
                continue
            break
        return f"moved {name} to {name.rstrip('/')}{suffix}"
    why = error.strerror if error is not None else "nothing is there"
    return f"cannot move {name} aside ({why}): the next run will take it for done"


def was_changed_since(path: str, moment: float) -> bool:
    """Whether there is something that was written after that moment of the wall clock."""
    with contextlib.suppress(OSError):
        return os.stat(path).st_mtime >= moment - 0.05  # file systems count in ticks of the kernel
    return False


def _identity(path: str) -> _Identity | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
