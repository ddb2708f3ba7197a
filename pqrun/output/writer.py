# SPDX-License-Identifier: LGPL-3.0-or-later
"""Writers for stdout and stderr, and output of jobs as they write it: cut at line ends, tagged, safe for a terminal.

A reader that goes away is no error; a full disk is. A long line never has to fit in memory.
"""

from __future__ import annotations

import errno
import os
import select
import stat
from collections.abc import Callable, Iterable, Iterator

from pqrun.core.layout import wrap
from pqrun.core.text import escape_line
from pqrun.output.store import widen, write_all

CAN_SPLICE = hasattr(os, "splice")
MAX_READER_MILLISECONDS = 100
MAX_PIECE_BYTES = 1 << 20
_CLEAN_BYTES = bytes(range(32, 127)) + b"\t\n"


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
        if self.is_terminal:
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


def pieces_of_lines(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield the same bytes in pieces that end at a line end, or after about a megabyte.

    Also yields whether a line begins with the piece.
    """
    rest, begins = b"", True
    for piece in pieces:
        rest += piece
        cut = rest.rfind(b"\n") + 1
        if not cut and len(rest) >= MAX_PIECE_BYTES:
            cut = len(rest)
        if cut:
            yield rest[:cut], begins
            begins = rest.endswith(b"\n", 0, cut)
            rest = rest[cut:]
    if rest:
        yield rest, begins


def tagged(piece: bytes, tag: bytes, *, begins: bool) -> bytes:
    """Put the tag before each line of the piece. `begins`: whether the piece begins with a new line."""
    ends = piece.endswith(b"\n")
    lines = piece[:-1] if ends else piece
    return (tag if begins else b"") + lines.replace(b"\n", b"\n" + tag) + (b"\n" if ends else b"")


def for_screen(piece: bytes) -> bytes:
    """Return the lines in a form that is safe for a terminal.

    Of a line that was overwritten with carriage returns, only the last version remains.
    """
    if not piece.translate(None, _CLEAN_BYTES):
        return piece
    lines = piece.split(b"\n")
    return b"\n".join(
        [escape_line(_last_version(line).decode("utf-8", "replace")).encode() for line in lines]
    )


def _last_version(line: bytes) -> bytes:
    """Return what a terminal shows of a line that was overwritten with carriage returns."""
    return line.rstrip(b"\r").rpartition(b"\r")[2]
