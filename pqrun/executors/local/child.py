# SPDX-License-Identifier: LGPL-3.0-or-later
"""[hot path] One command as a child process: spawn, wait, end its leftovers, reap, read its output.

A job ends when its leader ends, not when a pipe closes: a leftover may hold a pipe open for ever. The leader is
reaped last, because until then its number is the job's.

Most jobs are short and print little: the first wait is for the leader alone, and its pipes hold the output. Only
a job that takes longer, or whose slot printed much before, gets a reader of its pipes at once.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pqrun.core.job import (
    NO_REPORT,
    OPEN_STDIN,
    AttemptId,
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
    ProcessFinished,
    ProcessStarted,
    StartRejected,
)
from pqrun.executors.local.cleanup import LEFTOVER_GRACE_SECONDS
from pqrun.executors.local.exit_wait import ExitWait
from pqrun.executors.local.leftover_wait import QUIET_SECONDS, LeftoverWait
from pqrun.executors.local.ownership import JobProcesses
from pqrun.executors.local.process_group import EXIT_POLL_INTERVAL_SECONDS, JobProcessGroup
from pqrun.executors.local.spawn import (
    MAX_EXEC_FAILURE_BYTES,
    NO_PIPES,
    NOTHING_PRINTED,
    TRANSIENT_ERRNOS,
    PipeReader,
    StartError,
    has_ended,
    signal_name,
    watch,
)
from pqrun.executors.local.status_file import read_report
from pqrun.executors.local.user_paths import Abandoned
from pqrun.output.store import Capture, Stream

if TYPE_CHECKING:
    from pqrun.executors.local.created_file import Creation
    from pqrun.executors.local.interactive import InteractiveStreams
    from pqrun.executors.local.open_stdin import OpenStdin

SHORT_JOB_MILLISECONDS = 5
TALKATIVE_BYTES = 32 * 1024
EXITED = [ExitedWith(code) for code in range(256)]
FAILED_EXEC = EXITED[255]
REAPED = "its exit status is lost: another part of this program took it, or the program ignores SIGCHLD"


class Child(JobProcessGroup):
    """One attempt at a command. A slot's thread calls `run`; any thread may call `stop`.

    When `run` returns, no process of the attempt is left, except those that may stay or can't be killed.
    """

    _ended = False
    _lost = ""
    _peak: int | None = None
    _creation: Creation | None = None
    _intake = NO_PIPES
    _stdin: OpenStdin | None = None
    _streams: InteractiveStreams | None = None

    @property
    def output(self) -> Capture | None:
        """The output so far; None if there is none, or none was read yet."""
        return self._intake.capture

    @property
    def stdin(self) -> OpenStdin | None:
        """The standard input that is open to others; None if the job did not ask for it."""
        if self._attempt.spec.work.stdin != OPEN_STDIN:
            return None
        from pqrun.executors.local.open_stdin import OpenStdin

        with self._lock:
            self._stdin = self._stdin or OpenStdin(terminal=self._attempt.spec.work.pty)
            return self._stdin

    def run(self, slot: int) -> ProcessFinished | StartRejected:
        """Run the attempt from spawn to reaping, and return the notice of its end."""
        around, attempt = self._context, self._attempt
        commands, cleanup = around.commands, around.cleanup
        if self._stop_requested:
            return stopped_before(attempt.key, around.clock.now())
        if attempt.spec.creates is not None and (end := self._look_for_creation()) is not None:
            return end
        self._starting = True  # before `_suspended` is read: see `_wait_while_suspended`
        if self._suspended:
            self._wait_while_suspended()
        member = commands.member(attempt, slot)
        cleanup.expect(member)
        pipes: tuple[int, ...] = ()
        work = attempt.spec.work
        try:
            if work.pty or work.stdin == OPEN_STDIN:
                pipes = self._open_streams(slot)
            elif around.capture:
                pipes = os.pipe()
                pipes += os.pipe()
                if slot > commands.room.most_slots or commands.room.is_tight:
                    commands.room.make_sure(slot, pipes[3], cleanup.running)
            pid = commands.spawn(attempt, member, pipes, self._is_stop_requested, self._streams)
        except BaseException as error:
            return self._spawn_failed(error, member, pipes)
        cleanup.enter(member, pid)
        grew = self._on_output if around.follow or around.passes else None
        if self._streams is not None:
            self._intake = self._streams.started(around.logs, attempt.key, grew, by_line=around.follow)
        elif pipes:
            os.close(pipes[1])
            os.close(pipes[3])
            self._intake = PipeReader(pipes[::2], around.logs, attempt.key, grew, by_line=around.follow)
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

    def _look_for_creation(self) -> ProcessFinished | StartRejected | None:
        """Look for the file that the job creates. Return the job's end if it need not run."""
        around, attempt = self._context, self._attempt
        try:
            self._creation = creation = around.commands.creation(attempt, self._is_stop_requested)
        except Abandoned as error:
            return failed_start(attempt.key, error, around.clock.now())
        from pqrun.executors.local.created_file import already_created

        return already_created(attempt, creation, around.clock.now())

    def _open_streams(self, slot: int) -> tuple[int, ...]:
        """Open the streams of a job that wants a terminal or an open standard input. Return its pipes."""
        from pqrun.executors.local.interactive import InteractiveStreams

        around = self._context
        self._streams = streams = InteractiveStreams(
            self._attempt.spec.work, self.stdin, capture=around.capture
        )
        with_stdin = self._stdin is not None
        around.commands.room.make_sure(slot, streams.highest, around.cleanup.running, with_stdin=with_stdin)
        return streams.pipes

    def _spawn_failed(
        self, error: BaseException, member: JobProcesses, pipes: Sequence[int]
    ) -> ProcessFinished | StartRejected:
        """Return the end of an attempt that could not be started, or raise an error that is pqrun's own."""
        if self._streams is not None:
            self._streams.abandon()
            pipes = ()
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
            asked_early = self._stop_requested
        self._starting = False
        if asked_early:
            self.stop(force=self._killed_at is not None)
        try:
            told = self._wait_for_exit(member.slot, began)
            ended = around.clock.now()
            exit, usage = self._reap(member)
            # Read the rest after the leftovers have ended, or the last output of a leftover would be lost.
            intake.read_rest()
        finally:
            intake.close()
        capture: Capture | None = intake.capture
        lost = intake.lost or (around.commands.lost_inputs and around.commands.lost_inputs.pop(key, ""))
        if lost and not isinstance(exit, LostExit):
            exit = LostExit(lost)
        if exit == FAILED_EXEC and (never_ran := self._exec_failure(capture)) is not None:
            exit, capture, began = never_ran, None, ended
        elif capture is not None and capture is not NOTHING_PRINTED:
            self._finish(capture, member.slot)
        commands = around.commands
        said = read_report(commands.report_path(key))
        if said is not NO_REPORT or commands.scripts:
            commands.clean_up(key, report=said is not NO_REPORT)
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
            # No observer waits for its output, its pipes can hold it, and no stdin has to be written and closed:
            # wait for the leader alone.
            if watcher >= 0 and not (
                around.follow or slot in around.talkative or self._attempt.spec.idle_timeout or self._stdin
            ):
                poll = select.poll()
                poll.register(watcher, select.POLLIN)
                if poll.poll(SHORT_JOB_MILLISECONDS):
                    self._ended = True
                    return around.prompt
            if not around.prompt:
                self._post_start(slot, began)
            wait = ExitWait(self._attempt, around, self._intake, self._pid, self._stdin)
            self._ended = wait.until_exit(watcher, lose=self._lose, is_unkillable=self._is_unkillable)
            if self._stdin is not None:
                self._stdin.close()  # a leftover that reads it must see its end
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

    def _lose(self, why: str) -> None:
        """Kill the job because its output can't be stored any more, for example on a full disk."""
        self._lost = why
        with self._lock:
            if not has_ended(self._pid):
                self._signal_group(signal.SIGKILL)

    def _on_output(self, stream: Stream) -> None:
        upto = stream.last_line_end if self._context.follow else stream.size
        self._context.reporter.post(
            OutputAdvanced(self._attempt.key, stream.number, upto, stream), urgent=True
        )

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


def stopped_before(key: AttemptId, now: float, why: str = "") -> ProcessFinished:
    """Return the end of an attempt that was stopped before its command was started."""
    exit = NotStarted(126, f"stopped before it started{why}")
    return ProcessFinished(key, exit, True, now, now)


def failed_start(key: AttemptId, error: BaseException, now: float) -> ProcessFinished | StartRejected:
    """Return the end of an attempt that could not be started. Raises an error that is pqrun's own."""
    if isinstance(error, Abandoned):
        return stopped_before(key, now, ": the file system of its files does not respond")
    if isinstance(error, StartError):
        return ProcessFinished(key, NotStarted(error.code, str(error)), False, now, now)
    if isinstance(error, OSError) and error.errno in TRANSIENT_ERRNOS:
        return StartRejected(key, error.strerror or str(error))
    raise error
