# SPDX-License-Identifier: LGPL-3.0-or-later
"""Reads a journal: lines whose checksums are right, up to a last one that may be torn.

Changes nothing. What is damaged before the last line, or of a newer version, is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO
from zlib import crc32

from pqrun.errors import OwnFailure
from pqrun.journal.codec import CRC_LENGTH, VERSION


@dataclass(slots=True)
class Position:
    """How far a journal has been read: bytes, and the checksum of all of them."""

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
        try:
            with open(self.path, "rb") as file:
                file.seek(self.position.offset)
                yield from self._read(file)
        except OSError as error:
            raise OwnFailure(f"cannot read the journal {self.path}: {error.strerror}") from error

    def _read(self, file: BinaryIO) -> Iterator[dict[str, Any]]:
        pending: bytes | None = None
        for data in file:
            if pending is not None:
                raise self._damaged(pending)
            parsed = self._parse(data) if data.endswith(b"\n") else None
            if parsed is None:
                pending = data  # torn, if it is the last one
                continue
            yield parsed
        self.torn = pending is not None

    def _parse(self, data: bytes) -> dict[str, Any] | None:
        """The line, if it is whole; moves on."""
        body, tail = data[: -CRC_LENGTH - 1], data[-CRC_LENGTH - 1 :]
        crc = crc32(body, self.position.crc)
        if tail != b',"c":"%08x"}\n' % crc:
            return None
        try:
            line = json.loads(body + b"}")
        except ValueError:
            return None
        if self.position.offset == 0:
            self._check_version(line)
        self.position.offset += len(data)
        self.position.crc = crc
        self.position.line += 1
        return line if isinstance(line, dict) else None

    def _check_version(self, header: dict[str, Any]) -> None:
        version = header.get("pqrun")
        if not isinstance(version, int):
            raise OwnFailure(f"{self.path} is no journal of pqrun's; left as it is")
        if version > VERSION:
            raise OwnFailure(
                f"{self.path} was written by a newer pqrun (format {version}, this one knows {VERSION})"
            )

    def _damaged(self, data: bytes) -> OwnFailure:
        if self.position.offset == 0 and b'"pqrun":' in data[:100]:
            try:
                self._check_version(json.loads(data))
            except ValueError:
                pass
        return OwnFailure(f"{self.path} is damaged at line {self.position.line + 1}; left as it is")
