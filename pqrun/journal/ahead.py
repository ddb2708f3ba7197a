# SPDX-License-Identifier: LGPL-3.0-or-later
"""A look at the part of a journal that is not folded yet, for a reader that is behind a fast run.

Only the jobs that a reader wants to know of at once are folded: those that did not end well, and those that run
for longer than the time between two looks. The lines of all other jobs are not even decoded, so that a look costs
a seventh of a fold.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator

from pqrun.core import events as ev
from pqrun.core.errors import InternalFailure
from pqrun.core.job_row import RUNNING
from pqrun.journal.projection import CaptureOf, RunProjection
from pqrun.journal.reader import gc_paused, open_journal

MAX_CHOSEN = 500
_READ_BYTES = 1 << 18
_ADD, _START, _ENDS = b'{"e":"add"', b'{"e":"start"', (b'{"e":"end"', b'{"e":"done"')
_JOB = b'"s":'
_OUTCOME, _WELL = b'"o":"', b'"o":"ok"'


class JournalAhead:
    """The jobs of interest among the lines behind the position of a fold, which may move on meanwhile.

    `run`: what is known of the run itself, and the rows of the chosen jobs, at most `MAX_CHOSEN`. The checksums
    are left to the fold.
    """

    def __init__(self, path: str, offset: int, folded: RunProjection, output: CaptureOf) -> None:
        self.run = RunProjection(facts=dict(folded.facts), output=output)
        self.run.paused, self.run.pools = folded.paused, dict(folded.pools)
        self.run.table.stopped = folded.table.stopped
        self._path = path
        self._offset = offset
        self._folded = folded
        self._unread: dict[bytes, list[tuple[int, bytes]]] = {}
        self._running: set[bytes] = set()
        self._chosen: dict[bytes, int] = {}  # the offset from which the lines of each count
        self._wanted: list[bytes] = []
        self._began: list[ev.Event] = []
        for seq in folded.table.running:
            self._choose(b'"s":%d' % seq, offset)

    def read(self, position: int) -> list[ev.Event]:
        """Read what is new; return the events of the chosen jobs, and those of the run itself.

        The start of an attempt is among them again if it was folded before its job was chosen. `position`: the
        offset before which all lines are folded by now. Raises `InternalFailure` for a line that is not of a journal.
        """
        before = set(self._running)
        try:
            with gc_paused():
                for lines in self._blocks():
                    self._look_at(lines, position)
                for job in before & self._running:
                    self._choose(job, position)
                events = self._began + self.run.fold(json.loads(b"[%b]" % b",".join(self._wanted)))
        except (LookupError, TypeError, ValueError) as error:
            raise InternalFailure(f"{self._path} is damaged; it was not changed") from error
        self._began, self._wanted = [], []
        return events

    def _blocks(self) -> Iterator[list[bytes]]:
        """Yield the new lines, many at a time; `_offset` is then that of the first of them."""
        with open_journal(self._path) as file:
            while data := os.pread(file.fileno(), _READ_BYTES, self._offset):
                end = data.rfind(b"\n") + 1
                if not end:  # a line that is being written, or a very long one
                    file.seek(self._offset)
                    data = file.readline()
                    if not data.endswith(b"\n"):
                        return
                    end = len(data)
                yield data[: end - 1].split(b"\n")
                self._offset += end

    def _look_at(self, lines: Iterable[bytes], position: int) -> None:
        """Keep the lines of jobs that have not ended, and choose those that ended otherwise than ok.

        Raises IndexError or ValueError for a line that is not of a journal.
        """
        unread, running, chosen = self._unread, self._running, self._chosen
        at = self._offset
        for line in lines:
            job = line.split(b",", 3)[2]  # as `"s":12`, behind the kind and the time
            if job in chosen or not job.startswith(_JOB):
                if at >= chosen.get(job, 0):
                    self._wanted.append(line)
            elif _WELL in line and line.startswith(_ENDS):
                running.discard(job)
                unread.pop(job, None)
            else:
                unread.setdefault(job, []).append((at, line))
                if line.startswith(_START):
                    running.add(job)
                elif line.startswith(_ENDS):
                    running.discard(job)
                    if _OUTCOME in line:
                        self._choose(job, position)
                        unread.pop(job, None)
            at += len(line) + 1

    def _choose(self, job: bytes, position: int) -> None:
        """Fold the lines of a job from now on, unless too many are chosen or its beginning is not known."""
        lines = self._unread.get(job, [])
        row = self._folded.table.rows.get(int(job[4:]))
        if len(self._chosen) >= MAX_CHOSEN or not (row or (lines and lines[0][1].startswith(_ADD))):
            return
        if row is not None:
            self.run.table.rows[row.seq] = row.copy()
            self._chosen[job] = position
            if row.state == RUNNING:
                at = row.since if row.submitted is None else row.submitted
                self._began.append(ev.AttemptSubmitted(at, row.seq, row.attempts, row.waited or 0.0))
            lines = [(at, line) for at, line in lines if at >= position]
        self._wanted += [line for _, line in lines]
        self._unread.pop(job, None)
        self._running.discard(job)
        self._chosen.setdefault(job, 0)
