# SPDX-License-Identifier: LGPL-3.0-or-later
"""The wait of a worker's thread for the end of a job's leftovers. It reads their output meanwhile."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterable

from pqrun.executors.local.procfs import is_at_work
from pqrun.executors.local.spawn import NO_PIPES, PipeReader, watch

QUIET_SECONDS = 0.15
AT_WORK_SECONDS = 0.05
MAX_WAIT_SECONDS = 1.0
TICK_SECONDS = 0.02


class LeftoverWait:
    """A wait for leftovers to end, by themselves or after a signal, that reads their output meanwhile.

    `quiet`: seconds that the leftovers have to end by themselves. Each output restarts this time, and
    leftovers that are at work get more, up to MAX_WAIT_SECONDS in all; 0 after a stop. `now` returns seconds
    without the time spent suspended.
    """

    def __init__(self, intake: PipeReader, now: Callable[[], float], *, quiet: float = QUIET_SECONDS) -> None:
        self._intake = intake
        self._now = now
        self._quiet = quiet
        began = now()
        self._until = began + quiet
        self._longest = began + (MAX_WAIT_SECONDS if quiet else 0.0)
        self._poll = select.poll()
        intake.register(self._poll)

    @property
    def patient(self) -> bool:
        """Whether the leftovers still have time to end by themselves."""
        return not self._intake.lost and self._now() < self._until

    def extend(self, pids: Iterable[int]) -> bool:
        """Give the leftovers a little more time if one of them is at work. Return whether they have time now.

        On a busy machine a reader may not have been given a CPU yet, and would lose the job's last output.
        """
        if not self._intake.lost and self._now() < self._longest and any(map(is_at_work, pids)):
            self._until = min(self._now() + AT_WORK_SECONDS, self._longest)
        return self.patient

    def until_ended(self, pid: int, seconds: float = TICK_SECONDS) -> None:
        """Wait for the end of process `pid`, at most `seconds`, and read output meanwhile.

        With pid 0 (no process is known) the whole time is waited.
        """
        end = watch(pid) if pid else -1
        try:
            if end >= 0:
                self._poll.register(end, select.POLLIN)
            until = time.monotonic() + seconds
            while (left := until - time.monotonic()) > 0 and self._take(left):
                pass
        finally:
            if end >= 0:
                self._poll.unregister(end)
                os.close(end)

    def until_closed(self, hurry: Callable[[], bool], pids: Callable[[], Iterable[int]]) -> None:
        """Wait until no leftover holds a pipe open, or the time of the leftovers is over.

        Used for jobs with `keep_leftovers`, whose leftovers are not ended. `pids` finds the leftovers.
        """
        self._take(0.0)
        while self._intake and not hurry() and (self.patient or self.extend(pids())):
            self._take(min(TICK_SECONDS, self._until - self._now()))

    def _take(self, seconds: float) -> bool:
        """Read output for at most `seconds`. Returns False if the watched process has ended."""
        ended, seconds, began = False, max(0.0, seconds), self._now()
        ready = self._poll.poll(seconds * 1000)
        # On a machine that is too busy for this thread, the leftovers had no time either.
        if (overslept := self._now() - began - seconds) > 0:
            self._until = min(self._until + overslept, self._longest)
        for fd, _ in ready:
            if fd not in self._intake:
                ended = True
            elif self._intake.read_some(fd):
                self._until = min(self._now() + self._quiet, self._longest)
            else:
                self._poll.unregister(fd)
        return not ended


def no_wait() -> LeftoverWait:
    """Return a wait without any time, for leftovers of jobs whose output is no longer read."""
    return LeftoverWait(NO_PIPES, time.monotonic, quiet=0.0)
