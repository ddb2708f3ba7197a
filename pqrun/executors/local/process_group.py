# SPDX-License-Identifier: LGPL-3.0-or-later
"""[hot path] The process group of a job, as other threads reach it: stopped, signalled and suspended.

The leader's pid is never signalled after the leader was reaped, because the kernel may give the number to a process
of another program.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from pqrun.core.job import Attempt, AttemptId
from pqrun.executors.local.procfs import UNKILLABLE_SECONDS
from pqrun.executors.local.spawn import has_ended

if TYPE_CHECKING:
    from pqrun.engine.clock import Clock
    from pqrun.engine.executor import Reporter
    from pqrun.executors.local.cleanup import ProcessCleanup
    from pqrun.executors.local.command import CommandBuilder
    from pqrun.executors.local.watchdog import WatchdogSupervisor
    from pqrun.output.store import Logs

START_TIMEOUT_SECONDS = 0.2
EXIT_POLL_INTERVAL_SECONDS = 0.02


class ChildContext(NamedTuple):
    """The shared parts of all children of a run.

    `capture`: store output instead of passing it to pqrun's streams. `follow`: report output while a job
    runs. `passes`: report the growth of a large stdout, which may be passed on while the job runs. `prompt`:
    report starts, status and progress without delay. `peak_of`: the most memory, in bytes, that an attempt was
    measured with. `talkative`: the slots whose last job printed much.
    """

    clock: Clock
    reporter: Reporter
    commands: CommandBuilder
    logs: Logs
    cleanup: ProcessCleanup
    talkative: set[int]
    watchdog: WatchdogSupervisor | None = None
    capture: bool = True
    follow: bool = False
    passes: bool = False
    prompt: bool = False
    peak_of: Callable[[AttemptId], int | None] = lambda _key: None


class JobProcessGroup:
    """The process group of one attempt. Any thread may call the public methods."""

    # What most attempts never change stands here, not in each object.
    _pid = 0
    _over = False
    _stop_requested = False
    _suspended = False
    _starting = False
    _signalled_alive = False
    _killed_at: float | None = None
    _refused_by = False

    def __init__(self, attempt: Attempt, around: ChildContext) -> None:
        self._attempt = attempt
        self._context = around
        self._lock = Lock()

    @property
    def leader(self) -> int:
        """The pid of the leader; 0 before it started and after it was reaped."""
        return 0 if self._over else self._pid

    def stop(self, *, force: bool) -> None:
        """Signal the process group to end, or kill it. Does nothing if the leader has ended."""
        with self._lock:
            self._stop_requested = True
            if force and self._killed_at is None:
                self._killed_at = self._context.clock.now()
            if not self._pid or self._over or has_ended(self._pid):
                return
            self._signalled_alive = True
            name = "SIGKILL" if force else self._attempt.spec.work.signal
            self._signal_group(getattr(signal, name, signal.SIGTERM), signal.SIGCONT)

    def signal(self, name: str) -> None:
        """Signal the process group with a user's signal. Does nothing if the leader has ended."""
        with self._lock:
            if self._pid and not self._over and not has_ended(self._pid):
                self._signal_group(getattr(signal, name))

    def suspend(self, *, stopped: bool) -> None:
        """Stop the process group together with pqrun, or continue it.

        Waits up to 0.2 seconds for a job that is being started, so that the signal does not miss it.
        """
        self._suspended = stopped
        until = time.monotonic() + START_TIMEOUT_SECONDS
        while stopped and self._starting and time.monotonic() < until:
            time.sleep(0.001)
        with self._lock:
            if self._pid and not self._over:
                self._signal_group(signal.SIGSTOP if stopped else signal.SIGCONT)

    def _wait_while_suspended(self) -> None:
        """Delay the start of a job that is suspended.

        The start sets `_starting` before it reads `_suspended`, while `suspend` sets `_suspended` before it reads
        `_starting`: so one of the two threads always sees the other, and no job starts unnoticed.
        """
        while self._suspended:
            self._starting = False
            time.sleep(EXIT_POLL_INTERVAL_SECONDS)
            self._starting = True

    def _is_stop_requested(self) -> bool:
        return self._stop_requested

    def _is_unkillable(self) -> bool:
        """Say whether the leader lives on after SIGKILL.

        True at once if the kernel refused the signal (another user's process), else after 5 seconds (a
        process that is stuck in the kernel).
        """
        killed_at, patience = self._killed_at, 0.0 if self._refused_by else UNKILLABLE_SECONDS
        return killed_at is not None and self._context.clock.now() > killed_at + patience

    def _signal_group(self, *numbers: int) -> None:
        """Signal the process group. The leader is not reaped yet, so the number is still the group's."""
        for number in numbers:
            try:
                os.killpg(self._pid, number)
            except ProcessLookupError:
                pass
            except PermissionError:
                self._refused_by = True
