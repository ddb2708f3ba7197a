# SPDX-License-Identifier: LGPL-3.0-or-later
"""The files and descriptors of a run: opened, told apart (job file or list), and read even if non-blocking."""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from pqrun.core.errors import UserError
from pqrun.core.job_fields import TOP_LEVEL_FIELDS
from pqrun.core.text import EMPTY_NAME

if TYPE_CHECKING:
    import re

STDIN_NAMED_TWICE = "stdin can be read only once: give `-` only once"
JOB_FILES = (".yaml", ".yml", ".json")
READ_CHUNK_BYTES = 65536
WHOLE_CHUNK_BYTES = 1 << 20
_MAX_KEY_BYTES = 4096  # a longer line can't be a key


@cache
def _opening() -> re.Pattern[bytes]:
    """Return the pattern of the first line of a job file."""
    import re

    top = "|".join(key.name for key in TOP_LEVEL_FIELDS) + r"|x-[\w.-]+"
    return re.compile(
        rf"(?:---(?:\s|$)|([\"']?)(?:{top})\1\s*:(?:\s|$)|\{{\s*(?:$|[\"'}}]|(?:{top})\s*:))".encode()
    )


class OpenedFile(NamedTuple):
    """A file that is read from. `head`: the bytes read already; with `ended`, they are the whole file."""

    name: str
    fd: int
    head: bytes = b""
    ended: bool = False

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes of a regular file from the current offset on, without moving the offset."""
        if self.head:
            yield self.head
        at = os.lseek(self.fd, 0, os.SEEK_CUR)
        while piece := os.pread(self.fd, WHOLE_CHUNK_BYTES, at):
            yield piece
            at += len(piece)

    def is_regular(self) -> bool:
        """Return whether the file can be read twice."""
        return stat.S_ISREG(os.fstat(self.fd).st_mode)


def open_file(path: str, *, sniff: bool) -> OpenedFile:
    """Open a file; with `sniff`, read as much of it as tells whether it is a job file."""
    fd, name = open_source(path, hint=_hint), shown_name(path)
    head, ended = b"", False
    while sniff and not ended and looks_like_job_file(head, False) is None:
        data = read_some_of(fd, READ_CHUNK_BYTES, name)
        head += data
        ended = not data
    return OpenedFile(name, fd, head, ended)


def open_source(path: str, *, hint: Callable[[str], str] = lambda _path: "") -> int:
    """Open a file and return its descriptor; `-` is stdin.

    Raises UserError, with the `hint` for this path at its end.
    """
    if path == "-":
        return 0
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # a NUL character in the path is a ValueError
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"cannot read {path or EMPTY_NAME}: {why}{hint(path)}") from None
    if os.path.isdir(path):
        os.close(fd)
        raise UserError(f"cannot read {path}: it is a directory")
    return fd


def shown_name(path: str) -> str:
    """Return the name of a source for messages."""
    return "stdin" if path == "-" else path


def read_to_end(file: OpenedFile) -> bytes:
    """Return the whole content of a file that is open."""
    return file.head if file.ended else file.head + read_all_of(file.fd, file.name)


def read_whole(path: str) -> tuple[bool, Iterator[bytes]]:
    """Return whether a file is a job file, by its name or its beginning, and an iterator over its bytes."""
    named = path.endswith(JOB_FILES)
    file = open_file(path, sniff=not named)
    rest = iter(partial(read_some, file.fd, WHOLE_CHUNK_BYTES), b"")
    whole = chain((file.head,) if file.head else (), rest)
    return named or bool(looks_like_job_file(file.head, True)), whole


def looks_like_job_file(head: bytes, ended: bool) -> bool | None:
    """Return whether a file that begins with `head` is a job file.

    The first line that is neither blank nor a comment decides. `{` opens a job file only where JSON or a flow
    mapping can follow: `{ echo a; echo b; }` is a command. Returns None if more bytes are needed, but never
    if `ended` says that `head` is the whole file.
    """
    lines = head.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    for number, line in enumerate(lines, 1):
        text = line.strip()
        whole = number < len(lines) or ended or len(text) > _MAX_KEY_BYTES
        if whole and text and not text.startswith(b"#"):
            may_open = b":" in text or text.startswith((b"{", b"---"))
            return may_open and bool(_opening().match(text))
    return False if ended else None


def read_some(fd: int, size: int) -> bytes:
    """Read up to `size` bytes like `os.read`, but wait even if the descriptor is non-blocking.

    All programs on a terminal or pipe share that flag (node and ssh set it), so it is not changed back here.
    """
    while True:
        try:
            return os.read(fd, size)
        except BlockingIOError:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            poll.poll()


def read_all(fd: int, most: int | None = None) -> bytes:
    """Read to the end of a descriptor, or until at least `most` bytes have been read."""
    pieces: list[bytes] = []
    length = 0
    while (most is None or length < most) and (data := read_some(fd, WHOLE_CHUNK_BYTES)):
        pieces.append(data)
        length += len(data)
    return b"".join(pieces)


def read_some_of(fd: int, size: int, name: str) -> bytes:
    """Read like `read_some`. Raises UserError with the name of the source."""
    return _named(lambda: read_some(fd, size), name)


def read_all_of(fd: int, name: str) -> bytes:
    """Read like `read_all`. Raises UserError with the name of the source."""
    return _named(lambda: read_all(fd), name)


def _named(read: Callable[[], bytes], name: str) -> bytes:
    try:
        return read()
    except OSError as error:
        raise UserError(f"cannot read {name}: {error.strerror}") from None


def refuse_twice(paths: Sequence[str]) -> None:
    """Raise UserError if a source that can be read only once is named twice, under whatever names."""
    if len(paths) < 2:
        return
    seen: dict[object, str] = {}
    for path in paths:
        identity = _once(path)
        if identity is None:
            continue
        if identity in seen:
            if path == seen[identity] == "-":
                raise UserError(STDIN_NAMED_TWICE)
            both = f"{shown_name(seen[identity])} and {shown_name(path)}"
            raise UserError(f"{both} are the same source, which can be read only once: give it only once")
        seen[identity] = path


def _once(path: str) -> object:
    """Return the identity of a source that can be read only once; None for any other source.

    Pipes, sockets, terminals and standard input can be read only once.
    """
    try:
        found = os.fstat(0) if path == "-" else os.stat(path)
        if stat.S_ISCHR(found.st_mode):
            return None if found.st_rdev == os.stat(os.devnull).st_rdev else found.st_rdev
    except OSError:
        return None  # the attempt to open it will report the error

    if stat.S_ISFIFO(found.st_mode) or stat.S_ISSOCK(found.st_mode) or path == "-":
        return found.st_dev, found.st_ino, stat.S_ISREG(found.st_mode)
    return None


def _hint(path: str) -> str:
    """Return a hint for a user who gave a command where a file of commands is expected, or mistyped the file's name."""
    from shutil import which

    if os.path.lexists(path):
        return ""
    if " " in path or which(path):
        return " (`run` reads files: give a command on stdin, or after `pqrun each :::`)"
    from difflib import get_close_matches

    directory, name = os.path.split(path)
    try:
        close = get_close_matches(name, os.listdir(directory or "."), 1)
    except OSError:
        return ""
    return f" (did you mean `{os.path.join(directory, close[0])}`?)" if close else ""
