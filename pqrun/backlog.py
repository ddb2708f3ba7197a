# SPDX-License-Identifier: LGPL-3.0-or-later
"""How many jobs have not started, by the way they came in. No clock, no process, no file."""

from __future__ import annotations

from pqrun.task import Task

LISTED, STREAMED, ADDED = range(3)
"""Known from the beginning; read ahead from a stream; put in by clients of a live run."""


class Backlog:
    """Counts the jobs that have not started, or not again. Each way in has a bound of its own."""

    def __init__(self) -> None:
        self._counts = [0, 0, 0]

    def __len__(self) -> int:
        return sum(self._counts)

    @property
    def streamed(self) -> int:
        """Those that were read ahead."""
        return self._counts[STREAMED]

    @property
    def added(self) -> int:
        """Those that clients have put in."""
        return self._counts[ADDED]

    def came(self, task: Task) -> None:
        """It waits for its first start, or for another one."""
        self._counts[task.origin] += 1

    def left(self, task: Task) -> None:
        """It was started, or will never be."""
        self._counts[task.origin] -= 1
