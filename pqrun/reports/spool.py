# SPDX-License-Identifier: LGPL-3.0-or-later
"""Text that waits on the disk until a report is complete, so that memory does not grow with the jobs."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple

COPY_CHUNK_BYTES = 1024 * 1024


class SpooledText(NamedTuple):
    """The place of a text in a spool, in bytes."""

    at: int
    length: int


class TextSpool:
    """A file without a name, so that the kernel removes it even if the process is killed."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
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


class SpooledTexts:
    """The texts of jobs in a spool, by sequence number.

    The facts about a job are in typed arrays, because a run may have a million jobs.
    """

    def __init__(self, spool: TextSpool) -> None:
        self.suites: dict[str, int] = {}
        self._spool = spool
        self._kind = bytearray(1)
        self._suite = array("I", [0])
        self._at = array("Q", [0])
        self._length = array("I", [0])
        self._seconds = array("d", [0.0])

    def put(self, seq: int, text: bytes, *, kind: int, suite: str, seconds: float) -> None:
        """Set a job's text, in place of an earlier one. `kind` must not be 0, which means no text."""
        for column in (self._kind, self._suite, self._at, self._length, self._seconds):
            column.extend([0] * max(0, seq + 1 - len(column)))
        self._kind[seq] = kind
        self._suite[seq] = self.suites.setdefault(suite, len(self.suites))
        self._at[seq], self._length[seq] = self._spool.put(text)
        self._seconds[seq] = seconds

    def remove(self, seq: int) -> None:
        """Remove a job's text."""
        if seq < len(self._kind):
            self._kind[seq] = 0

    def get(self, seq: int) -> bytes:
        """Return a job's text."""
        return self._spool.get(SpooledText(self._at[seq], self._length[seq]))

    def all(self, suite: str | None = None) -> Sequence[int]:
        """Return the sequence numbers of a suite's jobs, or of all jobs, in order."""
        wanted = None if suite is None else self.suites[suite]
        there = [seq for seq, kind in enumerate(self._kind) if kind]
        return there if wanted is None else [seq for seq in there if self._suite[seq] == wanted]

    def count(self, jobs: Sequence[int], kind: int) -> int:
        """Return how many of the jobs have that kind."""
        return sum(self._kind[seq] == kind for seq in jobs)

    def seconds(self, jobs: Sequence[int]) -> float:
        """Return the sum of the jobs' durations in seconds."""
        return sum(self._seconds[seq] for seq in jobs)
