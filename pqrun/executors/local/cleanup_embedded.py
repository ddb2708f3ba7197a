# SPDX-License-Identifier: LGPL-3.0-or-later
"""The cleanup of leftovers in a process that has other children too, or that can't be a subreaper.

A process is ended and reaped only if its session, process group, environment or parent shows that it
belongs to a job. All other processes may belong to the host program and are left alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from math import inf

from pqrun.executors.local.cleanup import LOOK_AGAIN, LeftoverWait, ProcessCleanup
from pqrun.executors.local.ownership import JobProcesses
from pqrun.executors.local.procfs import (
    LINUX,
    MAX_EXEC_SECONDS,
    UNKILLABLE,
    Process,
    all_processes,
    be_subreaper,
    environment_of,
    is_subreaper,
    newest_pid,
    read_stat,
    signal_if_same,
)

MIN_PID_WRAP_SECONDS = 0.3
MAX_PIDS_PROBED = 300


class ScanningCleanup(ProcessCleanup):
    """A cleanup that scans all processes for the leftovers of a job when the job ends.

    It never touches other children of this program. The program becomes a subreaper only by `open`.
    """

    def __init__(self, mark: bytes, kept_mark: bytes) -> None:
        super().__init__(mark, kept_mark)
        self._adopts = self._unset = False
        self._entered: dict[int, float] = {}

    def open(self) -> None:
        """Become a subreaper, so that this program can reap the orphans of jobs."""
        self._unset = not is_subreaper()
        self._adopts = be_subreaper()

    def adopt(self, start: Callable[[], int], *, instead_of: int = 0) -> int:
        """Start a child and return its pid. No note is needed: without a marker no scan matches it."""
        return start()

    def enter(self, member: JobProcesses, pid: int) -> None:
        """Note that the job's leader runs as `pid`, and since when."""
        self._entered[pid] = time.monotonic()
        super().enter(member, pid)

    def leave(self, member: JobProcesses) -> None:
        """Unregister a job that could not be started, or whose leader could not be ended."""
        self._entered.pop(member.pid, None)
        super().leave(member)

    def leave_if_calm(self, member: JobProcesses) -> bool:
        """Return False: only a scan shows what is left."""
        return False

    def reap_orphans(self) -> None:
        """Do nothing: orphans that end while their job runs are reaped when the job ends."""

    def end_leftovers(
        self,
        member: JobProcesses,
        *,
        grace: float,
        hurry: Callable[[], bool],
        waits: Callable[[], LeftoverWait],
    ) -> None:
        """End the leftovers of a job whose leader has ended and is not reaped yet."""
        entered = self._entered.pop(member.pid, 0.0)
        if not LINUX:
            super().end_leftovers(member, grace=grace, hurry=hurry, waits=waits)
            return
        if member.keep:
            waits().until_closed(hurry)
            self._ownership.leave(member)
            return
        wait: LeftoverWait | None = None
        kill_at = inf
        ended: dict[int, Process] = {}
        began = time.monotonic()
        while True:
            now = time.monotonic()
            try:
                those, executing = _those_of(member, entered)
                if self._adopts:
                    _reap([*ended.values(), *those])
            except OSError:  # no descriptor or memory is left to list the processes with
                if now >= min(kill_at, began + grace) + UNKILLABLE:
                    break
                time.sleep(0.02)
                continue
            left = [process for process in those if process.is_alive]
            if now >= kill_at + UNKILLABLE or not (left or (executing and now < began + MAX_EXEC_SECONDS)):
                break
            if not left:
                time.sleep(LOOK_AGAIN)
                continue
            wait = wait or waits()
            force = hurry() or now >= kill_at
            if force or not wait.patient:
                kill_at = min(kill_at, now if force else now + grace)
                for process in left:
                    if force or process.pid not in ended:
                        with contextlib.suppress(PermissionError):
                            signal_if_same(
                                process, *((signal.SIGKILL,) if force else (signal.SIGTERM, signal.SIGCONT))
                            )
                    ended[process.pid] = process
            wait.until_ended(left[0].pid)  # all must end, so waiting for one is enough
        self._ownership.leave(member)

    def close(self, *, grace: float = 0.0) -> None:
        """Stop being a subreaper, unless the program was one before `open`."""
        if self._adopts and self._unset:
            be_subreaper(wanted=False)


def _those_of(member: JobProcesses, entered: float) -> tuple[list[Process], bool]:
    """Find the processes of a job, without its leader.

    They are in its session or group, carry its marker, or descend from such a process. Also returns whether a
    process is in the middle of an exec and so does not show its environment yet: it may belong to the job
    too.
    """
    leader = read_stat(member.pid)
    born = leader.start_time if leader is not None else 0
    found: dict[int, Process] = {}
    others: list[Process] = []
    executing = False
    for process in _born_since(member.pid, entered):
        if process.pid == member.pid or process.start_time < born:
            continue
        environment: bytes | None = b""
        theirs = member.pid in (process.session, process.group)
        if not theirs:
            with contextlib.suppress(OSError):
                environment = environment_of(process.pid)
        if theirs or member.marker in (environment or b""):
            found[process.pid] = process
        else:
            others.append(process)
            executing = executing or environment is None
    grew = bool(found)
    while grew:
        below = [process for process in others if process.parent in found and process.pid not in found]
        found.update((process.pid, process) for process in below)
        grew = bool(below)
    return list(found.values()), executing


def _born_since(pid: int, entered: float) -> Iterator[Process]:
    """Yield all processes that may have been born after `pid`, which started at time `entered`.

    Pids are given out in ascending order. If too little time has passed for the numbers to wrap around, the
    few pids after `pid` are probed; otherwise all processes are listed.
    """
    newest = newest_pid()
    number = pid + 1
    if not (time.monotonic() - entered < MIN_PID_WRAP_SECONDS and pid <= newest < pid + MAX_PIDS_PROBED):
        yield from all_processes()
        number, newest = newest + 1, newest_pid()
    # A process that forked and ended during this scan has left a child among the newest pids.
    while number <= newest < number + MAX_PIDS_PROBED:
        with contextlib.suppress(OSError):
            if process := read_stat(number):
                yield process
        number += 1
        if number > newest:
            newest = newest_pid()


def _reap(processes: list[Process]) -> None:
    """Reap the processes that are dead by now.

    A process with another parent is skipped: that parent reaps it.
    """
    for process in processes:
        now = read_stat(process.pid)
        if now is not None and now.start_time == process.start_time and not now.is_alive:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process.pid, os.WNOHANG)
