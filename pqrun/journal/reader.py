# SPDX-License-Identifier: LGPL-3.0-or-later
"""Reads a journal: lines whose checksums are right, up to a last one that may be torn.

Changes nothing. What is damaged before the last line, or of a newer version, is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO
from zlib import crc32

from pqrun.errors import OwnFailure
from pqrun.journal.codec import CRC_LENGTH, VERSION

_AT_A_TIME = 1 << 18
_TAIL = CRC_LENGTH + 1
_CLOSING = b',"c":"%08x"}\n'


@dataclass(slots=True)
class Position:
    """How far a journal has been read: bytes, the checksum of all of them, lines."""

    offset: int = 0
    crc: int = 0
    line: int = 0


@dataclass(slots=True)
class Lines:
    """The lines of a journal from a position on, as JSON objects; `position` moves along.

    A last line without its end is left out: it is torn, or being written right now.
    """

    path: str
    position: Position = field(default_factory=Position)
    torn: bool = False

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.batches():
            yield from batch

    def batches(self) -> Iterator[list[dict[str, Any]]]:
        """The lines, many at a time; `position` is then behind all of them."""
        try:
            with open(os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
                file.seek(self.position.offset)
                while not self.torn and (batch := self._batch(file)):
                    yield batch
        except OSError as error:
            raise OwnFailure(f"cannot read the journal {self.path}: {error.strerror}") from error

    def still_fits(self) -> bool:
        """Whether what lies before the position is, by its last checksum, what has been read."""
        if not self.position.offset:
            return True
        try:
            with open(self.path, "rb") as file:
                file.seek(self.position.offset - _TAIL)
                return file.read(_TAIL) == _CLOSING % self.position.crc
        except OSError:
            return False

    def _batch(self, file: BinaryIO) -> list[dict[str, Any]]:
        lines = file.readlines(_AT_A_TIME)
        whole, crc = self._count_whole(lines)
        if whole < len(lines):
            # A line without its end is the last one, whatever a live run appends in the meantime.
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
        """How many of the lines, from the first, have the right checksum; the last one's."""
        crc = self.position.crc
        for count, line in enumerate(lines):
            next_crc = crc32(line[:-_TAIL], crc)
            if line[-_TAIL:] != _CLOSING % next_crc:
                return count, crc
            crc = next_crc
        return len(lines), crc

    def _parsed(self, lines: list[bytes]) -> list[dict[str, Any]]:
        try:
            batch: list[dict[str, Any]] = json.loads(b"[%b]" % b",".join(lines))
        except ValueError:
            batch = []
        if len(batch) == len(lines):
            return batch
        for number, line in enumerate(lines):  # somebody made checksums for what is no JSON: which line is it?
            try:
                json.loads(line)
            except ValueError:
                break
        raise self._damaged(lines[:number], lines[number])

    def _check_version(self, header: dict[str, Any]) -> None:
        version = header.get("pqrun")
        if not isinstance(version, int):
            raise OwnFailure(f"{self.path} is no journal of pqrun's; left as it is")
        if version > VERSION:
            raise OwnFailure(
                f"{self.path} was written by a newer pqrun (format {version}, this one knows {VERSION})"
            )

    def _damaged(self, before: list[bytes], line: bytes) -> OwnFailure:
        if self.position.offset == 0:
            try:  # a newer version may have other checksums
                self._check_version(json.loads(before[0] if before else line))
            except (ValueError, AttributeError):
                pass
        return OwnFailure(f"{self.path} is damaged at line {self.position.line + len(before) + 1}; left as it is")
