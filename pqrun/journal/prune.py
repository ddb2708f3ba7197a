# SPDX-License-Identifier: LGPL-3.0-or-later
"""Deletes old runs, never a live one, and what runs have left that never began."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from typing import NamedTuple

from pqrun.errors import OwnFailure
from pqrun.journal.history import LIVE, Past, past_runs
from pqrun.journal.rundir import LOCK, RunDirectory, runs_directory

DAY = 86400.0
REMAINS_AFTER = 3600.0


class Policy(NamedTuple):
    """What is kept: runs that ended in so many days, so many runs, so many bytes; the newest first."""

    days: int
    runs: int
    size: int


def prune(policy: Policy, now: float, *, dry_run: bool) -> Iterator[tuple[Past, int]]:
    """The runs that go (they are gone when the next one is asked for), and their bytes."""
    kept = together = 0
    for past in past_runs():
        size = _size_of(past.run.path)
        kept += 1
        together += size  # also of what goes: what is older than a run that finds no room finds none either
        age = now - (past.began if past.ended is None else past.ended)
        if past.state == LIVE or (
            age <= policy.days * DAY and kept <= policy.runs and together <= policy.size
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
            raise OwnFailure(f"cannot remove {error.filename or run.path}: {error.strerror}") from error
    return True


def _remove_remains(now: float) -> None:
    """Directories without a journal: of runs that died before they began, or while they were removed."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(runs_directory()):
            run = RunDirectory(entry.path)
            if not entry.is_dir(follow_symlinks=False) or run.has_journal() or run.in_use():
                continue
            if now - entry.stat(follow_symlinks=False).st_mtime > REMAINS_AFTER:
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
