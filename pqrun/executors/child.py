# SPDX-License-Identifier: LGPL-3.0-or-later
"""One command as a child process: spawn, read its output, wait, end its tree, reap.

The end of a job is the end of its leader, never the end of a pipe. Its number is never signalled
after it was reaped: peek, signal, sweep, reap last.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
from dataclasses import dataclass
from fcntl import ioctl
from termios import FIONREAD
from threading import Lock

from pqrun.capture import Capture, Logs, Stream
from pqrun.clock import Clock
from pqrun.errors import OwnFailure
from pqrun.executors import Reporter
from pqrun.executors.containment import LEFTOVER_GRACE, Containment
from pqrun.executors.launch import Launcher, Unstartable
from pqrun.executors.report import read_report
from pqrun.executors.spawn import LONGEST_FAILURE, signal_name
from pqrun.executors.warden import Warden
from pqrun.model import Attempt, Exit, Exited, Lost, NotStarted, Signalled, Usage
from pqrun.news import Ended, Grew, Idle, Refused, Started, Told

SCARCE = {errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
LOOK_AT_REPORT = 1.0


@dataclass
class Surroundings:
    """What all children of a run share. `follow`: tell status, progress and output as they come."""

    clock: Clock
    reporter: Reporter
    launcher: Launcher
    logs: Logs
    containment: Containment
    warden: Warden | None = None
    capture: bool = True
    follow: bool = False


class Child:
    """One attempt at a command. `run` belongs to one slot's thread, `stop` to any."""

    def __init__(self, attempt: Attempt, around: Surroundings) -> None:
        self._attempt = attempt
        self._around = around
        self._lock = Lock()
        self._pid = 0
        self._over = False
        self._asked = False
        self._forced = False
        self._met = False
        self._lost = ""
        self.output: Capture | None = None

    def stop(self, *, force: bool) -> None:
        """Asks its group to end, or kills it. What has ended already is left alone."""
        with self._lock:
            self._asked = True
            self._forced = self._forced or force
            if not self._pid or self._over or _has_ended(self._pid):
                return
            self._met = True
            name = "SIGKILL" if force else self._attempt.spec.work.signal
            self._signal_group(getattr(signal, name, signal.SIGTERM), signal.SIGCONT)

    def suspend(self, *, stopped: bool) -> None:
        """Stops its group with pqrun, or lets it go on."""
        with self._lock:
            if self._pid and not self._over:
                self._signal_group(signal.SIGSTOP if stopped else signal.SIGCONT)

    def run(self, slot: int) -> Ended | Refused:
        """From spawn to reaping; nothing of it is left afterwards."""
        around, attempt = self._around, self._attempt
        now = around.clock.now()
        if self._asked:
            return Ended(attempt.key, NotStarted(126, "stopped before it started"), True, now, now)
        pipes: list[int] = []
        try:
            if around.capture:
                pipes += os.pipe()
                pipes += os.pipe()
                around.launcher.check_room(pipes[-1])
            pid = around.launcher.spawn(attempt, slot, pipes)
        except Unstartable as error:
            _close(*pipes)
            return Ended(attempt.key, NotStarted(error.code, str(error)), False, now, now)
        except OSError as error:
            _close(*pipes)
            if error.errno in SCARCE:
                return Refused(attempt.key, error.strerror or str(error))
            raise
        _close(*pipes[1::2])
        return self._attend(pid, slot, pipes[::2])

    def _attend(self, pid: int, slot: int, pipes: list[int]) -> Ended:
        around, attempt = self._around, self._attempt
        spec = attempt.spec
        began = around.clock.now()
        member = around.launcher.member(attempt, pid)
        around.containment.enter(member)
        if around.warden is not None:
            around.warden.announce(pid, spec.grace)
        with self._lock:
            self._pid = pid
            asked_early, forced = self._asked, self._forced
        if asked_early:
            self.stop(force=forced)
        # Nobody is woken for it: the scheduler looks into its mail when the limit may be over.
        around.reporter.post(Started(attempt.key, began, f"slot {slot}"), urgent=False)

        self.output = capture = Capture(around.logs, attempt.key) if pipes else None
        self._read_until_it_ends(pid, pipes, capture)
        ended = around.clock.now()
        grace = spec.grace if self._met else min(spec.grace, LEFTOVER_GRACE)
        around.containment.sweep(member, grace=grace, hurry=lambda: self._forced)
        exit, usage = self._reap()
        if around.warden is not None:
            around.warden.dismiss(pid)
        if capture is not None:
            if exit == Exited(255) and capture.err.size <= LONGEST_FAILURE:
                if never_ran := around.launcher.never_ran(attempt, capture.err.tail()):
                    exit, capture = never_ran, None
                    began = ended
            if capture is not None:
                capture.finish()
        said = read_report(around.launcher.report_path(attempt.key))
        around.launcher.clean_up(attempt.key)
        return Ended(
            attempt.key, Lost(self._lost) if self._lost else exit, self._met and not self._lost,
            began, ended, usage, said, capture,
        )  # fmt: skip

    def _read_until_it_ends(self, pid: int, pipes: list[int], capture: Capture | None) -> None:
        """Takes in output until the leader has ended, then what the pipes still hold."""
        spec = self._attempt.spec
        around = self._around
        poll = select.poll()
        open_streams: dict[int, Stream] = {}
        if capture is not None:
            for fd, stream in zip(pipes, (capture.out, capture.err), strict=True):
                poll.register(fd, select.POLLIN)
                open_streams[fd] = stream
        watch = _watch(pid)
        if watch is not None:
            poll.register(watch, select.POLLIN)
        idle = spec.idle_timeout
        heard = around.clock.now()
        tick = None if watch is not None else 0.02
        if around.follow:
            tick = LOOK_AT_REPORT if tick is None else tick
        told = ""
        try:
            while True:
                wait = tick
                if idle is not None:
                    left = max(0.0, heard + idle - around.clock.now())
                    wait = left if wait is None else min(wait, left)
                ready = poll.poll(None if wait is None else wait * 1000 + 1)
                for fd, _ in ready:
                    if fd == watch:
                        continue
                    heard = around.clock.now()
                    if not self._take(fd, open_streams[fd]):
                        poll.unregister(fd)
                        del open_streams[fd]
                if watch is not None:
                    if any(fd == watch for fd, _ in ready):
                        break
                elif _has_ended(pid):
                    break
                if idle is not None and around.clock.now() >= heard + idle:
                    around.reporter.post(Idle(self._attempt.key))
                    idle = None
                if around.follow and not ready:
                    told = self._tell(told)
            for fd, stream in open_streams.items():
                self._drain(fd, stream)
        finally:
            _close(*pipes, *([] if watch is None else [watch]))

    def _take(self, fd: int, stream: Stream, limit: int = 1 << 20) -> int:
        """Moves some output; a disk without room ends the job, and is told."""
        if self._lost:
            return len(os.read(fd, 65536))
        try:
            moved = stream.take(fd, limit=limit, by_line=self._around.follow)
        except OwnFailure:
            raise
        except OSError as error:
            self._lost = f"cannot write its output to {stream.path}: {error.strerror}"
            with self._lock:
                if not _has_ended(self._pid):
                    self._signal_group(signal.SIGKILL)
            return len(os.read(fd, 65536)) if self._holds(fd) else 1
        if self._around.follow and stream.last_line_end:
            self._around.reporter.post(
                Grew(self._attempt.key, stream.number, stream.last_line_end, stream), urgent=True
            )
        return moved

    def _drain(self, fd: int, stream: Stream) -> None:
        """What the pipe holds now; who else may still have it open is not waited for."""
        left = self._holds(fd)
        while left > 0:
            moved = self._take(fd, stream, limit=min(left, 1 << 20))
            if not moved:
                return
            left -= moved

    @staticmethod
    def _holds(fd: int) -> int:
        return int.from_bytes(ioctl(fd, FIONREAD, b"\0\0\0\0"), "little")

    def _tell(self, told: str) -> str:
        said = read_report(self._around.launcher.report_path(self._attempt.key))
        now = f"{said.status} {said.progress}"
        if now != told and (said.status is not None or said.progress is not None):
            self._around.reporter.post(Told(self._attempt.key, said.status, said.progress))
        return now

    def _reap(self) -> tuple[Exit, Usage]:
        with self._lock:
            self._over = True
            _, status, used = os.wait4(self._pid, 0)
        usage = Usage(used.ru_utime, used.ru_stime)
        if os.WIFSIGNALED(status):
            return Signalled(signal_name(os.WTERMSIG(status))), usage
        return Exited(os.WEXITSTATUS(status)), usage

    def _signal_group(self, *numbers: int) -> None:
        """Its leader is not reaped, so the number is its group's."""
        for number in numbers:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, number)


def _has_ended(pid: int) -> bool:
    """Peeks, without reaping."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _watch(pid: int) -> int | None:
    """A descriptor that is readable when the process has ended; None: look from time to time."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)
