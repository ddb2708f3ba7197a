# SPDX-License-Identifier: LGPL-3.0-or-later
"""The file that a job `creates`: whether it exists, the end of a job that need not run, the move aside after a failure.

The next run skips the job if the file exists. So a file that a failed attempt made or changed must not
keep its name, as with `.DELETE_ON_ERROR` of make. It is renamed, not deleted, so that you can look at it.
"""

from __future__ import annotations

import contextlib
import errno
import os

from pqrun.core.job import Attempt, Exit, ExitedWith, JobSpec, SelfReport
from pqrun.core.notices import ProcessFinished

SUFFIX = ".failed"
MAX_KEPT = 100
_Identity = tuple[int, int, int, int, int]


class Creation:
    """The file or directory that a job `creates`, as it was before the attempt.

    `name`: its name in the job.
    """

    __slots__ = ("_found", "_path", "name")

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self._path = path
        self._found = _identity(path)

    @property
    def exists(self) -> bool:
        """Whether the file existed before the attempt."""
        return self._found is not None

    def settle(self, spec: JobSpec, exit: Exit, said: SelfReport, *, stopped: bool) -> SelfReport:
        """Move the file aside if the attempt failed or was stopped and has made or changed it.

        Returns the attempt's report `said`, with a note on the move added.
        """
        if not stopped and isinstance(exit, ExitedWith) and exit.code in spec.success_codes:
            return said
        now = _identity(self._path)
        if now is None or now == self._found:
            return said
        moved = move_aside(self.name, self._path)
        return said._replace(moved=moved, message=f"{said.message}; {moved}" if said.message else moved)


def already_created(attempt: Attempt, creation: Creation, now: float) -> ProcessFinished | None:
    """Return the end of an attempt whose file exists, None if the command has to run.

    In a later attempt the file may be what a failed one left half made.
    """
    if not creation.exists or attempt.key.attempt > 1:
        return None
    codes = attempt.spec.success_codes
    said = SelfReport(message=f"cached: {creation.name} exists")
    return ProcessFinished(attempt.key, ExitedWith(0 if 0 in codes else codes[0]), False, now, now, said=said)


def move_aside(name: str, path: str) -> str:
    """Rename the file at `path`, which the job calls `name`. Returns a text that says how it went.

    An earlier `.failed` file is replaced; a directory gets the next free number instead.
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
    why = error.strerror if error is not None else "the file does not exist"
    return f"cannot move {name} aside ({why}): the next run will skip the job"


def was_changed_since(path: str, moment: float) -> bool:
    """Say whether `path` exists and was written after `moment`, in seconds of the wall clock."""
    with contextlib.suppress(OSError):
        return os.stat(path).st_mtime >= moment - 0.05  # file times have the kernel's tick
    return False


def _identity(path: str) -> _Identity | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
