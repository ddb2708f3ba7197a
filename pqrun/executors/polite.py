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

from pqrun.executors.containment import Containment
from pqrun.executors.kinship import Member
from pqrun.executors.processes import (
    LINUX,
    UNKILLABLE,
    Process,
    all_processes,
    be_subreaper,
    environment_of,
    is_subreaper,
    look_at,
    send,
)

TOO_SHORT_TO_COME_ROUND = 0.3
MOST_IN_TURN = 300


class PoliteContainment(Containment):
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

    def enter(self, member: Member, pid: int) -> None:
        """A job's leader runs."""
        self._entered[pid] = time.monotonic()
        super().enter(member, pid)

    def leave(self, member: Member) -> None:
        """It could not be started, or not be ended."""
        self._entered.pop(member.pid, None)
        super().leave(member)

    def tidy(self) -> None:
        """What ends by itself meanwhile is reaped when its job ends."""

    def sweep(self, member: Member, *, grace: float, hurry: Callable[[], bool]) -> int:
        """Ends what is left of a job whose leader has ended and is not reaped; how many it was."""
        entered = self._entered.pop(member.pid, 0.0)
        if not LINUX:
            return super().sweep(member, grace=grace, hurry=hurry)
        kill_at = time.monotonic() + grace
        ended: dict[int, Process] = {}
        while not member.keep:
            now = time.monotonic()
            force = hurry() or now >= kill_at
            try:
                those = _those_of(member, entered)
                if self._adopts:
                    _reap([*ended.values(), *those])
            except OSError:  # it can't be seen who lives, for want of descriptors or memory
                if now >= kill_at + UNKILLABLE:
                    break
                time.sleep(0.02)
                continue
            left = [process for process in those if process.lives]
            if not left or now >= kill_at + UNKILLABLE:
                break
            for process in left:
                if force or process.pid not in ended:
                    with contextlib.suppress(PermissionError):
                        send(process, *((signal.SIGKILL,) if force else (signal.SIGTERM, signal.SIGCONT)))
                ended[process.pid] = process
            time.sleep(0.005)
        self._kin.leave(member)
        return len(ended)

    def close(self, *, grace: float = 0.0) -> int:
        """Orphans go where they went before."""
        if self._adopts and self._unset:
            be_subreaper(wanted=False)
        return 0


def _those_of(member: Member, entered: float) -> list[Process]:
    """What there is of a job: in its session or group, with its mark, and below those; not its leader."""
    leader = look_at(member.pid)
    born = leader.born if leader is not None else 0
    found: dict[int, Process] = {}
    others: list[Process] = []
    for process in _born_since(member.pid, entered):
        if process.pid == member.pid or process.born < born:
            continue
        if member.pid in (process.session, process.group) or _marked(process, member.mark):
            found[process.pid] = process
        else:
            others.append(process)
    grew = bool(found)
    while grew:
        below = [process for process in others if process.parent in found and process.pid not in found]
        found.update((process.pid, process) for process in below)
        grew = bool(below)
    return list(found.values())


def _born_since(pid: int, entered: float) -> Iterator[Process]:
    """All processes that may have been born after that one, which was at the time `entered`.

    Numbers are given out in turn: the few after its own, if there was no time to come round again.
    """
    last = 0
    if time.monotonic() - entered < TOO_SHORT_TO_COME_ROUND:
        with contextlib.suppress(OSError, ValueError), open("/proc/loadavg", "rb", buffering=0) as file:
            last = int(file.read(256).split()[-1])
    if pid <= last < pid + MOST_IN_TURN:
        for number in range(pid + 1, last + 1):
            if process := look_at(number):
                yield process
    else:
        yield from all_processes()


def _reap(processes: list[Process]) -> None:
    """As a subreaper: those that are dead by now. Some have another parent, who does it himself."""
    for process in processes:
        now = look_at(process.pid)
        if now is not None and now.born == process.born and not now.lives:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process.pid, os.WNOHANG)


def _marked(process: Process, mark: bytes) -> bool:
    return mark in environment_of(process.pid)
