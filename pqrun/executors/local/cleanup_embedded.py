# SPDX-License-Identifier: LGPL-3.0-or-later
"""Nothing of a job survives it, in a program that has children of its own.

Ended and reaped is only what shows whose it is, by session, group, variables or descent. What shows
nothing may be the program's, and is left alone. It becomes a subreaper only if asked to.
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
    """Ends what a job leaves as far as it shows whose it is; the program's other children are not touched.

    Orphans go where they always went, so they are searched for among all processes at a job's end.
    """

    def __init__(self, mark: bytes, kept_mark: bytes) -> None:
        super().__init__(mark, kept_mark)
        self._adopts = self._unset = False
        self._entered: dict[int, float] = {}

    def open(self) -> None:
        """Orphans come to this program, if it wants that; only ours are reaped."""
        self._unset = not is_subreaper()
        self._adopts = be_subreaper()

    def adopt(self, start: Callable[[], int], *, instead_of: int = 0) -> int:
        """No sweep takes a child without a sign for a job's."""
        return start()

    def enter(self, member: JobProcesses, pid: int) -> None:
        """A job's leader runs."""
        self._entered[pid] = time.monotonic()
        super().enter(member, pid)

    def leave(self, member: JobProcesses) -> None:
        """It could not be started, or not be ended."""
        self._entered.pop(member.pid, None)
        super().leave(member)

    def reap_orphans(self) -> None:
        """What ends by itself meanwhile is reaped when its job ends."""

    def end_leftovers(
        self,
        member: JobProcesses,
        *,
        grace: float,
        hurry: Callable[[], bool],
        waits: Callable[[], LeftoverWait],
    ) -> None:
        """Ends what is left of a job whose leader has ended and is not reaped."""
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
            except OSError:  # the living can't be listed, for want of descriptors or memory
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
            wait.until_ended(left[0].pid)  # all of them must end, so that one is enough to wait for
        self._ownership.leave(member)

    def close(self, *, grace: float = 0.0) -> None:
        """Orphans go where they went before."""
        if self._adopts and self._unset:
            be_subreaper(wanted=False)


def _those_of(member: JobProcesses, entered: float) -> tuple[list[Process], bool]:
    """What there is of a job: in its session or group, with its mark, and below those; not its leader.

    And whether there may be more of it, for some process does not show its variables yet.
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
    """All processes that may have been born after that one, which was at the time `entered`.

    Numbers are given out in turn: the few after its own, if there was no time to come round again.
    """
    newest = newest_pid()
    number = pid + 1
    if not (time.monotonic() - entered < MIN_PID_WRAP_SECONDS and pid <= newest < pid + MAX_PIDS_PROBED):
        yield from all_processes()
        number, newest = newest + 1, newest_pid()
    # One that has forked and ended since the last look has left its child among the newest.
    while number <= newest < number + MAX_PIDS_PROBED:
        with contextlib.suppress(OSError):
            if process := read_stat(number):
                yield process
        number += 1
        if number > newest:
            newest = newest_pid()


def _reap(processes: list[Process]) -> None:
    """As a subreaper: those that are dead by now. Some have another parent, who does it himself."""
    for process in processes:
        now = read_stat(process.pid)
        if now is not None and now.start_time == process.start_time and not now.is_alive:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process.pid, os.WNOHANG)
