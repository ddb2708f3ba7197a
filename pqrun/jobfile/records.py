# SPDX-License-Identifier: LGPL-3.0-or-later
"""Bytes as they come, cut at a separator. Holds what it was fed and no more."""

from __future__ import annotations

from collections import deque
from typing import Final

LONGEST: Final = 16 * 1024 * 1024
_BOM: Final = b"\xef\xbb\xbf"


class TooLong(Exception):
    """The record that `next` would give is longer than LONGEST."""


class Records:
    """`feed` bytes, then ask for the `next` record until there is none; `end` after the last bytes."""

    def __init__(self, separator: bytes) -> None:
        self._separator = separator
        self._waiting: deque[bytes] = deque()
        self._chunk = b""
        self._at = 0
        self._parts: list[bytes] = []  # the beginning of a record whose end has not come
        self._length = 0  # of those
        self._bom: bytes | None = b""  # what may be the beginning of one
        self._ended = False

    def feed(self, data: bytes) -> None:
        """Takes in what was read."""
        if self._bom is not None:
            data = self._bom + data
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._bom = data
                return
            self._bom = None
            data = data.removeprefix(_BOM)
        if data:
            self._waiting.append(data)

    def end(self) -> None:
        """Says that nothing more will be fed: a last record needs no separator."""
        if self._bom:
            self._waiting.append(self._bom)
        self._bom = None
        self._ended = True

    @property
    def finished(self) -> bool:
        """Whether every record has been given."""
        return self._ended and not (self._waiting or self._chunk or self._parts)

    def holds(self, byte: bytes) -> bool:
        """Whether it is in the newest piece of a record whose end has not come."""
        return bool(self._parts) and byte in self._parts[-1]

    def next(self) -> bytes | None:
        """The next record without its separator; `None` if its end has not come."""
        while True:
            end = self._chunk.find(self._separator, self._at)
            if end >= 0:
                record = self._chunk[self._at : end]
                self._at = end + len(self._separator)
                return self._whole(record) if self._parts else self._measured(record)
            more = bool(self._waiting) or not self._ended
            # The last bytes may be the beginning of a separator.
            cut = max(self._at, len(self._chunk) - len(self._separator) + 1) if more else len(self._chunk)
            if self._at < cut:
                self._parts.append(self._chunk[self._at : cut])
                self._length += cut - self._at
            self._chunk, self._at = self._chunk[cut:], 0
            if self._length > LONGEST:
                raise TooLong
            if not self._waiting:
                return self._whole(b"") if self._ended and self._parts else None
            self._chunk += self._waiting.popleft()

    def _whole(self, rest: bytes) -> bytes:
        record = b"".join((*self._parts, rest))
        self._parts.clear()
        self._length = 0
        return self._measured(record)

    def _measured(self, record: bytes) -> bytes:
        if len(record) > LONGEST:
            raise TooLong
        return record
