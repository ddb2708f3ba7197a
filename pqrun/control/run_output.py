# SPDX-License-Identifier: LGPL-3.0-or-later
"""The output of a run's jobs: from the run while a job runs, else from files."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import NamedTuple

from pqrun.control.run_client import RunClient
from pqrun.core.errors import InternalFailure, UserError
from pqrun.core.job_row import RUNNING, JobRow
from pqrun.core.text import last_line
from pqrun.journal.stored_rows import recorded_output
from pqrun.output.store import Capture, Stream

TAIL_BYTES = 256 * 1024
PREVIEW_BYTES = 2048
FAR_FUTURE = 1 << 40
"""An offset behind all output, so that the answer holds only the size."""


class OutputPiece(NamedTuple):
    """A piece of output that begins at byte `start`. `over`: the attempt will print no more."""

    data: bytes = b""
    start: int = 0
    over: bool = False


class RunOutput:
    """A reader of the output of one run."""

    def __init__(self, client: RunClient) -> None:
        self._client = client
        self._previews: dict[int, tuple[int, list[int]]] = {}

    def words(self, rows: Iterable[JobRow], *, live: bool) -> dict[int, str]:
        """Return the last lines of output: from the run for running jobs, else from files."""
        found: dict[int, str] = {}
        wanted = set()
        for row in rows:
            wanted.add(row.seq)
            if row.state == RUNNING and live:
                if (line := self._newest_line(row.seq, row.attempts)) is not None:
                    found[row.seq] = line
            elif row.last:
                found[row.seq] = self._last_line(row)
        self._previews = {seq: preview for seq, preview in self._previews.items() if seq in wanted}
        return found

    def _newest_line(self, seq: int, attempt: int) -> str | None:
        """Return the newest line of a running job, or None if there is no newer one."""
        before = self._previews.get(seq)
        sizes = before[1] if before is not None and before[0] == attempt else [0, 0]
        line = "" if before is None or before[0] != attempt else None
        for stream in (2, 1):
            try:
                answer = self._client.ask("output", seq=seq, stream=stream, offset=FAR_FUTURE)
                size = int(answer.get("size", 0))
                if answer.get("attempt") != attempt or size == sizes[stream - 1]:
                    continue
                offset = max(0, size - PREVIEW_BYTES)
                answer = self._client.ask("output", seq=seq, stream=stream, offset=offset)
            except (InternalFailure, UserError, TimeoutError):
                return None
            sizes[stream - 1] = size
            line = last_line(base64.b64decode(answer.get("data", ""))) or line
        self._previews[seq] = (attempt, sizes)
        return line

    def _last_line(self, row: JobRow) -> str:
        failed = row.state not in ("ok", RUNNING)
        recorded = recorded_output(row)
        for number in (2, 1) if failed else (1, 2):
            stream = recorded.stream(number)
            if stream.size and (line := last_line(_stored(stream, max(0, stream.size - PREVIEW_BYTES)))):
                return line
        return ""

    def stored(self, recorded: Capture, number: int, offset: int | None) -> OutputPiece:
        """Return output of an attempt that has ended, from byte `offset`; with None, its last part."""
        stream = recorded.stream(number)
        start = max(0, stream.size - TAIL_BYTES) if offset is None else offset
        data = _stored(stream, start)
        return OutputPiece(data, start, start + len(data) >= stream.size or not data)

    def growing(self, seq: int, attempt: int, stream: int, offset: int | None) -> OutputPiece:
        """Return output of a running attempt, from byte `offset`; with None, its last part."""
        try:
            if offset is None:
                size = int(
                    self._client.ask("output", seq=seq, stream=stream, offset=FAR_FUTURE).get("size", 0)
                )
                offset = max(0, size - TAIL_BYTES)
            answer = self._client.ask("output", seq=seq, stream=stream, offset=offset)
        except (InternalFailure, UserError, TimeoutError):
            return OutputPiece(b"", offset or 0)
        fits = answer.get("attempt") == attempt
        return OutputPiece(base64.b64decode(answer.get("data", "")) if fits else b"", offset)


def _stored(stream: Stream, start: int) -> bytes:
    """Return at most `TAIL_BYTES` of recorded output from byte `start`."""
    try:
        return b"".join(stream.pieces(start, min(stream.size, start + TAIL_BYTES)))
    except OSError:
        return b""  # the output was removed, or never kept
