# SPDX-License-Identifier: LGPL-3.0-or-later
"""One command as a child process: spawn, read its output, wait, end its tree, reap.

The end of a job is the end of its leader, never the end of a pipe. Its number is never signalled
after it was reaped: peek, signal, sweep, reap last.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from threading import Lock
from typing import NamedTuple

from pqrun.core.job import NOTHING_SAID, Attempt, Exit, Exited, Key, Lost, NotStarted, Said, Signalled, Usage
from pqrun.core.notices import Ended, Grew, Idle, Refused, Started, Told
from pqrun.engine.clock import Clock
from pqrun.engine.executor import Reporter
from pqrun.executors.local.cleanup import LEFTOVER_GRACE, QUIET, Containment, LeftoverWait
from pqrun.executors.local.command import PASSING, Launcher, Unstartable
from pqrun.executors.local.created_file import Creation
from pqrun.executors.local.ownership import Member
from pqrun.executors.local.procfs import UNKILLABLE
from pqrun.executors.local.spawn import LONGEST_FAILURE, Intake, has_ended, signal_name, watch
from pqrun.executors.local.status_file import read_report
from pqrun.executors.local.user_paths import Abandoned
from pqrun.executors.local.watchdog import Warden
from pqrun.output.store import Capture, Logs, Stream

LOOK_AROUND = 2.0
LOOK_AT_REPORT = 1.0
LOOK_WHETHER_IT_ENDED = 0.02
LONGEST_START = 0.2
REAPED = "another part of this program has taken its exit status, or it ignores SIGCHLD"


class Surroundings(NamedTuple):
    """What all children of a run share. `follow`: tell what they print as it comes.

    `prompt`: tell their starts, status and progress as they come too. `peak_of`: most memory that an
    attempt was seen with.
    """

    clock: Clock
    reporter: Reporter
    launcher: Launcher
    logs: Logs
    containment: Containment
    warden: Warden | None = None
    capture: bool = True
    follow: bool = False
    prompt: bool = False
    peak_of: Callable[[Key], int | None] = lambda _key: None


class Child:
    """One attempt at a command. `run` belongs to one slot's thread, `stop` to any."""

    def __init__(self, attempt: Attempt, around: Surroundings) -> None:
        self._attempt = attempt
        self._around = around
        self._lock = Lock()
        self._pid = 0
        self._over = False
        self._asked = False
        self._suspended = False
        self._starting = False
        self._met = False
        self._killed_at: float | None = None
        self._denied = False
        self._ended = False
        self._lost = ""
        self._creation: Creation | None = None
        self.output: Capture | None = None

    @property
    def leader(self) -> int:
        """Its process; 0 before it began and after it was reaped."""
        return 0 if self._over else self._pid

    def stop(self, *, force: bool) -> None:
        """Asks its group to end, or kills it. What has ended already is left alone."""
        with self._lock:
            self._asked = True
            if force and self._killed_at is None:
                self._killed_at = self._around.clock.now()
            if not self._pid or self._over or has_ended(self._pid):
                return
            self._met = True
            name = "SIGKILL" if force else self._attempt.spec.work.signal
            self._signal_group(getattr(signal, name, signal.SIGTERM), signal.SIGCONT)

    def suspend(self, *, stopped: bool) -> None:
        """Stops its group with pqrun, or lets it go on; one that is being started is waited for."""
        self._suspended = stopped
        until = time.monotonic() + LONGEST_START
        while stopped and self._starting and time.monotonic() < until:
            time.sleep(0.001)
        with self._lock:
            if self._pid and not self._over:
                self._signal_group(signal.SIGSTOP if stopped else signal.SIGCONT)

    def run(self, slot: int) -> Ended | Refused:
        """From spawn to reaping; nothing of it is left afterwards."""
        around, attempt = self._around, self._attempt
        now = around.clock.now()
        if self._asked:
            return Ended(attempt.key, NotStarted(126, "stopped before it started"), True, now, now)
        try:
            self._creation = creation = around.launcher.creation(attempt, lambda: self._asked)
        except Abandoned:
            return self._unanswered(now)
        if creation is not None and creation.exists and attempt.key.attempt == 1:  # else it may be half made
            codes = attempt.spec.success_codes
            said = Said(message=f"cached: {creation.name} is there")
            return Ended(attempt.key, Exited(0 if 0 in codes else codes[0]), False, now, now, said=said)
        self._starting = True
        while self._suspended:  # in this order, so that either we see that, or who sets it sees us
            self._starting = False
            time.sleep(LOOK_WHETHER_IT_ENDED)
            self._starting = True
        member = around.launcher.member(attempt, slot)
        around.containment.expect(member)
        pipes: list[int] = []
        try:
            if around.capture:
                pipes += os.pipe()
                pipes += os.pipe()
                around.launcher.check_room(pipes[-1], around.containment.running)
            pid = around.launcher.spawn(attempt, slot, pipes, lambda: self._asked)
        except BaseException as error:
            _close(*pipes)
            around.containment.leave(member)
            self._starting = False
            if isinstance(error, Abandoned):
                return self._unanswered(now)
            if isinstance(error, Unstartable):
                return Ended(attempt.key, NotStarted(error.code, str(error)), False, now, now)
            if isinstance(error, OSError) and error.errno in PASSING:
                return Refused(attempt.key, error.strerror or str(error))
            raise
        around.containment.enter(member, pid)
        _close(*pipes[1::2])
        try:
            return self._attend(member, pipes[::2])
        except BaseException:  # ours to fail with, but not at the price of a job that goes on
            if not self._over:
                self._pid = pid
                self.stop(force=True)
                self._bury(member)
            raise

    def _unanswered(self, began: float) -> Ended:
        """It was told to stop while a disk that it needs kept it waiting."""
        why = NotStarted(126, "stopped before it started: its files do not answer")
        return Ended(self._attempt.key, why, True, began, self._around.clock.now())

    def _attend(self, member: Member, pipes: list[int]) -> Ended:
        around, attempt = self._around, self._attempt
        began = around.clock.now()
        if around.warden is not None:
            around.warden.announce(member.pid, attempt.spec.grace)
        with self._lock:
            self._pid = member.pid
            asked_early, killed_early = self._asked, self._killed_at is not None
        self._starting = False
        if asked_early:
            self.stop(force=killed_early)
        # Else nobody is woken for it: the scheduler looks into its mail when the limit may be over.
        around.reporter.post(Started(attempt.key, began, f"slot {member.slot}"), urgent=around.prompt)
        self.output = capture = Capture(around.logs, attempt.key) if pipes else None
        intake = Intake(pipes, capture, self._grew if around.follow else None)
        try:
            self._read_until_it_ends(intake)
            ended = around.clock.now()
            peak = around.peak_of(attempt.key)
            exit, usage = self._bury(member, intake)
            # Not before nothing is left: what it left may have ended by now, but not without a word.
            intake.drain()
        finally:
            intake.close()
        if intake.lost and not isinstance(exit, Lost):
            exit = Lost(intake.lost)
        if capture is not None:
            told = capture.err.tail() if exit == Exited(255) and capture.err.size <= LONGEST_FAILURE else b""
            if never_ran := around.launcher.never_ran(attempt, told):
                exit, capture, began = never_ran, None, ended
            else:
                capture.finish()
        said = read_report(around.launcher.report_path(attempt.key))
        around.launcher.clean_up(attempt.key, report=said is not NOTHING_SAID)
        stopped = self._met and not isinstance(exit, Lost)
        if self._creation is not None:
            said = self._creation.settle(attempt.spec, exit, said, stopped=stopped)
        usage = usage._replace(memory=peak)
        return Ended(attempt.key, exit, stopped, began, ended, usage, said, capture)

    def _read_until_it_ends(self, intake: Intake) -> None:
        """Takes in output until the leader has ended."""
        around = self._around
        poll = select.poll()
        intake.register(poll)
        end = watch(self._pid)
        if end is not None:
            poll.register(end, select.POLLIN)
        tick = LOOK_AROUND if end is not None else LOOK_WHETHER_IT_ENDED
        if around.prompt:
            tick = min(tick, LOOK_AT_REPORT)
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
                    if not intake.take(fd):
                        poll.unregister(fd)
                if intake.lost and not self._lost:
                    self._lose(intake.lost)
                if self._ended:
                    break
                if idle is not None and now >= heard + idle:
                    around.reporter.post(Idle(self._attempt.key))
                    idle = None
                if now >= look:
                    look = now + tick
                    self._ended = has_ended(self._pid)
                    if self._ended or self._is_unkillable():
                        break
                    around.containment.tidy()
                    if around.warden is not None:
                        around.warden.look()
                    if around.prompt:
                        told = self._tell(told)
        finally:
            if end is not None:
                end.close()

    def _lose(self, why: str) -> None:
        """A disk without room ends the job."""
        self._lost = why
        with self._lock:
            if not has_ended(self._pid):
                self._signal_group(signal.SIGKILL)

    def _grew(self, stream: Stream) -> None:
        self._around.reporter.post(
            Grew(self._attempt.key, stream.number, stream.last_line_end, stream), urgent=True
        )

    def _tell(self, told: str) -> str:
        said = read_report(self._around.launcher.report_path(self._attempt.key))
        now = f"{said.status} {said.progress}"
        if now != told and (said.status is not None or said.progress is not None):
            self._around.reporter.post(Told(self._attempt.key, said.status, said.progress))
        return now

    def _is_unkillable(self) -> bool:
        """Whether it lives on after it was killed: another user's, or for long, stuck in the kernel."""
        killed_at, patience = self._killed_at, 0.0 if self._denied else UNKILLABLE
        return killed_at is not None and self._around.clock.now() > killed_at + patience

    def _bury(self, member: Member, intake: Intake | None = None) -> tuple[Exit, Usage]:
        """Its leader has ended: ends what it leaves, reading what that prints, and reaps it last."""
        around, spec = self._around, self._attempt.spec
        while not self._ended and not has_ended(member.pid):
            if self._is_unkillable():
                around.containment.leave(member)
                why = "not permitted" if self._denied else "it does not die"
                return Lost(f"cannot end it (process {member.pid}): {why}"), Usage()
            time.sleep(LOOK_WHETHER_IT_ENDED)
        grace = spec.grace if self._met else min(spec.grace, LEFTOVER_GRACE)
        around.containment.sweep(
            member,
            grace=grace,
            hurry=lambda: self._killed_at is not None,
            waits=lambda: self._leftover_wait(intake),
        )
        if around.warden is not None:
            around.warden.dismiss(member.pid)
        with self._lock:
            self._over = True
            try:
                _, status, used = os.wait4(member.pid, 0)
            except ChildProcessError:
                return Lost(REAPED), Usage()
            finally:
                around.containment.reaped(member)
        usage = Usage(used.ru_utime, used.ru_stime)
        if os.WIFSIGNALED(status):
            return Signalled(signal_name(os.WTERMSIG(status))), usage
        return Exited(os.WEXITSTATUS(status)), usage

    def _leftover_wait(self, intake: Intake | None) -> LeftoverWait:
        """Only what a job leaves at an end of its own may go on for a moment."""
        quiet = 0.0 if self._met or self._lost or intake is None else QUIET
        if intake is None:
            intake = Intake((), None, None)
        return LeftoverWait(intake, self._around.clock.now, quiet=quiet)

    def _signal_group(self, *numbers: int) -> None:
        """Its leader is not reaped, so the number is its group's."""
        for number in numbers:
            try:
                os.killpg(self._pid, number)
            except ProcessLookupError:
                pass
            except PermissionError:
                self._denied = True


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)
