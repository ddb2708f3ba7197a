# SPDX-License-Identifier: LGPL-3.0-or-later
"""The wait of a worker's thread for the end of a job that is not short. It reads the job's output meanwhile.

A module of its own, to keep what only longer jobs need out of `child`. It is loaded together with `child`, because no
descriptor may be free when the first long job is seen.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import TYPE_CHECKING

from pqrun.core.job import Attempt
from pqrun.core.notices import OutputIdle, StatusReceived
from pqrun.executors.local.process_group import EXIT_POLL_INTERVAL_SECONDS, ChildContext
from pqrun.executors.local.spawn import PipeReader, has_ended
from pqrun.executors.local.status_file import read_report

if TYPE_CHECKING:
    from pqrun.executors.local.open_stdin import OpenStdin

POLL_INTERVAL_SECONDS = 2.0
STATUS_INTERVAL_SECONDS = 1.0


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
