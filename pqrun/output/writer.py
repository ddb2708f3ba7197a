# SPDX-License-Identifier: LGPL-3.0-or-later
"""Writers for stdout and stderr. A reader that goes away is no error; a full disk is."""

from __future__ import annotations

import errno
import os
import re
import select
import stat
from collections.abc import Callable

from pqrun.core.layout import wrap
from pqrun.core.text import escape_line
from pqrun.output.store import widen, write_all

CAN_SPLICE = hasattr(os, "splice")
MAX_READER_MILLISECONDS = 100
_CLEAN = re.compile(r"[ -~\t\n]*")


class StreamWriter:
    """One output stream. `failure`: why it could not be written, empty if it could.

    `gone`: a write has failed, so nothing more is written. `wrote`: something was written. `before_write` is
    called before each write, so that a live table on the same terminal can be removed first. `neutralize`
    changes pqrun's own texts for a reader that interprets them.
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
        """Write all of the data, unless an earlier write has failed."""
        self.before_write()
        self._try(lambda: write_all(self.fd, data))

    def copy_from(self, copy: Callable[[int], None]) -> None:
        """Let `copy` write to the descriptor directly."""
        self.before_write()
        self._try(lambda: copy(self.fd))

    def copy_while_read(self, source: int, start: int, end: int) -> int:
        """Copy a range of a file to a pipe as long as its reader keeps up; return where the rest begins.

        Waits MAX_READER_MILLISECONDS at most for the reader to take anything.
        """
        reached = start
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)

        def copy() -> None:
            nonlocal reached
            while reached < end and poll.poll(MAX_READER_MILLISECONDS):
                try:
                    moved = os.splice(
                        source, self.fd, end - reached, offset_src=reached, flags=os.SPLICE_F_NONBLOCK
                    )
                except BlockingIOError:
                    continue
                if not moved:  # the file became shorter: the end of the attempt tells it
                    return
                reached += moved

        widen(self.fd)
        self.before_write()
        self._try(copy)
        return reached

    def draw(self, text: str) -> None:
        """Write for the live table itself, without calling `before_write`."""
        self._try(lambda: write_all(self.fd, text.encode("utf-8", "replace")))

    def say(self, text: str) -> None:
        """Write one or more lines of pqrun's own text.

        On a terminal, control characters are escaped, because the text may quote a job.
        """
        if not _CLEAN.fullmatch(text) and self.is_terminal:
            text = "\n".join(map(escape_line, text.split("\n")))
        self.write(self.neutralize(text).encode("utf-8", "backslashreplace") + b"\n")

    def note(self, text: str) -> None:
        """Write a message of pqrun, with its lines broken between words on a terminal."""
        text = f"pqrun: {text}"
        if self.is_terminal and (window := self.window) is not None:
            text = "\n".join(part for line in text.split("\n") for part in wrap(line, window[0], "  "))
        self.say(text)

    @property
    def is_terminal(self) -> bool:
        """Whether the stream is a terminal."""
        try:
            return os.isatty(self.fd)
        except OSError:
            return False

    @property
    def window(self) -> tuple[int, int] | None:
        """The columns and rows of the terminal, or None if the stream is not a terminal."""
        try:
            columns, rows = os.get_terminal_size(self.fd)
        except OSError:
            return None
        return columns or 80, rows or 24

    @property
    def is_pipe(self) -> bool:
        """Whether the stream is a pipe to another program."""
        try:
            return stat.S_ISFIFO(os.fstat(self.fd).st_mode)
        except OSError:
            return False

    def is_same_file(self, other: StreamWriter) -> bool:
        """Return whether both writers write to the same file; true if that is unknown."""
        try:
            return os.path.samestat(os.fstat(self.fd), os.fstat(other.fd))
        except OSError:
            return True

    def _try(self, write: Callable[[], None]) -> None:
        if self.gone:
            return
        try:
            write()
            self.wrote = True
        except OSError as error:
            self.gone = True
            hung_up = error.errno == errno.EIO and self._is_device  # the terminal was closed
            if error.filename is not None:
                self.failure = f"cannot read {error.filename} to print it: {error.strerror}"
            elif error.errno not in (errno.EPIPE, errno.ECONNRESET) and not hung_up:
                self.failure = f"cannot write to {self.name}: {error.strerror}"

    @property
    def _is_device(self) -> bool:
        try:
            return stat.S_ISCHR(os.fstat(self.fd).st_mode)
        except OSError:
            return False
