# SPDX-License-Identifier: LGPL-3.0-or-later
"""stdout and stderr as pqrun writes them: a reader that goes away is no fault, a full disk is."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable

from pqrun.core.text import escape_line
from pqrun.output.store import write_all

_CLEAN = re.compile(r"[ -~\t\n]*")


class StreamWriter:
    """One descriptor for people. `failure` says why it could not be written, if so.

    `before_lines` is called before each write, so that a live table on the same terminal can step
    aside; `harmless` may change what we say where a reader obeys some texts.
    """

    def __init__(self, fd: int, name: str) -> None:
        self.fd = fd
        self.name = name
        self.gone = False
        self.failure = ""
        self.wrote = False
        self.before_write: Callable[[], None] = lambda: None
        self.neutralize: Callable[[str], str] = lambda text: text

    def write(self, data: bytes) -> None:
        """Writes all of it; after the first failure nothing more."""
        self.before_write()
        self._try(lambda: write_all(self.fd, data))

    def copy_from(self, copy: Callable[[int], None]) -> None:
        """Lets `copy` write to the descriptor itself."""
        self.before_write()
        self._try(lambda: copy(self.fd))

    def draw(self, text: str) -> None:
        """For the live table itself: nobody steps aside."""
        self._try(lambda: write_all(self.fd, text.encode("utf-8", "replace")))

    def say(self, text: str) -> None:
        """A line of ours, or several; on a terminal nothing in them steers it, whoever wrote what they quote."""
        if not _CLEAN.fullmatch(text) and self.is_terminal:
            text = "\n".join(map(escape_line, text.split("\n")))
        self.write(self.neutralize(text).encode("utf-8", "backslashreplace") + b"\n")

    @property
    def is_terminal(self) -> bool:
        """Whether a person may be looking."""
        try:
            return os.isatty(self.fd)
        except OSError:
            return False

    @property
    def is_pipe(self) -> bool:
        """Whether it goes to another program."""
        try:
            return stat.S_ISFIFO(os.fstat(self.fd).st_mode)
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
            hung_up = error.errno == errno.EIO and self._is_device  # a terminal that is gone
            if error.filename is not None:
                self.failure = f"cannot read {error.filename} to show it: {error.strerror}"
            elif error.errno not in (errno.EPIPE, errno.ECONNRESET) and not hung_up:
                self.failure = f"cannot write to {self.name}: {error.strerror}"

    @property
    def _is_device(self) -> bool:
        try:
            return stat.S_ISCHR(os.fstat(self.fd).st_mode)
        except OSError:
            return False
