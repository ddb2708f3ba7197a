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

from pqrun.executors.local.cleanup import LOOK_AGAIN, ProcessCleanup
from pqrun.executors.local.leftover_wait import LeftoverWait
from pqrun.executors.local.ownership import JobProcesses
from pqrun.executors.local.procfs import (
    LINUX,
    MAX_EXEC_SECONDS,
    MAX_PIDS_PROBED,
    UNKILLABLE_SECONDS,
    Process,
    all_processes_to_the_newest,
    be_subreaper,
    environment_of,
    is_subreaper,
    newest_pid,
    processes_since,
    read_stat,
    signal_if_same,
)

MIN_PID_WRAP_SECONDS = 0.3


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
        """Return False: only a scan shows leftovers."""
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
            waits().until_closed(hurry, lambda: _left_by(member, entered))
            self._ownership.leave(member)
            return
        LeftoverEnd(member, entered, grace, hurry, waits, reaps=self._adopts).run()
        self._ownership.leave(member)

    def close(self, *, grace: float = 0.0) -> None:
        """Stop being a subreaper, unless the program was one before `open`."""
        if self._adopts and self._unset:
            be_subreaper(wanted=False)


class LeftoverEnd:
    """The end of the leftovers of one job, by repeated scans of all processes.

    `entered`: when the job's leader was started. `reaps`: whether orphans of the job are our children.
    """

    def __init__(
        self,
        member: JobProcesses,
        entered: float,
        grace: float,
        hurry: Callable[[], bool],
        waits: Callable[[], LeftoverWait],
        *,
        reaps: bool,
    ) -> None:
        self._member = member
        self._entered = entered
        self._grace = grace
        self._hurry = hurry
        self._waits = waits
        self._reaps = reaps
        self._wait: LeftoverWait | None = None
        self._began = time.monotonic()
        self._kill_at = inf
        self._signalled: dict[int, Process] = {}

    def run(self) -> None:
        """Signal the leftovers until none is left, or some don't end 5 seconds after they were killed."""
        while True:
            now = time.monotonic()
            try:
                those, executing = _those_of(self._member, self._entered)
                if self._reaps:
                    _reap([*self._signalled.values(), *those])
            except OSError:  # no descriptor or memory is left to list the processes with
                if now >= min(self._kill_at, self._began + self._grace) + UNKILLABLE_SECONDS:
                    return
                time.sleep(0.02)
                continue
            left = [process for process in those if process.is_alive]
            may_appear = executing and now < self._began + MAX_EXEC_SECONDS
            if now >= self._kill_at + UNKILLABLE_SECONDS or not (left or may_appear):
                return
            if left:
                self._signal(left, now)
            else:
                time.sleep(LOOK_AGAIN)

    def _signal(self, left: list[Process], now: float) -> None:
        """Signal the processes unless they may still end by themselves; wait until one has ended."""
        self._wait = wait = self._wait or self._waits()
        force = self._hurry() or now >= self._kill_at
        patient = not force and self._kill_at == inf
        if not (patient and (wait.patient or wait.extend(process.pid for process in left))):
            self._kill_at = min(self._kill_at, now if force else now + self._grace)
            signals = (signal.SIGKILL,) if force else (signal.SIGTERM, signal.SIGCONT)
            for process in left:
                if force or process.pid not in self._signalled:
                    with contextlib.suppress(PermissionError):
                        signal_if_same(process, *signals)
                self._signalled[process.pid] = process
        wait.until_ended(left[0].pid)  # all must end, so waiting for one is enough


def _left_by(member: JobProcesses, entered: float) -> list[int]:
    """Return the pids of a job's leftovers; none if the processes can't be listed."""
    with contextlib.suppress(OSError):
        return [process.pid for process in _those_of(member, entered)[0]]
    return []


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
    few = pid <= newest_pid() < pid + MAX_PIDS_PROBED
    if time.monotonic() - entered < MIN_PID_WRAP_SECONDS and few:
        yield from processes_since(pid)
    else:
        yield from all_processes_to_the_newest()


def _reap(processes: list[Process]) -> None:
    """Reap the processes that are dead by now.

    A process with another parent is skipped: that parent reaps it.
    """
    for process in processes:
        now = read_stat(process.pid)
        if now is not None and now.start_time == process.start_time and not now.is_alive:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process.pid, os.WNOHANG)
