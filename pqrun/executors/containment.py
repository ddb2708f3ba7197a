# SPDX-License-Identifier: LGPL-3.0-or-later
"""Nothing of a job survives it.

On Linux pqrun is a subreaper: whatever a job leaves behind becomes a child of pqrun's main thread,
so that one read of its list of children tells whether anything is left. What is found belongs to a
job by its session, by the variables that the job got, or, scrubbed of both, to the jobs that ran
when it was born. Nothing is signalled after it was reaped, and only what is ours is reaped.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

LINUX = sys.platform == "linux"
LEFTOVER_GRACE = 2.0
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class Process:
    """What `/proc/PID/stat` says that matters here; `born` in clock ticks since the boot."""

    pid: int
    state: str
    group: int
    session: int
    born: int


def look_at(pid: int) -> Process | None:
    """That process, if there is one."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            text = file.read(4096)
    except OSError:
        return None
    facts = text[text.rfind(b")") + 2 :].split()
    return Process(pid, facts[0].decode(), int(facts[2]), int(facts[3]), int(facts[19]))


def environment_of(pid: int) -> bytes:
    """The variables with which that process was started; empty if they can't be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:
            return b"\0" + file.read(1 << 20)
    except OSError:
        return b""


def children_of(pid: int) -> list[int]:
    """The children of all threads of a process."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb", buffering=0) as file:
                found += map(int, file.read(1 << 20).split())
    return found


def become_subreaper() -> bool:
    """Orphans of our jobs become our children; False where there is no such thing."""
    if not LINUX:
        return False
    import ctypes

    return bool(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


@dataclass(eq=False, slots=True)
class Member:
    """A job's process tree, by its leader, who is also its session and group."""

    pid: int
    marker: bytes
    keep: bool
    born: int = 0


@dataclass(slots=True)
class _Stray:
    """An orphan that shows no sign of its job, and the jobs that ran when it was born."""

    suspects: list[Member] = field(default_factory=list)
    spared: bool = False


class Containment:
    """Finds and ends what jobs leave behind. Call `open` in the main thread, before any job."""

    def __init__(self) -> None:
        self._members: dict[int, Member] = {}
        self._strays: dict[int, _Stray] = {}
        self._spared: set[int] = set()
        self._known: set[int] = set()
        self._quiet = b""
        self._children: int | None = None
        self._lock = threading.Lock()

    def open(self) -> None:
        """From now on orphans of jobs come to us; children that are there already aren't jobs'."""
        if become_subreaper():
            path = f"/proc/self/task/{threading.main_thread().native_id}/children"
            with contextlib.suppress(OSError):
                self._children = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.leave_alone(*self._listed())

    def leave_alone(self, *pids: int) -> None:
        """These children of ours are no jobs'."""
        with self._lock:
            self._known.update(pids)
        self._quiet = self._list() if set(self._listed()) <= self._known else b"?"

    def enter(self, member: Member) -> None:
        """A job's leader runs."""
        self._members[member.pid] = member

    def sweep(self, member: Member, *, grace: float, hurry: Callable[[], bool]) -> int:
        """Ends what is left of a job whose leader has ended and is not reaped; how many it was.

        Asked with TERM at once; killed after `grace` seconds, or when `hurry` says so.
        """
        kill_at = time.monotonic() + grace
        if self._children is None:
            self._members.pop(member.pid, None)
            return self._sweep_group(member, kill_at, hurry)
        if self._list() in (self._quiet, b""):
            self._members.pop(member.pid, None)
            return 0
        seen: set[int] = set()
        asked: set[int] = set()
        pause = 0.001
        while True:
            with self._lock:
                left = self._left_of(member)
                if not left:
                    # Left in the same breath: of two that end together one finds what both leave.
                    self._members.pop(member.pid, None)
                    return len(seen)
                force = hurry() or time.monotonic() >= kill_at
                _end(left, asked, force=force)
                seen.update(left)
            time.sleep(pause)
            pause = min(pause * 1.5, 0.02)

    def close(self, *, grace: float = 0.0) -> int:
        """At the end of the run, whatever is left of any job goes, save what was to be kept."""
        if self._children is None:
            return 0
        kill_at = time.monotonic() + grace
        asked: set[int] = set()
        while True:
            with self._lock:
                left = []
                for pid in self._orphans():
                    stray = self._strays.get(pid)
                    if pid not in self._spared and not (stray and stray.spared):
                        left += [pid, *_descendants(pid)]
                _end(left, asked, force=time.monotonic() >= kill_at)
            if not left:
                os.close(self._children)
                self._children = None
                return len(asked)
            time.sleep(0.002)

    def _list(self) -> bytes:
        return b"" if self._children is None else os.pread(self._children, 1 << 16, 0)

    def _listed(self) -> list[int]:
        return [int(pid) for pid in self._list().split()]

    def _orphans(self) -> list[int]:
        """Our children that are jobs' orphans and live; the dead ones are reaped."""
        alive = []
        for pid in self._listed():
            if pid in self._known or pid in self._members:
                continue
            process = look_at(pid)
            if process is None or process.state in "ZX":
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
                self._strays.pop(pid, None)
                self._spared.discard(pid)
            else:
                alive.append(pid)
        return alive

    def _left_of(self, member: Member) -> list[int]:
        left = []
        for pid in self._orphans():
            if pid in self._spared:
                continue
            process = look_at(pid)
            if process is None:
                continue
            owner = self._owner(process)
            if owner is None:
                if self._suspects_gone(process, member):
                    left.append(pid)
            elif owner.keep:
                self._spared.add(pid)
            elif owner is member:
                left.append(pid)
        for pid in list(left):
            left += _descendants(pid)
        return left

    def _owner(self, process: Process) -> Member | None:
        """The job to which an orphan belongs, if it shows it."""
        member = self._members.get(process.session) or self._members.get(process.group)
        if member is not None:
            return member
        environment = environment_of(process.pid)
        for member in list(self._members.values()):
            if member.marker in environment:
                return member
        return None

    def _suspects_gone(self, process: Process, ending: Member) -> bool:
        """Whether every job that ran when an unmarked orphan was born has ended with this one."""
        stray = self._strays.get(process.pid)
        if stray is None:
            suspects = [m for m in list(self._members.values()) if _born(m) <= process.born]
            stray = self._strays[process.pid] = _Stray(suspects)
        stray.spared = stray.spared or (ending.keep and ending in stray.suspects)
        running = self._members
        others = [m for m in stray.suspects if m is not ending and running.get(m.pid) is m]
        return not others and not stray.spared

    def _sweep_group(self, member: Member, kill_at: float, hurry: Callable[[], bool]) -> int:
        """Without a subreaper: the job's group, which its unreaped leader keeps from being reused."""
        if member.keep:
            return 0
        asked = False
        while _group_lives(member.pid):
            force = hurry() or time.monotonic() >= kill_at
            if force or not asked:
                with contextlib.suppress(OSError):
                    os.killpg(member.pid, signal.SIGKILL if force else signal.SIGTERM)
                    os.killpg(member.pid, signal.SIGCONT)
                asked = True
            if force:
                return 1
            time.sleep(0.01)
        return int(asked)


def _group_lives(group: int) -> bool:
    """Whether more than a zombie is in the group; where the system can't say (not macOS): no."""
    if LINUX:
        return False
    try:
        os.killpg(group, 0)
    except OSError:  # EPERM: nothing but zombies
        return False
    return True


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    waiting = [pid]
    while waiting and len(found) < 100_000:
        more = children_of(waiting.pop())
        found += more
        waiting += more
    return found


def _born(member: Member) -> int:
    """When a job's leader was born, in clock ticks; it is not reaped, so it can be asked."""
    if not member.born:
        process = look_at(member.pid)
        member.born = process.born if process is not None else 0
    return member.born


def _end(pids: list[int], asked: set[int], *, force: bool) -> None:
    """Asks each once, waking what is stopped; or kills."""
    for pid in pids:
        if force:
            _signal(pid, signal.SIGKILL)
        elif pid not in asked:
            _signal(pid, signal.SIGTERM)
            _signal(pid, signal.SIGCONT)
    asked.update(pids)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, number)
