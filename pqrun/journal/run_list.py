# SPDX-License-Identifier: LGPL-3.0-or-later
"""The list of recorded runs, with how each of them went, and the pruning of old runs.

For a run that ended normally, the first and the last line of its journal are enough; for any other run, the
index is queried.
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
from pqrun.core.text import run_source
from pqrun.journal.reader import JournalReader, last_bytes
from pqrun.journal.run_directory import LOCK, RunDirectory, run_directories, runs_directory

if TYPE_CHECKING:
    from pqrun.journal.index import Index


LIVE, ENDED, STOPPED, DIED, DAMAGED = "live", "ended", "stopped", "died", "damaged"
DAY_SECONDS = 86400.0
ABANDONED_AFTER_SECONDS = 3600.0
_MAX_LAST_LINE_BYTES = 4096


@dataclass(slots=True)
class RunListing:
    """A run as a list shows it. Times are on the wall clock; `ended` is None while the run is live."""

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
    source: str = ""

    @property
    def id(self) -> str:
        """The run's id, which is the name of its directory."""
        return os.path.basename(self.run.path)

    @property
    def left(self) -> int:
        """The number of jobs that have not ended, or were interrupted."""
        return self.jobs - sum(self.outcomes.values()) + self.outcomes["interrupted"]

    @property
    def unfinished(self) -> bool:
        """Whether the run has jobs left to run, or was killed, so that nobody knows."""
        return self.state == DIED or self.left > 0 or not self.complete


def past_runs() -> list[RunListing]:
    """Return all runs of the state directory, the newest first."""
    return sorted(map(read_listing, run_directories()), key=lambda past: past.began, reverse=True)


def read_listing(run: RunDirectory) -> RunListing:
    """Return how a run went; a run that can't be read is listed as damaged."""
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
    """Return the state of a run in one word: live, stopped, ended, or died."""
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
        began=facts["began"],
        ended=None if live else facts["until"],
        files=facts["files"],
        workers=facts["workers"],
        complete=facts["complete"],
        jobs=metrics.added,
        outcomes=Counter({str(outcome): count for outcome, count in metrics.outcomes.items() if count}),
        failed=index.failed(),
        guarded=facts.get("guarded"),
        source=facts.get("source") or run_source(facts),
    )


def _from_its_ends(run: RunDirectory) -> RunListing | None:
    """Build a listing from the first and the last line; None if the last line does not close the run."""
    lines = last_bytes(run.journal, _MAX_LAST_LINE_BYTES).splitlines(keepends=True)
    if not lines or not lines[-1].endswith(b"\n") or b'"e":"close"' not in lines[-1]:
        return None
    try:
        close = json.loads(lines[-1])
    except ValueError:
        return None
    header = JournalReader(run.journal).first()
    try:
        return RunListing(
            run, STOPPED if close["stopped"] else ENDED, began=header["at"], ended=close["t"],
            files=header["files"], workers=header.get("workers"), complete=close["complete"], jobs=close["jobs"],
            outcomes=Counter(close["outcomes"]), failed=close["failed"], guarded=close.get("guarded"),
            source=run_source(header),
        )  # fmt: skip
    except (KeyError, TypeError):
        return None


def _time_of(run: RunDirectory) -> float:
    try:
        return os.stat(run.journal).st_mtime
    except OSError:
        return 0.0


def shortest_prefixes(ids: Iterable[str]) -> dict[str, int]:
    """Return, for each id, how many letters are enough to identify it."""
    ordered = sorted(ids)
    lengths = dict.fromkeys(ordered, 1)
    for one, other in pairwise(ordered):
        same = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
        for name in (one, other):
            lengths[name] = max(lengths[name], min(same + 1, len(name)))
    return lengths


class PrunePolicy(NamedTuple):
    """The limits for runs to keep, newest first: days since the end, number of runs, bytes in all.

    Only the first concerns unfinished runs: a queue that was killed a moment ago is not an old run, however many
    began after it.
    """

    days: int
    runs: int
    size: int


class PrunedRun(NamedTuple):
    """A run over the limits: its size in bytes, and whether it is kept because it is unfinished."""

    past: RunListing
    size: int
    kept: bool


def prune_runs(policy: PrunePolicy, now: float, *, dry_run: bool) -> Iterator[PrunedRun]:
    """Remove the runs over the limits; yield each of them. `dry_run` removes nothing."""
    kept = together = 0
    for past in past_runs():
        size = _size_of(past.run.path)
        kept += 1
        together += size  # includes removed runs: a run older than one that doesn't fit must go as well
        age = now - (past.began if past.ended is None else past.ended)
        recent = age <= policy.days * DAY_SECONDS
        if past.state == LIVE or (recent and kept <= policy.runs and together <= policy.size):
            continue
        if recent and past.unfinished:
            yield PrunedRun(past, size, kept=True)
        elif dry_run or _remove(past.run):
            yield PrunedRun(past, size, kept=False)
    if not dry_run:
        _remove_remains(now)


def _remove(run: RunDirectory) -> bool:
    """Remove a run, unless another process has begun to resume it. Returns whether it was removed."""
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
            os.unlink(run.journal)  # first, so that a half-removed directory no longer counts as a run
            shutil.rmtree(run.path)
        except OSError as error:
            raise InternalFailure(f"cannot remove {error.filename or run.path}: {error.strerror}") from error
    return True


def _remove_remains(now: float) -> None:
    """Remove directories without a journal: of runs that died early, or whose removal was cut off."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(runs_directory()):
            run = RunDirectory(entry.path)
            if not entry.is_dir(follow_symlinks=False) or run.has_journal() or run.in_use():
                continue
            if now - entry.stat(follow_symlinks=False).st_mtime > ABANDONED_AFTER_SECONDS:
                shutil.rmtree(run.path, ignore_errors=True)


def _size_of(path: str) -> int:
    """Return the bytes on the disk of all files in a directory."""
    total = 0
    with contextlib.suppress(OSError):
        for entry in os.scandir(path):
            if entry.is_dir(follow_symlinks=False):
                total += _size_of(entry.path)
            else:
                found = entry.stat(follow_symlinks=False)
                total += max(found.st_blocks * 512, found.st_size)
    return total
