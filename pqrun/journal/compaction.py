# SPDX-License-Identifier: LGPL-3.0-or-later
"""The compaction of a queue's journal: jobs that ended long ago are removed, all other lines stay.

A journal only grows, and a queue has no end of its own. Each line about a job concerns that job alone, so
without the lines of old jobs the file is still a valid journal, with the same attempts, retries and sums. The
remaining lines get new checksums, and the new file replaces the old one in one step.
"""

from __future__ import annotations

import contextlib
import os
from array import array
from collections.abc import Iterable
from typing import Any, NamedTuple
from zlib import crc32

from pqrun.journal.format import CRC_LENGTH
from pqrun.journal.reader import JournalReader
from pqrun.journal.run_directory import RunDirectory
from pqrun.output.store import FILES_PER_DIRECTORY

_TAIL = CRC_LENGTH + 1
_LAST_COUNTS = ("resume", "workers", "pool", "pause")
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class CompactedJournal(NamedTuple):
    """A shorter file for a journal's first `upto` bytes, and the checksum of the file's last line.

    `gone` are the numbers of the jobs left out; every job left has the number `oldest` or a higher one.
    """

    path: str
    upto: int
    crc: int
    gone: frozenset[int]
    oldest: int


def compacted(journal: str, *, keep: int, worth: int) -> CompactedJournal | None:
    """Write a journal without its ended jobs, except for the last `keep` of them.

    Returns None if fewer than `worth` jobs would be left out. The journal may grow meanwhile. Raises OSError
    if the new file can't be written.
    """
    survey = _JobSurvey()
    lines = JournalReader(journal)
    for batch in lines.batches():
        survey.fold(batch)
    gone = survey.gone(keep)
    if len(gone) < max(worth, 1):
        return None
    path = f"{journal}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    upto = lines.position.offset
    try:
        with open(journal, "rb") as old, open(os.open(path, _FLAGS, 0o600), "wb") as new:
            kept = (line for line, of in zip(old, survey.jobs, strict=False) if of not in gone)
            crc = _write(new, kept)
            new.flush()
            os.fsync(new.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise
    return CompactedJournal(path, upto, crc, frozenset(gone - {_NO_JOB}), survey.oldest(gone))


def compact(run: RunDirectory, *, keep: int, worth: int) -> None:
    """Compact the journal of a run that no process writes. The caller must hold the run's lock."""
    with contextlib.suppress(OSError):  # on failure the old journal stays, which is only longer
        found = compacted(run.journal, keep=keep, worth=worth)
        if found is not None:
            os.rename(found.path, run.journal)
            sync_directory(run.path)
            remove_outputs(run, found)


def resealed(lines: Iterable[bytes], crc: int) -> tuple[bytes, int]:
    """Return the lines with the checksums for their new place, and the last checksum."""
    sealed = []
    for line in lines:
        body = line[:-_TAIL]
        crc = crc32(body, crc)
        sealed.append(b'%b,"c":"%08x"}\n' % (body, crc))
    return b"".join(sealed), crc


def sync_directory(path: str) -> None:
    """Flush a directory, so that the names of its files survive a power failure."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove_outputs(run: RunDirectory, shorter: CompactedJournal) -> None:
    """Delete the output of the jobs that were left out of the journal."""
    for shard in sorted({seq // FILES_PER_DIRECTORY for seq in shorter.gone}):
        directory = f"{run.logs}/{shard:04d}"
        with contextlib.suppress(OSError):
            for name in os.listdir(directory):
                number = name.partition(".")[0]
                if number.isdecimal() and int(number) in shorter.gone:
                    os.unlink(f"{directory}/{name}")
            if (shard + 1) * FILES_PER_DIRECTORY <= shorter.oldest:
                os.rmdir(directory)


_NO_JOB = 0
"""The job number of a line about the run itself that can be removed."""
_RUN = -1
"""The job number of a line about the run itself that must stay."""


class _JobSurvey:
    """The job of each line of a journal, and the state of each job."""

    def __init__(self) -> None:
        self.jobs = array("q")
        self._unfinished: dict[int, None] = {}
        self._needs: dict[int, list[str]] = {}
        self._ended: dict[int, None] = {}
        self._gone = {_NO_JOB}
        self._by_id: dict[str, int] = {}
        self._highest = 0
        self._last: dict[tuple[str, str], int] = {}

    def fold(self, lines: list[dict[str, Any]]) -> None:
        """Fold the next lines."""
        for line in lines:
            what, seq = line.get("e", ""), line.get("s", _NO_JOB)
            if "pqrun" in line:
                seq = _RUN
            elif what in _LAST_COUNTS:
                self._count_last(what, line.get("name", ""))
                seq = _RUN
            self.jobs.append(seq)
            match what:
                case "add":
                    self._by_id[line["job"]["id"]] = seq
                    self._highest = max(self._highest, seq)
                    self._unfinished[seq] = None
                    self._note_needs(seq, line["job"])
                case "change":
                    self._note_needs(seq, line["job"])
                case "end" | "done" if "o" in line:
                    self._unfinished.pop(seq, None)
                    self._ended[seq] = None
                case "again":
                    self._ended.pop(seq, None)
                    self._unfinished[seq] = None
                case "drop":
                    self._ended.pop(seq, None)
                    self._unfinished.pop(seq, None)
                    self._gone.add(seq)

    def gone(self, keep: int) -> set[int]:
        """Return the numbers of the jobs to leave out: dropped jobs, and ended jobs before the last `keep`.

        A job that an unfinished job needs stays. So does the highest number, because new jobs are numbered
        from there.
        """
        needs = (self._needs.get(seq, ()) for seq in self._unfinished)
        needed = {self._by_id.get(need) for those in needs for need in those}
        ended = list(self._ended)
        old = set(ended[: len(ended) - keep] if keep else ended)
        return (self._gone | old) - needed - {self._highest}

    def oldest(self, gone: set[int]) -> int:
        """Return the lowest number of a job that stays."""
        return min(
            (seq for seq in (*self._unfinished, *self._ended) if seq not in gone), default=self._highest
        )

    def _note_needs(self, seq: int, job: dict[str, Any]) -> None:
        self._needs.pop(seq, None)
        if needs := job.get("needs"):
            self._needs[seq] = [need[0] for need in needs]

    def _count_last(self, what: str, name: str) -> None:
        """Mark the line before as removable: of lines that set the same value, only the last one counts."""
        before = self._last.get((what, name))
        if before is not None:
            self.jobs[before] = _NO_JOB
        self._last[what, name] = len(self.jobs)


def _write(file: Any, lines: Iterable[bytes]) -> int:
    crc, some = 0, []
    for line in lines:
        some.append(line)
        if len(some) == 1000:
            data, crc = resealed(some, crc)
            file.write(data)
            some.clear()
    data, crc = resealed(some, crc)
    file.write(data)
    return crc
