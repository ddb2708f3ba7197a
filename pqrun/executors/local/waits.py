# SPDX-License-Identifier: LGPL-3.0-or-later
"""The waits of a worker's thread: for the end of a job that is not short, and for the end of its leftovers.

Both read the job's output meanwhile. A module of its own, to keep what only longer jobs need out of `child`.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from pqrun.core.job import Attempt
from pqrun.core.notices import OutputIdle, StatusReceived
from pqrun.executors.local.procfs import is_at_work
from pqrun.executors.local.spawn import NO_PIPES, PipeReader, has_ended, watch
from pqrun.executors.local.status_file import read_report

if TYPE_CHECKING:
    from pqrun.executors.local.child import ChildContext
    from pqrun.executors.local.open_stdin import OpenStdin

POLL_INTERVAL_SECONDS = 2.0
STATUS_INTERVAL_SECONDS = 1.0
EXIT_POLL_INTERVAL_SECONDS = 0.02
QUIET_SECONDS = 0.15
AT_WORK_SECONDS = 0.05
MAX_WAIT_SECONDS = 1.0
TICK_SECONDS = 0.02


class ExitWait:
    """The wait of a worker's thread for the end of leader `pid`.

    Meanwhile it reads the job's output, and writes what others have sent to the job's `stdin`.
    """

    def __init__(
        self,
        attempt: Attempt,
        around: ChildContext,
        intake: PipeReader,
        pid: int,
        stdin: OpenStdin | None = None,
    ) -> None:
        self._attempt = attempt
        self._context = around
        self._intake = intake
        self._pid = pid
        self._stdin = stdin
        self._status: tuple[str | None, float | None] = (None, None)

    def until_exit(
        self, watcher: int, *, lose: Callable[[str], None], is_unkillable: Callable[[], bool]
    ) -> bool:
        """Read output until the leader has ended or turns out to be unkillable. Return whether it has ended.

        `watcher`: the leader's pidfd, -1 without one. `lose` is called once if output can't be stored.
        """
        around, intake = self._context, self._intake
        poll = self._registered(watcher)
        tick = POLL_INTERVAL_SECONDS if watcher >= 0 else EXIT_POLL_INTERVAL_SECONDS
        if around.prompt:
            tick = min(tick, STATUS_INTERVAL_SECONDS)
        idle = self._attempt.spec.idle_timeout
        heard = around.clock.now()
        look = heard + tick
        lost = False
        while True:
            until = look if idle is None else min(look, heard + idle)
            ready = poll.poll(max(0.0, until - around.clock.now()) * 1000 + 1)
            now = around.clock.now()
            ended, printed = self._transfer(ready, poll)
            if printed:
                heard = now
            if intake.lost and not lost:
                lost = True
                lose(intake.lost)
            if ended:
                return True
            if idle is not None and now >= heard + idle:
                around.reporter.post(OutputIdle(self._attempt.key))
                idle = None
            if now >= look:
                look = now + tick
                if has_ended(self._pid):
                    return True
                if is_unkillable():
                    return False
                self._look_around()

    def _registered(self, watcher: int) -> select.poll:
        """Return a poll object for the job's pipes and the leader's pidfd `watcher`, if there is one."""
        poll = select.poll()
        self._intake.register(poll)
        if watcher >= 0:
            poll.register(watcher, select.POLLIN)
        if self._stdin is not None:
            self._stdin.register(poll)
        return poll

    def _transfer(self, ready: list[tuple[int, int]], poll: select.poll) -> tuple[bool, bool]:
        """Read from and write to the pipes that are ready. Return whether the leader has ended, and has printed."""
        ended = printed = False
        for fd, _ in ready:
            if fd in self._intake:
                printed = True
                if not self._intake.read_some(fd):
                    poll.unregister(fd)
            elif self._stdin is not None and fd in self._stdin:
                self._stdin.advance(fd, poll)
            else:
                ended = True
        return ended, printed

    def _look_around(self) -> None:
        """Do what long jobs need now and then: reap orphans, see after the watchdogs, report the status."""
        around = self._context
        around.cleanup.reap_orphans()
        if around.watchdog is not None:
            around.watchdog.look()
        if around.prompt:
            self._report_status()

    def _report_status(self) -> None:
        said = read_report(self._context.commands.report_path(self._attempt.key))
        now = (said.status, said.progress)
        if now != self._status and now != (None, None):
            self._context.reporter.post(StatusReceived(self._attempt.key, *now))
        self._status = now


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
