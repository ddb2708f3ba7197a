# SPDX-License-Identifier: LGPL-3.0-or-later
"""Text of a report that waits on the disk until the report is complete, not in memory."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple

COPY_CHUNK_BYTES = 1024 * 1024


class SpooledText(NamedTuple):
    """Where something lies."""

    at: int
    length: int


class TextSpool:
    """A nameless file: it is gone with the process, whatever becomes of that."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._at_end = True
        self.size = 0

    def put(self, data: bytes) -> SpooledText:
        """Appends it."""
        if not self._at_end:  # a seek would empty the buffer each time
            self._file.seek(self.size)
            self._at_end = True
        self._file.write(data)
        place = SpooledText(self.size, len(data))
        self.size += len(data)
        return place

    def get(self, place: SpooledText) -> bytes:
        """What lies there."""
        self._at_end = False
        self._file.seek(place.at)
        return self._file.read(place.length)

    def pieces(self) -> Iterator[bytes]:
        """All of it."""
        self._at_end = False
        self._file.seek(0)
        while piece := self._file.read(COPY_CHUNK_BYTES):
            yield piece

    def close(self) -> None:
        """Forgets it."""
        self._file.close()


class SpooledTexts:
    """A run may have a million jobs, so what is kept of each lies in columns, by its number."""

    def __init__(self, spool: TextSpool) -> None:
        self.suites: dict[str, int] = {}
        self._spool = spool
        self._kind = bytearray(1)
        self._suite = array("I", [0])
        self._at = array("Q", [0])
        self._length = array("I", [0])
        self._seconds = array("d", [0.0])

    def put(self, seq: int, text: bytes, *, kind: int, suite: str, seconds: float) -> None:
        """A job's text, in place of what was there of it."""
        for column in (self._kind, self._suite, self._at, self._length, self._seconds):
            column.extend([0] * max(0, seq + 1 - len(column)))
        self._kind[seq] = kind
        self._suite[seq] = self.suites.setdefault(suite, len(self.suites))
        self._at[seq], self._length[seq] = self._spool.put(text)
        self._seconds[seq] = seconds

    def remove(self, seq: int) -> None:
        """It is not there any more."""
        if seq < len(self._kind):
            self._kind[seq] = 0

    def get(self, seq: int) -> bytes:
        """The text again."""
        return self._spool.get(SpooledText(self._at[seq], self._length[seq]))

    def all(self, suite: str | None = None) -> Sequence[int]:
        """The jobs of a suite, or of all, in order."""
        wanted = None if suite is None else self.suites[suite]
        there = [seq for seq, kind in enumerate(self._kind) if kind]
        return there if wanted is None else [seq for seq in there if self._suite[seq] == wanted]

    def count(self, jobs: Sequence[int], kind: int) -> int:
        """How many of them are of that kind."""
        return sum(self._kind[seq] == kind for seq in jobs)

    def seconds(self, jobs: Sequence[int]) -> float:
        """How long they took together."""
        return sum(self._seconds[seq] for seq in jobs)
