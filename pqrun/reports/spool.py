# SPDX-License-Identifier: LGPL-3.0-or-later
"""Text of a report that waits on the disk until the report is complete, not in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import NamedTuple

PIECE = 1024 * 1024


class Place(NamedTuple):
    """Where something lies."""

    at: int
    length: int


class Spool:
    """A nameless file: it is gone with the process, whatever becomes of that."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._at_end = True
        self.size = 0

    def put(self, data: bytes) -> Place:
        """Appends it."""
        if not self._at_end:  # a seek would empty the buffer each time
            self._file.seek(self.size)
            self._at_end = True
        self._file.write(data)
        place = Place(self.size, len(data))
        self.size += len(data)
        return place

    def get(self, place: Place) -> bytes:
        """What lies there."""
        self._at_end = False
        self._file.seek(place.at)
        return self._file.read(place.length)

    def pieces(self) -> Iterator[bytes]:
        """All of it."""
        self._at_end = False
        self._file.seek(0)
        while piece := self._file.read(PIECE):
            yield piece

    def close(self) -> None:
        """Forgets it."""
        self._file.close()
