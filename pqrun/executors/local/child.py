# SPDX-License-Identifier: LGPL-3.0-or-later
"""[hot path] One command as a child process: spawn, wait, end its leftovers, reap, read its output.

A job ends when its leader ends, not when a pipe closes: a leftover may hold a pipe open for ever. The
leader is reaped last, and its pid is never signalled after that, because the kernel may give the number
to a process of another program.

Most jobs are short and print little: the first wait is for the leader alone, and its pipes hold the output. Only
a job that takes longer, or whose slot printed much before, gets a reader of its pipes at once.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Sequence
from threading import Lock

from pqrun.core.job import (
    NO_REPORT,
    Attempt,
    Exit,
    ExitedWith,
    KilledBySignal,
    LostExit,
    NotStarted,
    Usage,
    new,
)
from pqrun.core.notices import (
    OutputAdvanced,
    OutputIdle,
    ProcessFinished,
    ProcessStarted,
    StartRejected,
    StatusReceived,
)
from pqrun.executors.local.child_context import ChildContext
from pqrun.executors.local.cleanup import LEFTOVER_GRACE_SECONDS
from pqrun.executors.local.created_file import Creation
from pqrun.executors.local.leftover_wait import QUIET_SECONDS, LeftoverWait
from pqrun.executors.local.ownership import JobProcesses
from pqrun.executors.local.procfs import UNKILLABLE_SECONDS
from pqrun.executors.local.spawn import (
    MAX_EXEC_FAILURE_BYTES,
    NO_PIPES,
    NOTHING_PRINTED,
    PipeReader,
    has_ended,
    signal_name,
    watch,
)
from pqrun.executors.local.status_file import read_report
from pqrun.executors.local.unstarted import already_created, failed_start, stopped_before
from pqrun.executors.local.user_paths import Abandoned
from pqrun.output.store import Capture, Stream

POLL_INTERVAL_SECONDS = 2.0
STATUS_INTERVAL_SECONDS = 1.0
EXIT_POLL_INTERVAL_SECONDS = 0.02
MAX_EXEC_SECONDS = 0.2
SHORT_JOB_MILLISECONDS = 5
TALKATIVE_BYTES = 32 * 1024
EXITED = [ExitedWith(code) for code in range(256)]
FAILED_EXEC = EXITED[255]
REAPED = "its exit status is lost: another part of this program took it, or the program ignores SIGCHLD"


class Child:
    """One attempt at a command. A slot's thread calls `run`; any thread may call `stop`."""

    # What most attempts never change stands here, not in each object.
    _pid = 0
    _over = False
    _stop_requested = False
    _suspended = False
    _starting = False
    _signalled_alive = False
    _killed_at: float | None = None
    _refused_by = False
    _ended = False
    _lost = ""
    _peak: int | None = None
    _status: tuple[str | None, float | None] = (None, None)
    _creation: Creation | None = None
    _intake = NO_PIPES

    def __init__(self, attempt: Attempt, around: ChildContext) -> None:
        self._attempt = attempt
        self._context = around
        self._lock = Lock()

    @property
    def output(self) -> Capture | None:
        """The output so far; None if there is none, or none was read yet."""
        return self._intake.capture

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
        commands, cleanup = around.commands, around.cleanup
        if self._stop_requested:
            return stopped_before(attempt.key, around.clock.now())
        if attempt.spec.creates is not None and (end := self._look_for_creation()) is not None:
            return end
        self._starting = True
        # Set `_starting` before reading `_suspended`, while `suspend` sets `_suspended` before reading
        # `_starting`: so one of the two threads always sees the other, and no job starts unnoticed.
        while self._suspended:
            self._starting = False
            time.sleep(EXIT_POLL_INTERVAL_SECONDS)
            self._starting = True
        member = commands.member(attempt, slot)
        cleanup.expect(member)
        pipes: tuple[int, ...] = ()
        try:
            if around.capture:
                pipes = os.pipe()
                pipes += os.pipe()
                if slot > commands.room.most_slots or commands.room.is_tight:
                    commands.room.make_sure(slot, pipes[3], cleanup.running)
            pid = commands.spawn(attempt, member, pipes, self._is_stop_requested)
        except BaseException as error:
            return self._spawn_failed(error, member, pipes)
        cleanup.enter(member, pid)
        if pipes:
            os.close(pipes[1])
            os.close(pipes[3])
            grew = self._on_output if around.follow else None
            self._intake = PipeReader(pipes[::2], around.logs, attempt.key, grew)
        try:
            return self._supervise(member)
        except BaseException:  # an error of pqrun must not leave the job running
            self._kill(member)
            raise

    def _kill(self, member: JobProcesses) -> None:
        """End a job that can't be supervised any more. Its output is lost."""
        if not self._over:
            self._lost = "pqrun failed"
            self._pid = member.pid
            self.stop(force=True)
            self._reap(member)

    def _is_stop_requested(self) -> bool:
        return self._stop_requested

    def _look_for_creation(self) -> ProcessFinished | StartRejected | None:
        """Look for the file that the job creates. Return the job's end if it need not run."""
        around, attempt = self._context, self._attempt
        try:
            self._creation = creation = around.commands.creation(attempt, self._is_stop_requested)
        except Abandoned as error:
            return failed_start(attempt.key, error, around.clock.now())
        return None if creation is None else already_created(attempt, creation, around.clock.now())

    def _spawn_failed(
        self, error: BaseException, member: JobProcesses, pipes: Sequence[int]
    ) -> ProcessFinished | StartRejected:
        """Return the end of an attempt that could not be started, or raise an error that is pqrun's own."""
        for fd in pipes:
            os.close(fd)
        self._context.cleanup.leave(member)
        self._starting = False
        return failed_start(self._attempt.key, error, self._context.clock.now())

    def _supervise(self, member: JobProcesses) -> ProcessFinished:
        around, attempt, intake = self._context, self._attempt, self._intake
        key = attempt.key
        began = around.clock.now()
        if around.watchdog is not None:
            around.watchdog.register(member.slot, member.pid, attempt.spec.grace)
        with self._lock:
            self._pid = member.pid
            asked_early, killed_early = self._stop_requested, self._killed_at is not None
        self._starting = False
        if asked_early:
            self.stop(force=killed_early)
        try:
            told = self._wait_for_exit(member.slot, began)
            ended = around.clock.now()
            exit, usage = self._reap(member)
            # Read the rest after the leftovers have ended, or the last output of a leftover would be lost.
            intake.read_rest()
        finally:
            intake.close()
        capture: Capture | None = intake.capture
        if intake.lost and not isinstance(exit, LostExit):
            exit = LostExit(intake.lost)
        if exit == FAILED_EXEC and (never_ran := self._exec_failure(capture)) is not None:
            exit, capture, began = never_ran, None, ended
        elif capture is not None and capture is not NOTHING_PRINTED:
            self._finish(capture, member.slot)
        said = read_report(around.commands.report_path(key))
        around.commands.clean_up(key, report=said is not NO_REPORT)
        stopped = self._signalled_alive and not isinstance(exit, LostExit)
        if self._creation is not None:
            said = self._creation.settle(attempt.spec, exit, said, stopped=stopped)
        slot = "" if told else f"slot {member.slot}"
        return new(ProcessFinished, (key, exit, stopped, began, ended, usage, said, capture, "", slot))

    def _wait_for_exit(self, slot: int, began: float) -> bool:
        """Wait until the leader has ended or turns out to be unkillable, and read its output meanwhile.

        Return whether the start was posted. A short attempt does not post it, because its end tells it.
        """
        around = self._context
        watcher = watch(self._pid)
        try:
            if around.prompt:
                self._post_start(slot, began)
            # No observer waits for its output, and its pipes can hold it: wait for the leader alone.
            if watcher >= 0 and not (
                around.follow or slot in around.talkative or self._attempt.spec.idle_timeout
            ):
                poll = select.poll()
                poll.register(watcher, select.POLLIN)
                if poll.poll(SHORT_JOB_MILLISECONDS):
                    self._ended = True
                    return around.prompt
            if not around.prompt:
                self._post_start(slot, began)
            self._read_until_exit(watcher)
            self._peak = around.peak_of(self._attempt.key)
            return True
        finally:
            if watcher >= 0:
                os.close(watcher)

    def _post_start(self, slot: int, began: float) -> None:
        """Post the start.

        Without `prompt` the notice wakes no thread, which saves a turn. The scheduler reads it at its next turn, at
        the latest when the timeout may have passed.
        """
        start = ProcessStarted(self._attempt.key, began, f"slot {slot}")
        self._context.reporter.post(start, urgent=self._context.prompt)

    def _finish(self, capture: Capture, slot: int) -> None:
        """Close the output, and note whether the next job of the slot may print more than a pipe holds."""
        capture.finish()
        talkative = self._context.talkative
        much = capture.out.size + capture.err.size > TALKATIVE_BYTES
        talkative.add(slot) if much else talkative.discard(slot)

    def _exec_failure(self, capture: Capture | None) -> NotStarted | None:
        """Return the end of a process whose exec failed, None if its program was executed."""
        if capture is None or capture.err.size > MAX_EXEC_FAILURE_BYTES:
            return None
        return self._context.commands.exec_failure(self._attempt, capture.err.tail())

    def _read_until_exit(self, watcher: int) -> None:
        """Read output until the leader has ended or turns out to be unkillable."""
        around, intake = self._context, self._intake
        poll = select.poll()
        intake.register(poll)
        if watcher >= 0:
            poll.register(watcher, select.POLLIN)
        tick = POLL_INTERVAL_SECONDS if watcher >= 0 else EXIT_POLL_INTERVAL_SECONDS
        if around.prompt:
            tick = min(tick, STATUS_INTERVAL_SECONDS)
        idle = self._attempt.spec.idle_timeout
        heard = around.clock.now()
        look = heard + tick
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
                self._look_around()

    def _look_around(self) -> None:
        """Do what long jobs need now and then: reap orphans, see after the watchdogs, report the status."""
        around = self._context
        around.cleanup.reap_orphans()
        if around.watchdog is not None:
            around.watchdog.look()
        if around.prompt:
            self._report_status()

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

    def _report_status(self) -> None:
        said = read_report(self._context.commands.report_path(self._attempt.key))
        now = (said.status, said.progress)
        if now != self._status and now != (None, None):
            self._context.reporter.post(StatusReceived(self._attempt.key, *now))
        self._status = now

    def _is_unkillable(self) -> bool:
        """Say whether the leader lives on after SIGKILL.

        True at once if the kernel refused the signal (another user's process), else after 5 seconds (a
        process that is stuck in the kernel).
        """
        killed_at, patience = self._killed_at, 0.0 if self._refused_by else UNKILLABLE_SECONDS
        return killed_at is not None and self._context.clock.now() > killed_at + patience

    def _reap(self, member: JobProcesses) -> tuple[Exit, Usage]:
        """Wait for the leader's end, end the leftovers, reap the leader and return how it ended."""
        around = self._context
        if not self._ended and (why := self._wait_unkillable(member)):
            return LostExit(why), Usage()
        if not around.cleanup.leave_if_calm(member):
            self._end_leftovers(member)
        if around.watchdog is not None:
            around.watchdog.unregister(member.slot)
        with self._lock:
            self._over = True
            try:
                _, status, used = os.wait4(member.pid, 0)
            except ChildProcessError:
                return LostExit(REAPED), Usage()
            finally:
                around.cleanup.reaped(member)
        usage = new(Usage, (used.ru_utime, used.ru_stime, self._peak))
        code = os.waitstatus_to_exitcode(status)
        return EXITED[code] if code >= 0 else KilledBySignal(signal_name(-code)), usage

    def _wait_unkillable(self, member: JobProcesses) -> str:
        """Wait for the end of a leader that may be unkillable. Return why it can't be ended, or an empty text."""
        while not has_ended(member.pid):
            if self._is_unkillable():
                self._context.cleanup.leave(member)
                why = "not permitted" if self._refused_by else "it does not end after SIGKILL"
                return f"cannot end it (process {member.pid}): {why}"
            time.sleep(EXIT_POLL_INTERVAL_SECONDS)
        return ""

    def _end_leftovers(self, member: JobProcesses) -> None:
        grace = self._attempt.spec.grace
        grace = grace if self._signalled_alive else min(grace, LEFTOVER_GRACE_SECONDS)
        self._context.cleanup.end_leftovers(
            member, grace=grace, hurry=lambda: self._killed_at is not None, waits=self._leftover_wait
        )

    def _leftover_wait(self) -> LeftoverWait:
        """Return the time that leftovers have to end by themselves.

        They have none if the job was stopped or its output was lost.
        """
        quiet = 0.0 if self._signalled_alive or self._lost else QUIET_SECONDS
        return LeftoverWait(self._intake, self._context.clock.now, quiet=quiet)

    def _signal_group(self, *numbers: int) -> None:
        """Signal the process group. The leader is not reaped yet, so the number is still the group's."""
        for number in numbers:
            try:
                os.killpg(self._pid, number)
            except ProcessLookupError:
                pass
            except PermissionError:
                self._refused_by = True
