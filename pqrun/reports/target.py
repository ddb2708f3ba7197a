# SPDX-License-Identifier: LGPL-3.0-or-later
"""Where a report goes, as an option named it, and why it could not be written, if so."""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
from collections.abc import Callable

from pqrun.errors import UserError

PATIENCE = 30.0
DESCRIPTOR = re.compile(r"/dev/fd/(\d{1,5})|/proc/self/fd/(\d{1,5})")
STANDARD = {"-": 1, "/dev/stdout": 1, "/dev/stderr": 2}


class Target:
    """One report's file, as an option named it. `failure` says why it could not be written, if so.

    `patience`: so many seconds a reader may take nothing before it is given up; `wanted_to_stop` says
    whether somebody wants that now.
    """

    def __init__(self, option: str, path: str) -> None:
        self.option = option
        self.path = path
        self.failure = ""
        self.patience = PATIENCE
        self.wanted_to_stop: Callable[[], bool] = lambda: False

    def check(self) -> None:
        """`UserError` if it could not be written; makes its directory if there is none."""
        if not self.path:
            raise UserError(f"{self.option} needs the name of a file")
        try:
            if found := DESCRIPTOR.fullmatch(self.path):
                os.fstat(int(found[1] or found[2]))
            elif not is_special(self.path):
                path = os.path.realpath(self.path)
                if os.path.isdir(path):
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with tempfile.TemporaryFile(dir=os.path.dirname(path)):
                    pass
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            if isinstance(error, FileExistsError):  # as makedirs has it
                why = os.strerror(errno.ENOTDIR)
            raise UserError(f"{self.option}: cannot write {self.path}: {why}") from None

    def failed(self, error: OSError | str) -> None:
        """The first failure is the one to tell."""
        if not self.failure:
            why = error if isinstance(error, str) else error.strerror or str(error)
            self.failure = f"cannot write {self.path} ({self.option}): {why}"


def same_file(one: str, other: str) -> bool:
    """Whether two reports would write over each other."""
    return not is_special(one) and os.path.realpath(one) == os.path.realpath(other)


def is_special(path: str) -> bool:
    """Whether it is a pipe, a device or an open descriptor: nothing that could be replaced."""
    if path in STANDARD or DESCRIPTOR.fullmatch(path):
        return True
    try:
        return not stat.S_ISREG(mode := os.stat(path).st_mode) and not stat.S_ISDIR(mode)
    except (OSError, ValueError):
        return False
