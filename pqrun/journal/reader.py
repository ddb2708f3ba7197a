# SPDX-License-Identifier: LGPL-3.0-or-later
"""The reader of a journal: lines with correct checksums, up to a last line that may be torn.

Reading changes nothing. Damage before the last line, and a newer version of the format, are rejected.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO
from zlib import crc32

from pqrun.core.errors import InternalFailure
from pqrun.journal.format import CHECKSUM, CHECKSUM_LENGTH, VERSION

Line = dict[str, Any]
"""A line of the journal: a JSON object."""
_READ_CHUNK_BYTES = 1 << 18


@contextmanager
def gc_paused() -> Iterator[None]:
    """Pause the garbage collector while much is read: it would scan everything repeatedly, in vain."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@dataclass(slots=True)
class JournalPosition:
    """A position in a journal: the bytes and lines before it, and the checksum of these bytes."""

    offset: int = 0
    crc: int = 0
    line: int = 0


@dataclass(slots=True)
class JournalReader:
    """Reader of the lines after a position, as JSON objects; `position` moves along.

    A last line without its end is left out, because it is torn, or is being written right now.
    `batch_bytes`: about how much is read at once.
    """

    path: str
    position: JournalPosition = field(default_factory=JournalPosition)
    batch_bytes: int = _READ_CHUNK_BYTES
    torn: bool = False

    def __iter__(self) -> Iterator[Line]:
        for batch in self.batches():
            yield from batch

    def first(self) -> Line:
        """Return the first line, which says what the run was asked to do."""
        with open_journal(self.path) as file:
            batch = self._batch(file, 1)
        if not batch:
            raise self._damaged([], b"")
        return batch[0]

    def batches(self) -> Iterator[list[Line]]:
        """Yield the lines in batches; `position` is then after the batch."""
        with open_journal(self.path) as file:
            file.seek(self.position.offset)
            while not self.torn and (batch := self._batch(file, self.batch_bytes)):
                yield batch

    def still_fits(self) -> bool:
        """Return whether the journal before the position is unchanged, as far as its last checksum tells."""
        if not self.position.offset:
            return True
        try:
            with open_journal(self.path) as file:
                file.seek(self.position.offset - CHECKSUM_LENGTH)
                return file.read(CHECKSUM_LENGTH) == CHECKSUM % self.position.crc
        except InternalFailure:
            return False

    def _batch(self, file: BinaryIO, size: int) -> list[Line]:
        """Read lines of about `size` bytes in total, but at least one line if there is one."""
        try:
            lines = file.readlines(size)
        except OSError as error:
            raise _unreadable(self.path, error) from error
        whole, crc = self._count_whole(lines)
        if whole < len(lines):
            # A line without its end was the last one when it was read, even if more has been appended since.
            if len(lines) > whole + 1 or (lines[whole].endswith(b"\n") and file.read(1)):
                raise self._damaged(lines[:whole], lines[whole])
            self.torn = True
            del lines[whole:]
        batch = self._parsed(lines)
        if batch and self.position.offset == 0:
            self._check_version(batch[0])
        self.position.offset += sum(map(len, lines))
        self.position.line += whole
        self.position.crc = crc
        return batch

    def _count_whole(self, lines: list[bytes]) -> tuple[int, int]:
        """Return how many lines from the first on have correct checksums, and the last such checksum."""
        crc = self.position.crc
        for count, line in enumerate(lines):
            next_crc = crc32(line[:-CHECKSUM_LENGTH], crc)
            if line[-CHECKSUM_LENGTH:] != CHECKSUM % next_crc:
                return count, crc
            crc = next_crc
        return len(lines), crc

    def _parsed(self, lines: list[bytes]) -> list[Line]:
        try:
            batch: list[Line] = json.loads(b"[%b]" % b",".join(lines))
        except ValueError:
            batch = []
        if len(batch) == len(lines):
            return batch
        bad = next((number for number, line in enumerate(lines) if not _is_json(line)), 0)
        raise self._damaged(lines[:bad], lines[bad])  # a line with a correct checksum that is not JSON

    def _check_version(self, header: Line) -> None:
        version = header.get("pqrun")
        if not isinstance(version, int):
            raise InternalFailure(f"{self.path} is not a journal of pqrun; it was not changed")
        if version > VERSION:
            raise InternalFailure(
                f"{self.path} was written by a newer pqrun (format {version}; this pqrun reads up to {VERSION}): "
                "update pqrun"
            )

    def _damaged(self, before: list[bytes], line: bytes) -> InternalFailure:
        if self.position.offset == 0:
            try:  # a newer version may use other checksums; then say that it is newer, not damaged
                self._check_version(json.loads(before[0] if before else line))
            except (ValueError, AttributeError):
                pass
        number = self.position.line + len(before) + 1
        return InternalFailure(f"{self.path} is damaged at line {number}; it was not changed")


def open_journal(path: str) -> BinaryIO:
    """Open a journal to read it. Raises `InternalFailure`."""
    try:
        return open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
    except OSError as error:
        raise _unreadable(path, error) from error


def last_bytes(path: str, size: int) -> bytes:
    """Return the end of a journal, at most `size` bytes. Raises `InternalFailure`."""
    with open_journal(path) as file:
        try:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size))
            return file.read()
        except OSError as error:
            raise _unreadable(path, error) from error


def _unreadable(path: str, error: OSError) -> InternalFailure:
    return InternalFailure(f"cannot read the journal {path}: {error.strerror}")


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
