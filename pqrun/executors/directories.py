# SPDX-License-Identifier: LGPL-3.0-or-later
"""The directories in which jobs start: whether they answer, and what they are called."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from pqrun.executors.interruptible import interruptible

GOOD_FOR = 1.0  # seconds for which a directory that was there is not looked at again
MOST_DIRECTORIES = 1000


class Directories:
    """Those of one run."""

    def __init__(self) -> None:
        self._answered: dict[str, float] = {}

    def look_at(self, directory: str, stopped: Callable[[], bool]) -> None:
        """Makes sure that its disk answers: who starts a process there could wait for that in vain."""
        now = time.monotonic()
        if now < self._answered.get(directory, 0.0) + GOOD_FOR:
            return
        interruptible(lambda: os.path.isdir(directory), stopped)
        if len(self._answered) >= MOST_DIRECTORIES:
            self._answered.clear()
        self._answered[directory] = now


def logical(directory: str) -> str:
    """The directory as `$PWD` calls it, if that is true, else without links; as a shell does."""
    named = os.environ.get("PWD", "")
    try:
        if named.startswith("/") and os.path.samefile(named, directory):
            return named
    except OSError:
        pass
    try:
        return os.path.realpath(directory)
    except OSError:  # the current directory, which has been deleted: that is what it was called
        return named


def is_here(directory: str) -> bool:
    """Whether it is the current directory, also if that has been deleted."""
    try:
        return os.path.samefile(directory, ".")
    except OSError:
        return False
