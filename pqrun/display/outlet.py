# SPDX-License-Identifier: LGPL-3.0-or-later
"""stdout and stderr as pqrun writes them: a reader that goes away is no fault, a full disk is."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from pqrun.capture import write_all


class Outlet:
    """One descriptor for people. `failure` says why it could not be written, if so."""

    def __init__(self, fd: int, name: str) -> None:
        self.fd = fd
        self.name = name
        self.gone = False
        self.failure = ""
        self.wrote = False

    def write(self, data: bytes) -> None:
        """Writes all of it; after the first failure nothing more."""
        self._try(lambda: write_all(self.fd, data))

    def pour(self, copy: Callable[[int], None]) -> None:
        """Lets `copy` write to the descriptor itself."""
        self._try(lambda: copy(self.fd))

    def say(self, text: str) -> None:
        """A line of ours."""
        self.write(text.encode("utf-8", "backslashreplace") + b"\n")

    @property
    def is_terminal(self) -> bool:
        """Whether a person may be looking."""
        try:
            return os.isatty(self.fd)
        except OSError:
            return False

    def _try(self, write: Callable[[], None]) -> None:
        if self.gone:
            return
        try:
            write()
            self.wrote = True
        except OSError as error:
            self.gone = True
            if error.errno not in (errno.EPIPE, errno.EIO, errno.ECONNRESET):
                self.failure = f"cannot write to {self.name}: {error.strerror}"
