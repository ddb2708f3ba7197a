# SPDX-License-Identifier: LGPL-3.0-or-later
"""The wait for what a job has left behind: how long it may go on, and what it prints meanwhile.

A reader in the background, as `tee` in `exec > >(tee log)`, sees the end of its input only when the
job's leader has ended. A signal in that very moment would lose all that it has still to pass on.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable

from pqrun.executors.ending import watch
from pqrun.executors.intake import Intake

QUIET = 0.15
LONGEST = 1.0
TICK = 0.02


class LeftoverWait:
    """Takes in the output of leftovers while they end, by themselves or because they were asked to.

    `quiet`: seconds that they have to end by themselves, counted anew with each byte that they print,
    but never more than LONGEST; none after a stop. `now` tells the time without that spent suspended.
    """

    def __init__(self, intake: Intake, now: Callable[[], float], *, quiet: float = QUIET) -> None:
        self._intake = intake
        self._now = now
        self._quiet = quiet
        began = now()
        self._until = began + quiet
        self._longest = began + (LONGEST if quiet else 0.0)
        self._poll = select.poll()
        intake.register(self._poll)

    @property
    def patient(self) -> bool:
        """Whether they still have time to end by themselves."""
        return not self._intake.lost and self._now() < self._until

    def until_ended(self, pid: int, seconds: float = TICK) -> None:
        """Waits for the end of a process (0: none is known), for so long at most, and takes in output."""
        end = watch(pid) if pid else None
        try:
            if end is not None:
                self._poll.register(end, select.POLLIN)
            until = time.monotonic() + seconds
            while (left := until - time.monotonic()) > 0 and self._take(left):
                pass
        finally:
            if end is not None:
                self._poll.unregister(end)
                end.close()

    def until_closed(self, hurry: Callable[[], bool]) -> None:
        """For leftovers that may stay: waits until none of them holds the pipes, or their time is over."""
        self._take(0.0)
        while self._intake and self.patient and not hurry():
            self._take(min(TICK, self._until - self._now()))

    def _take(self, seconds: float) -> bool:
        """Takes in what is printed within that time; False if a process that is watched has ended."""
        ended = False
        for fd, _ in self._poll.poll(max(0.0, seconds) * 1000):
            if fd not in self._intake:
                ended = True
            elif self._intake.take(fd):
                self._until = min(self._now() + self._quiet, self._longest)
            else:
                self._poll.unregister(fd)
        return not ended


def no_wait() -> LeftoverWait:
    """For what belongs to no job that still runs: it has no time, and nobody reads what it prints."""
    return LeftoverWait(Intake((), None, None), time.monotonic, quiet=0.0)
