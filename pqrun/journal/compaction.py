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
from itertools import islice
from typing import BinaryIO, NamedTuple
from zlib import crc32

from pqrun.core.job_row import JobRow
from pqrun.journal.format import CHECKSUM, CHECKSUM_LENGTH
from pqrun.journal.projection import RunProjection
from pqrun.journal.reader import JournalReader
from pqrun.journal.run_directory import RunDirectory
from pqrun.output.pack import Packs
from pqrun.output.store import FILES_PER_DIRECTORY

LINES_PER_WRITE = 1000
_IN_PACKS = ("out_at", "err_at")
_LAST_COUNTS = ("resume", "workers", "pool", "pause")
_NO_JOB = 0
"""The job number of a line about the run itself that can be removed."""
_RUN = -1
"""The job number of a line about the run itself that must stay."""
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class CompactedJournal(NamedTuple):
    """A shorter file for a journal's first `upto` bytes, and the checksum of the file's last line.

    `gone` are the numbers of the jobs left out; every job left has the number `oldest` or a higher one. `packs`
    are the numbers of the packs that hold output of jobs left out only.
    """

    path: str
    upto: int
    crc: int
    gone: frozenset[int]
    oldest: int
    packs: frozenset[int] = frozenset()


def compacted(
    journal: str, *, keep: int, worth: int, closed_packs: frozenset[int] = frozenset()
) -> CompactedJournal | None:
    """Write a journal without its ended jobs, except for the last `keep` of them.

    `closed_packs`: packs for whose outputs no line will be added. The caller must look for them first: a pack
    that is closed later may hold an output whose line is not read here. Returns None if fewer than `worth` jobs
    would be left out. The journal may grow meanwhile. Raises OSError if the new file can't be written.
    """
    lines = JournalReader(journal)
    jobs, rows, packs = _jobs_of_lines(lines)
    gone = _gone(jobs, rows, keep)
    if len(gone) < max(worth, 1):
        return None
    path = f"{journal}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    upto = lines.position.offset
    try:
        with open(journal, "rb") as old, open(os.open(path, _FLAGS, 0o600), "wb") as new:
            kept = (line for line, of in zip(old, jobs, strict=False) if of not in gone)
            crc = _write(new, kept)
            new.flush()
            os.fsync(new.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise
    oldest = min((seq for seq in rows if seq not in gone), default=max(jobs, default=0))
    in_use = {pack for pack, seq in packs if seq not in gone}
    return CompactedJournal(path, upto, crc, frozenset(gone - {_NO_JOB}), oldest, closed_packs - in_use)


def compact(run: RunDirectory, *, keep: int, worth: int) -> None:
    """Compact the journal of a run that no process writes. The caller must hold the run's lock."""
    with contextlib.suppress(OSError):  # on failure the old journal stays, which is only longer
        found = compacted(run.journal, keep=keep, worth=worth, closed_packs=Packs(run.logs).closed())
        if found is not None:
            os.rename(found.path, run.journal)
            sync_directory(run.path)
            remove_outputs(run, found)


def resealed(lines: Iterable[bytes], crc: int) -> tuple[bytes, int]:
    """Return the lines with the checksums for their new place, and the last checksum."""
    sealed = []
    for line in lines:
        body = line[:-CHECKSUM_LENGTH]
        crc = crc32(body, crc)
        sealed.append(body + CHECKSUM % crc)
    return b"".join(sealed), crc


def sync_directory(path: str) -> None:
    """Flush a directory, so that the names of its files survive a power failure."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove_outputs(run: RunDirectory, shorter: CompactedJournal) -> None:
    """Delete the output of the jobs that were left out of the journal, as far as packs hold no other output."""
    Packs(run.logs).remove(shorter.packs)
    for shard in sorted({seq // FILES_PER_DIRECTORY for seq in shorter.gone}):
        directory = f"{run.logs}/{shard:04d}"
        with contextlib.suppress(OSError):
            for name in os.listdir(directory):
                number = name.partition(".")[0]
                if number.isdecimal() and int(number) in shorter.gone:
                    os.unlink(f"{directory}/{name}")
    with contextlib.suppress(OSError):
        for name in os.listdir(run.logs):
            # Also those that an older job, which is gone now, had kept: no job will write there again.
            if name.isdecimal() and (int(name) + 1) * FILES_PER_DIRECTORY <= shorter.oldest:
                with contextlib.suppress(OSError):  # not empty: a leftover of a job still writes there
                    os.rmdir(f"{run.logs}/{name}")


def _jobs_of_lines(lines: JournalReader) -> tuple[array[int], dict[int, JobRow], set[tuple[int, int]]]:
    """Read a journal; return the job number of each line, the rows of the jobs, and the jobs of each pack.

    Of lines about the run that set the same value, only the last one counts; of a tag whose limit was lifted, none.
    """
    jobs = array("q")
    last: dict[tuple[str, str], int] = {}
    packs: set[tuple[int, int]] = set()
    run = RunProjection()
    for batch in lines.batches():
        for line in batch:
            packs.update((line[name][0], line["s"]) for name in _IN_PACKS if name in line)
            seq, kind = line.get("s", _NO_JOB), line.get("e", "")
            if kind in _LAST_COUNTS:
                key = (kind, line.get("name", ""))
                if key in last:
                    jobs[last[key]] = _NO_JOB
                last[key] = len(jobs)
            stays = "pqrun" in line or (kind in _LAST_COUNTS and line.get("size") != 0)
            jobs.append(_RUN if stays else seq)
        run.fold(batch)
    return jobs, run.table.rows, packs


def _gone(jobs: array[int], rows: dict[int, JobRow], keep: int) -> set[int]:
    """Return the numbers of the jobs to leave out: dropped jobs, and ended jobs before the last `keep`.

    A job that an unfinished job needs stays. So does the highest number, because new jobs are numbered from
    there.
    """
    by_id = {row.spec.id: seq for seq, row in rows.items()}
    unfinished = [row for row in rows.values() if row.outcome is None]
    needed = {by_id.get(need.job) for row in unfinished for need in row.spec.needs}
    # The last line of an ended job is that of its end, so this is the order of the ends, the last one first.
    ended = [seq for seq in dict.fromkeys(reversed(jobs)) if seq in rows and rows[seq].outcome]
    dropped = set(jobs) - rows.keys() - {_RUN}
    return ({_NO_JOB} | dropped | set(ended[keep:])) - needed - {max(jobs, default=0)}


def _write(file: BinaryIO, lines: Iterable[bytes]) -> int:
    """Write the lines of a whole journal, with their new checksums; return the last checksum."""
    crc, rest = 0, iter(lines)
    while some := list(islice(rest, LINES_PER_WRITE)):
        data, crc = resealed(some, crc)
        file.write(data)
    return crc
