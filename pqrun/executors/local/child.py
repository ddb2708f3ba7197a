# SPDX-License-Identifier: LGPL-3.0-or-later
"""One command as a child process: spawn, read its output, wait, end its leftovers, reap.

A job ends when its leader ends, not when a pipe closes: a leftover may hold a pipe open for ever. The
leader is reaped last, and its pid is never signalled after that, because the kernel may give the number
to a process of another program.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from threading import Lock
from typing import NamedTuple

from pqrun.core.job import (
    NO_REPORT,
    Attempt,
    AttemptId,
    Exit,
    ExitedWith,
    KilledBySignal,
    LostExit,
    NotStarted,
    SelfReport,
    Usage,
)
from pqrun.core.notices import (
    OutputAdvanced,
    OutputIdle,
    ProcessFinished,
    ProcessStarted,
    StartRejected,
    StatusReceived,
)
from pqrun.engine.clock import Clock
from pqrun.engine.executor import Reporter
from pqrun.executors.local.cleanup import LEFTOVER_GRACE_SECONDS, QUIET_SECONDS, LeftoverWait, ProcessCleanup
from pqrun.executors.local.command import TRANSIENT_ERRNOS, CommandBuilder, StartError
from pqrun.executors.local.created_file import Creation
from pqrun.executors.local.ownership import JobProcesses
from pqrun.executors.local.procfs import UNKILLABLE_SECONDS
from pqrun.executors.local.spawn import MAX_EXEC_FAILURE_BYTES, PipeReader, has_ended, signal_name, watch
from pqrun.executors.local.status_file import read_report
from pqrun.executors.local.user_paths import Abandoned
from pqrun.executors.local.watchdog import WatchdogSupervisor
from pqrun.output.store import Capture, Logs, Stream

POLL_INTERVAL_SECONDS = 2.0
STATUS_INTERVAL_SECONDS = 1.0
EXIT_POLL_INTERVAL_SECONDS = 0.02
MAX_EXEC_SECONDS = 0.2
REAPED = "its exit status is lost: another part of this program took it, or the program ignores SIGCHLD"


class ChildContext(NamedTuple):
    """The shared parts of all children of a run.

    `capture`: store output instead of passing it to pqrun's streams. `follow`: report output while a job
    runs. `prompt`: report starts, status and progress without delay. `peak_of`: the most memory, in bytes,
    that an attempt was measured with.
    """

    clock: Clock
    reporter: Reporter
    commands: CommandBuilder
    logs: Logs
    cleanup: ProcessCleanup
    watchdog: WatchdogSupervisor | None = None
    capture: bool = True
    follow: bool = False
    prompt: bool = False
    peak_of: Callable[[AttemptId], int | None] = lambda _key: None


class Child:
    """One attempt at a command. A slot's thread calls `run`; any thread may call `stop`."""

    def __init__(self, attempt: Attempt, around: ChildContext) -> None:
        self._attempt = attempt
        self._context = around
        self._lock = Lock()
        self._pid = 0
        self._over = False
        self._stop_requested = False
        self._suspended = False
        self._starting = False
        self._signalled_alive = False
        self._killed_at: float | None = None
        self._refused_by = False
        self._ended = False
        self._lost = ""
        self._creation: Creation | None = None
        self.output: Capture | None = None

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

    def suspend(self, *, stopped: bool) -> None:
        """Stop the process group together with pqrun, or continue it.

        Waits up to 0.2 seconds for a job that is being started, so that the signal does not miss it.
        """
        self._suspended = stopped
        until = time.monotonic() + MAX_EXEC_SECONDS
        while stopped and self._starting and time.monotonic() < until:
            time.sleep(0.001)
        with self._lock:
            if self._pid and not self._over:
                self._signal_group(signal.SIGSTOP if stopped else signal.SIGCONT)

    def run(self, slot: int) -> ProcessFinished | StartRejected:
        """Run the attempt from spawn to reaping, and return the notice of its end.

        When it returns, no process of the attempt is left, except those that may stay or can't be killed.
        """
        around, attempt = self._context, self._attempt
        now = around.clock.now()
        if self._stop_requested:
            return ProcessFinished(attempt.key, NotStarted(126, "stopped before it started"), True, now, now)
        try:
            self._creation = creation = around.commands.creation(attempt, lambda: self._stop_requested)
        except Abandoned:
            return self._unanswered(now)
        if creation is not None and creation.exists and attempt.key.attempt == 1:  # later: maybe half made
            codes = attempt.spec.success_codes
            said = SelfReport(message=f"cached: {creation.name} exists")
            return ProcessFinished(
                attempt.key, ExitedWith(0 if 0 in codes else codes[0]), False, now, now, said=said
            )
        self._starting = True
        # Set `_starting` before reading `_suspended`, while `suspend` sets `_suspended` before reading
        # `_starting`: so one of the two threads always sees the other, and no job starts unnoticed.
        while self._suspended:
            self._starting = False
            time.sleep(EXIT_POLL_INTERVAL_SECONDS)
            self._starting = True
        member = around.commands.member(attempt, slot)
        around.cleanup.expect(member)
        pipes: list[int] = []
        try:
            if around.capture:
                pipes += os.pipe()
                pipes += os.pipe()
                around.commands.check_room(pipes[-1], around.cleanup.running)
            pid = around.commands.spawn(attempt, slot, pipes, lambda: self._stop_requested)
        except BaseException as error:
            _close(*pipes)
            around.cleanup.leave(member)
            self._starting = False
            if isinstance(error, Abandoned):
                return self._unanswered(now)
            if isinstance(error, StartError):
                return ProcessFinished(attempt.key, NotStarted(error.code, str(error)), False, now, now)
            if isinstance(error, OSError) and error.errno in TRANSIENT_ERRNOS:
                return StartRejected(attempt.key, error.strerror or str(error))
            raise
        around.cleanup.enter(member, pid)
        _close(*pipes[1::2])
        try:
            return self._supervise(member, pipes[::2])
        except BaseException:  # an error of pqrun must not leave the job running
            if not self._over:
                self._pid = pid
                self.stop(force=True)
                self._reap(member)
            raise

    def _unanswered(self, began: float) -> ProcessFinished:
        """Return the end of an attempt that was stopped while a disk that it needs did not answer."""
        why = NotStarted(126, "stopped before it started: the file system of its files does not respond")
        return ProcessFinished(self._attempt.key, why, True, began, self._context.clock.now())

    def _supervise(self, member: JobProcesses, pipes: list[int]) -> ProcessFinished:
        around, attempt = self._context, self._attempt
        began = around.clock.now()
        if around.watchdog is not None:
            around.watchdog.register(member.pid, attempt.spec.grace)
        with self._lock:
            self._pid = member.pid
            asked_early, killed_early = self._stop_requested, self._killed_at is not None
        self._starting = False
        if asked_early:
            self.stop(force=killed_early)
        # Without `prompt` the notice wakes no thread, which saves a turn for each start. The scheduler reads
        # it at its next turn, at the latest when the timeout may have passed.
        around.reporter.post(ProcessStarted(attempt.key, began, f"slot {member.slot}"), urgent=around.prompt)
        self.output = capture = Capture(around.logs, attempt.key) if pipes else None
        intake = PipeReader(pipes, capture, self._on_output if around.follow else None)
        try:
            self._read_until_exit(intake)
            ended = around.clock.now()
            peak = around.peak_of(attempt.key)
            exit, usage = self._reap(member, intake)
            # Drain after the leftovers have ended, or the last output of a leftover would be lost.
            intake.drain()
        finally:
            intake.close()
        if intake.lost and not isinstance(exit, LostExit):
            exit = LostExit(intake.lost)
        if capture is not None:
            told = (
                capture.err.tail()
                if exit == ExitedWith(255) and capture.err.size <= MAX_EXEC_FAILURE_BYTES
                else b""
            )
            if never_ran := around.commands.exec_failure(attempt, told):
                exit, capture, began = never_ran, None, ended
            else:
                capture.finish()
        said = read_report(around.commands.report_path(attempt.key))
        around.commands.clean_up(attempt.key, report=said is not NO_REPORT)
        stopped = self._signalled_alive and not isinstance(exit, LostExit)
        if self._creation is not None:
            said = self._creation.settle(attempt.spec, exit, said, stopped=stopped)
        usage = usage._replace(memory=peak)
        return ProcessFinished(attempt.key, exit, stopped, began, ended, usage, said, capture)

    def _read_until_exit(self, intake: PipeReader) -> None:
        """Read output until the leader has ended or turns out to be unkillable."""
        around = self._context
        poll = select.poll()
        intake.register(poll)
        end = watch(self._pid)
        if end is not None:
            poll.register(end, select.POLLIN)
        tick = POLL_INTERVAL_SECONDS if end is not None else EXIT_POLL_INTERVAL_SECONDS
        if around.prompt:
            tick = min(tick, STATUS_INTERVAL_SECONDS)
        idle = self._attempt.spec.idle_timeout
        heard = around.clock.now()
        told = ""
        look = heard + tick
        try:
            while True:
                until = look if idle is None else min(look, heard + idle)
                ready = poll.poll(max(0.0, until - around.clock.now()) * 1000 + 1)
                now = around.clock.now()
                for fd, _ in ready:
                    if fd not in intake:
                        self._ended = True
                        continue
                    heard = now
                    if not intake.read_some(fd):
                        poll.unregister(fd)
                if intake.lost and not self._lost:
                    self._lose(intake.lost)
                if self._ended:
                    break
                if idle is not None and now >= heard + idle:
                    around.reporter.post(OutputIdle(self._attempt.key))
                    idle = None
                if now >= look:
                    look = now + tick
                    self._ended = has_ended(self._pid)
                    if self._ended or self._is_unkillable():
                        break
                    around.cleanup.reap_orphans()
                    if around.watchdog is not None:
                        around.watchdog.look()
                    if around.prompt:
                        told = self._tell(told)
        finally:
            if end is not None:
                end.close()

    def _lose(self, why: str) -> None:
        """Kill the job because its output can't be stored any more, for example on a full disk."""
        self._lost = why
        with self._lock:
            if not has_ended(self._pid):
                self._signal_group(signal.SIGKILL)

    def _on_output(self, stream: Stream) -> None:
        self._context.reporter.post(
            OutputAdvanced(self._attempt.key, stream.number, stream.last_line_end, stream), urgent=True
        )

    def _tell(self, told: str) -> str:
        said = read_report(self._context.commands.report_path(self._attempt.key))
        now = f"{said.status} {said.progress}"
        if now != told and (said.status is not None or said.progress is not None):
            self._context.reporter.post(StatusReceived(self._attempt.key, said.status, said.progress))
        return now

    def _is_unkillable(self) -> bool:
        """Say whether the leader lives on after SIGKILL.

        True at once if the kernel refused the signal (another user's process), else after 5 seconds (a
        process that is stuck in the kernel).
        """
        killed_at, patience = self._killed_at, 0.0 if self._refused_by else UNKILLABLE_SECONDS
        return killed_at is not None and self._context.clock.now() > killed_at + patience

    def _reap(self, member: JobProcesses, intake: PipeReader | None = None) -> tuple[Exit, Usage]:
        """Wait for the leader's end, end the leftovers, reap the leader and return how it ended."""
        around, spec = self._context, self._attempt.spec
        while not self._ended and not has_ended(member.pid):
            if self._is_unkillable():
                around.cleanup.leave(member)
                why = "not permitted" if self._refused_by else "it does not end after SIGKILL"
                return LostExit(f"cannot end it (process {member.pid}): {why}"), Usage()
            time.sleep(EXIT_POLL_INTERVAL_SECONDS)
        grace = spec.grace if self._signalled_alive else min(spec.grace, LEFTOVER_GRACE_SECONDS)
        around.cleanup.end_leftovers(
            member,
            grace=grace,
            hurry=lambda: self._killed_at is not None,
            waits=lambda: self._leftover_wait(intake),
        )
        if around.watchdog is not None:
            around.watchdog.unregister(member.pid)
        with self._lock:
            self._over = True
            try:
                _, status, used = os.wait4(member.pid, 0)
            except ChildProcessError:
                return LostExit(REAPED), Usage()
            finally:
                around.cleanup.reaped(member)
        usage = Usage(used.ru_utime, used.ru_stime)
        if os.WIFSIGNALED(status):
            return KilledBySignal(signal_name(os.WTERMSIG(status))), usage
        return ExitedWith(os.WEXITSTATUS(status)), usage

    def _leftover_wait(self, intake: PipeReader | None) -> LeftoverWait:
        """Return the time that leftovers have to end by themselves.

        They have none if the job was stopped or its output was lost.
        """
        quiet = 0.0 if self._signalled_alive or self._lost or intake is None else QUIET_SECONDS
        if intake is None:
            intake = PipeReader((), None, None)
        return LeftoverWait(intake, self._context.clock.now, quiet=quiet)

    def _signal_group(self, *numbers: int) -> None:
        """Signal the process group. The leader is not reaped yet, so the number is still the group's."""
        for number in numbers:
            try:
                os.killpg(self._pid, number)
            except ProcessLookupError:
                pass
            except PermissionError:
                self._refused_by = True


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)
