# SPDX-License-Identifier: LGPL-3.0-or-later
"""The runs that are recorded, and how each of them went.

Of a run that ended in peace the first and the last line of its journal tell that; of others the
index is asked.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from pqrun.core.errors import InternalFailure
from pqrun.journal.reader import JournalReader
from pqrun.journal.run_directory import LOCK, RunDirectory, run_directories, runs_directory

if TYPE_CHECKING:
    from pqrun.journal.index import Index


LIVE, ENDED, STOPPED, DIED, DAMAGED = "live", "ended", "stopped", "died", "damaged"
_TAIL = 4096


@dataclass(slots=True)
class RunListing:
    """A run as a list shows it. Times on the wall clock; `ended` is None while it is live."""

    run: RunDirectory
    state: str
    began: float = 0.0
    ended: float | None = None
    files: list[str] = field(default_factory=list)
    workers: int | None = None
    complete: bool = True
    jobs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    trouble: str = ""
    guarded: bool | None = None

    @property
    def id(self) -> str:
        """What the run is called."""
        return os.path.basename(self.run.path)

    @property
    def left(self) -> int:
        """Jobs that have not ended, or were cut short."""
        return self.jobs - sum(self.outcomes.values()) + self.outcomes["interrupted"]


def past_runs() -> list[RunListing]:
    """All runs of the state directory, the newest first."""
    return sorted(map(read_listing, run_directories()), key=lambda past: past.began, reverse=True)


def read_listing(run: RunDirectory) -> RunListing:
    """How that run went; one that can't be read is shown as damaged."""
    live = run.in_use()
    try:
        if not live and (past := _from_its_ends(run)):
            return past
        from pqrun.journal.index import query_index

        return query_index(run, lambda index: _from_index(run, index, live=live))
    except InternalFailure as failure:
        began = _time_of(run)
        return RunListing(
            run, LIVE if live else DAMAGED, began, None if live else began, trouble=str(failure)
        )


def state_of(facts: dict[str, Any], *, live: bool, unfinished: int) -> str:
    """In a word: whether it runs, was stopped, has done all, or was killed before."""
    if live:
        return LIVE
    if facts["stopped"]:
        return STOPPED
    return ENDED if facts["closed"] or (facts["input_ended"] and not unfinished) else DIED


def _from_index(run: RunDirectory, index: Index, *, live: bool) -> RunListing:
    facts, metrics = index.facts, index.metrics
    return RunListing(
        run,
        state_of(facts, live=live, unfinished=metrics.added - metrics.ended),
        facts["began"],
        None if live else facts["until"],
        facts["files"],
        facts["workers"],
        facts["complete"],
        metrics.added,
        Counter({str(outcome): count for outcome, count in metrics.outcomes.items() if count}),
        index.failed(),
        guarded=facts.get("guarded"),
    )


def _from_its_ends(run: RunDirectory) -> RunListing | None:
    """From its first line and a last one that says how all went; None if the last one doesn't."""
    try:
        with open(os.open(run.journal, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            last = file.read().splitlines(keepends=True)[-1]
            if not last.endswith(b"\n") or b'"e":"close"' not in last:
                return None
            close = json.loads(last)
    except (OSError, ValueError, IndexError) as error:
        if isinstance(error, OSError):
            raise InternalFailure(f"cannot read the journal {run.journal}: {error.strerror}") from error
        return None
    header = JournalReader(run.journal).first()
    try:
        return RunListing(
            run, STOPPED if close["stopped"] else ENDED, header["at"], close["t"], header["files"],
            header.get("workers"), close["complete"], close["jobs"], Counter(close["outcomes"]),
            close["failed"], guarded=close.get("guarded"),
        )  # fmt: skip
    except (KeyError, TypeError):
        return None


def _time_of(run: RunDirectory) -> float:
    try:
        return os.stat(run.journal).st_mtime
    except OSError:
        return 0.0


def shortest_prefixes(ids: Iterable[str]) -> dict[str, int]:
    """How many letters of each id name it alone."""
    ordered = sorted(ids)
    lengths = dict.fromkeys(ordered, 1)
    for one, other in pairwise(ordered):
        same = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
        for name in (one, other):
            lengths[name] = max(lengths[name], min(same + 1, len(name)))
    return lengths


DAY_SECONDS = 86400.0
ABANDONED_AFTER_SECONDS = 3600.0


class PrunePolicy(NamedTuple):
    """What is kept: runs that ended in so many days, so many runs, so many bytes; the newest first."""

    days: int
    runs: int
    size: int


def prune_runs(policy: PrunePolicy, now: float, *, dry_run: bool) -> Iterator[tuple[RunListing, int]]:
    """The runs that go (they are gone when the next one is asked for), and their bytes."""
    kept = together = 0
    for past in past_runs():
        size = _size_of(past.run.path)
        kept += 1
        together += size  # also of what goes: what is older than a run that finds no room finds none either
        age = now - (past.began if past.ended is None else past.ended)
        if past.state == LIVE or (
            age <= policy.days * DAY_SECONDS and kept <= policy.runs and together <= policy.size
        ):
            continue
        if dry_run or _remove(past.run):
            yield past, size
    if not dry_run:
        _remove_remains(now)


def _remove(run: RunDirectory) -> bool:
    """Removes a run, unless somebody has begun to go on with it."""
    with contextlib.ExitStack() as held:
        try:
            fd = os.open(f"{run.path}/{LOCK}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            held.callback(os.close, fd)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            pass
        except OSError:
            return False
        try:
            os.unlink(run.journal)  # first of all: it is no run any more
            shutil.rmtree(run.path)
        except OSError as error:
            raise InternalFailure(f"cannot remove {error.filename or run.path}: {error.strerror}") from error
    return True


def _remove_remains(now: float) -> None:
    """Directories without a journal: of runs that died before they began, or while they were removed."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(runs_directory()):
            run = RunDirectory(entry.path)
            if not entry.is_dir(follow_symlinks=False) or run.has_journal() or run.in_use():
                continue
            if now - entry.stat(follow_symlinks=False).st_mtime > ABANDONED_AFTER_SECONDS:
                shutil.rmtree(run.path, ignore_errors=True)


def _size_of(path: str) -> int:
    """Bytes on the disk of all that lies there."""
    total = 0
    with contextlib.suppress(OSError):
        for entry in os.scandir(path):
            if entry.is_dir(follow_symlinks=False):
                total += _size_of(entry.path)
            else:
                found = entry.stat(follow_symlinks=False)
                total += max(found.st_blocks * 512, found.st_size)
    return total
