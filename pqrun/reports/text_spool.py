# SPDX-License-Identifier: LGPL-3.0-or-later
"""Text that waits on the disk until a report is complete."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

COPY_CHUNK_BYTES = 1024 * 1024


class SpooledText(NamedTuple):
    """The place of a text in a spool, in bytes."""

    at: int
    length: int


class TextSpool:
    """Text that waits on the disk until a report is complete, so that memory does not grow with the jobs.

    The file has no name, so that the kernel removes it even if the process is killed.
    """

    def __init__(self) -> None:
        from tempfile import TemporaryFile

        self._file = TemporaryFile()  # noqa: SIM115
        self._at_end = True
        self.size = 0

    def put(self, data: bytes) -> SpooledText:
        """Append the text and return its place."""
        if not self._at_end:  # a seek before each write would empty Python's buffer each time
            self._file.seek(self.size)
            self._at_end = True
        self._file.write(data)
        place = SpooledText(self.size, len(data))
        self.size += len(data)
        return place

    def get(self, place: SpooledText) -> bytes:
        """Return the text at that place."""
        self._at_end = False
        self._file.seek(place.at)
        return self._file.read(place.length)

    def pieces(self) -> Iterator[bytes]:
        """Yield the whole spool in pieces of 1 MiB."""
        self._at_end = False
        self._file.seek(0)
        while piece := self._file.read(COPY_CHUNK_BYTES):
            yield piece

    def close(self) -> None:
        """Close and remove the file."""
        self._file.close()
