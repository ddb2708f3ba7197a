# SPDX-License-Identifier: LGPL-3.0-or-later
"""Where a report goes, as an option named it, and why it could not be written, if so."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable

from pqrun.display.safe import plain
from pqrun.errors import UserError

PATIENCE = 30.0
DESCRIPTOR = re.compile(r"/dev/fd/(\d{1,5})|/proc/self/fd/(\d{1,5})")
STANDARD = {"-": 1, "/dev/stdout": 1, "/dev/stderr": 2}
MOST_NEIGHBOURS = 100
STDOUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


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
        import tempfile

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
    """Whether two reports would write over each other, or into each other; a terminal and /dev/null may be."""
    try:
        found = _status(one)
        return os.path.samestat(found, _status(other)) and not stat.S_ISCHR(found.st_mode)
    except (OSError, ValueError):  # one of them is not there yet
        return not is_special(one) and os.path.realpath(one) == os.path.realpath(other)


def is_stdout(path: str) -> bool:
    """Whether it is where `--json` writes its document."""
    return path in STDOUT


def _status(path: str) -> os.stat_result:
    return os.fstat(STANDARD[path]) if path in STANDARD else os.stat(path)


def is_special(path: str) -> bool:
    """Whether it is a pipe, a device or an open descriptor: nothing that could be replaced."""
    if path in STANDARD or DESCRIPTOR.fullmatch(path):
        return True
    try:
        return not stat.S_ISREG(mode := os.stat(path).st_mode) and not stat.S_ISDIR(mode)
    except (OSError, ValueError):
        return False


def neighbours(path: str) -> list[str]:
    """Warnings of other files of ours beside a `.prom` file: a collector takes each series from one alone."""
    if not path.endswith(".prom") or is_special(path):
        return []
    directory, own = os.path.split(os.path.realpath(path))
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith(".prom") and name != own)
    except OSError:
        names = []
    return [
        f"pqrun: --metrics {path}: {plain(name)} beside it has the same series, of which a collector takes one "
        "alone; give each run a directory of its own, or remove the old file"
        for name in names[:MOST_NEIGHBOURS]
        if _has_our_series(f"{directory}/{name}")
    ]


def _has_our_series(path: str) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # it may be a pipe that nobody fills
        try:
            return stat.S_ISREG(os.fstat(fd).st_mode) and b"\npqrun_" in b"\n" + os.read(fd, 1 << 16)
        finally:
            os.close(fd)
    except OSError:
        return False
