# SPDX-License-Identifier: LGPL-3.0-or-later
"""The owner of an orphan: the job that its session, group, the marker in its environment or its tag shows.

An orphan that shows none of these may belong to any job that was running when the orphan was born; these
jobs are its candidates.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from pqrun.executors.local.procfs import LINUX, MAX_EXEC_SECONDS, Process, environment_of, read_stat

_LOW_BITS, _LOW_SHIFT = 0x1FF, 8
_HIGH_BITS, _HIGH_SHIFT = 0x7, 28
_MEANINGLESS = _LOW_BITS << _LOW_SHIFT | _HIGH_BITS << _HIGH_SHIFT
_TELL = 0xFFFFFFFF
MAX_TAGGED_SLOTS = (_HIGH_BITS + 1) * (_LOW_BITS + 1) - 1


def markers(token: str) -> tuple[bytes, bytes]:
    """Return two marker prefixes: for jobs whose leftovers are ended, and for jobs that may keep them."""
    return b"/%b." % token.encode(), b"/%b-kept." % token.encode()


class JobProcesses:
    """The processes of a job.

    `pid`: the leader, whose pid is also the number of the job's session and group; 0 before the start.
    `marker`: in the environment of all the job's processes, unless a program removes it. `keep`: the
    leftovers may stay. `over`: the job has ended.
    """

    pid = 0
    born = 0
    over = False

    def __init__(self, mark: bytes, keep: bool, slot: int) -> None:
        self.marker = mark
        self.keep = keep
        self.slot = slot


class Orphan:
    """A child of pqrun that a job has left behind.

    `owner`: the job, if known. `candidates`: the possible jobs if there is no sign. `identified`: False while
    the process may be in the middle of an exec, where it shows no environment yet. `seen`: when it was found.
    `spared`: not to be ended. `asked`: got SIGTERM. `killed`: got SIGKILL. `denied`: the signal was refused.
    """

    __slots__ = ("asked", "candidates", "denied", "identified", "killed", "owner", "pid", "seen", "spared")

    def __init__(
        self,
        pid: int,
        seen: float,
        owner: JobProcesses | None = None,
        suspects: list[JobProcesses] | None = None,
        *,
        clear: bool = True,
    ) -> None:
        self.pid = pid
        self.seen = seen
        self.owner = owner
        self.candidates = suspects or []
        self.identified = clear
        self.spared = self.asked = self.killed = self.denied = False

    def belongs_to(self, ending: JobProcesses) -> bool:
        """Say whether the orphan has to end together with the job `ending`."""
        if self.spared or not self.identified:
            return False
        if self.owner is not None:
            return self.owner is ending or self.owner.over
        return all(suspect is ending or suspect.over for suspect in self.candidates)

    def may_end_by_itself(self, ending: JobProcesses | None) -> bool:
        """Say whether the orphan has the time to end by itself that the job `ending` gives its leftovers."""
        return ending is not None and self.owner in (None, ending)


class ProcessOwnership:
    """The running jobs, and what is known about the owners of orphans."""

    def __init__(self, mark: bytes, kept_mark: bytes) -> None:
        self._marker = mark
        self._kept_marker = kept_mark
        self._by_marker: dict[bytes, JobProcesses] = {}
        self._by_pid: dict[int, JobProcesses] = {}
        self._by_slot: dict[int, JobProcesses] = {}
        self._tags = SlotTags()
        self._leaders: set[int] = set()
        self._claims: dict[int, tuple[int, JobProcesses]] = {}
        self._kept_sessions: set[int] = set()
        self._gone = JobProcesses(b"", keep=False, slot=0)
        self._kept = JobProcesses(b"", keep=True, slot=0)
        self._gone.over = self._kept.over = True

    def __len__(self) -> int:
        return len(self._by_marker)

    def open(self) -> None:
        """Find out which tags can be set here."""
        self._tags.open()

    def expect(self, member: JobProcesses) -> None:
        """Register a job that the calling thread is about to spawn."""
        # A process that may stay must not look like one of a later job in the same slot.
        self._tags.set_slot(0 if member.keep else member.slot)
        self._by_marker[member.marker] = member
        self._by_slot[member.slot] = member

    def enter(self, member: JobProcesses, pid: int) -> None:
        """Note that the job's leader runs as `pid`."""
        self._leaders.add(pid)
        member.pid = pid
        self._by_pid[pid] = member
        self._kept_sessions.discard(pid)

    def leave(self, member: JobProcesses) -> None:
        """Mark the job as over. Orphans of the job that appear later have no living owner."""
        member.over = True
        self._by_marker.pop(member.marker, None)
        self._by_pid.pop(member.pid, None)
        if self._by_slot.get(member.slot) is member:
            del self._by_slot[member.slot]
        if member.keep and member.pid:
            self._kept_sessions.add(member.pid)

    def reaped(self, member: JobProcesses) -> None:
        """Forget the leader's pid, which the kernel may now give to another process."""
        self._leaders.discard(member.pid)

    def leave_all(self) -> None:
        """Mark all jobs as over, at the end of the run."""
        for member in list(self._by_marker.values()):
            self.leave(member)
        self._leaders.clear()

    def drop_claims(self, member: JobProcesses) -> None:
        """Forget the inherited owners of processes of this job, since all of them have gone."""
        if self._claims:
            self._claims = {pid: claim for pid, claim in self._claims.items() if claim[1] is not member}

    def leads(self, pid: int) -> bool:
        """Say whether `pid` is a job's leader, alive or not yet reaped."""
        return pid in self._leaders

    @property
    def awaits_leaders(self) -> bool:
        """Whether a job may have a leader whose pid is not known yet."""
        return any(not member.pid for member in list(self._by_marker.values()))

    def inherit(self, process: Process, orphan: Orphan) -> None:
        """Note that a descendant of an orphan has the same owner.

        The note counts when the descendant becomes an orphan itself.
        """
        if orphan.owner is not None:
            self._claims[process.pid] = (process.start_time, orphan.owner)

    def identify_owner(self, process: Process, known: Orphan | None) -> Orphan:
        """Find the owner of an orphan.

        `known`: the orphan as an earlier scan left it unidentified, None if it is new. Raises OSError if no
        descriptor is left to read /proc with.
        """
        now = time.monotonic()
        orphan = known or Orphan(process.pid, now)
        orphan.owner = self._by_place(process)
        if not process.is_alive:
            return orphan
        if orphan.owner is None:
            environment = environment_of(process.pid)
            orphan.owner = self._by_variables(environment or b"") or self._by_tag(process.pid)
            orphan.identified = (
                bool(orphan.owner) or environment is not None or now - orphan.seen > MAX_EXEC_SECONDS
            )
        if orphan.owner is not None:
            orphan.spared = orphan.owner.keep
        elif not known:
            orphan.candidates = [m for m in list(self._by_marker.values()) if _born(m) <= process.start_time]
        if orphan.owner is None and orphan.identified:
            # Without a candidate the orphan is older than every running job. The cleanup of the job that left
            # it has already dealt with it.
            orphan.spared = not orphan.candidates or any(suspect.keep for suspect in orphan.candidates)
        return orphan

    def _by_place(self, process: Process) -> JobProcesses | None:
        claim = self._claims.get(process.pid)
        if claim is not None and claim[0] == process.start_time:
            return claim[1]
        member = self._by_pid.get(process.session) or self._by_pid.get(process.group)
        if member is None and process.session in self._kept_sessions:
            return self._kept
        return member

    def _by_variables(self, environment: bytes) -> JobProcesses | None:
        at = environment.find(self._marker)
        if at >= 0:
            mark = environment[at : environment.find(b"/", at + 1) + 1]
            return self._by_marker.get(mark, self._gone)
        return self._kept if self._kept_marker in environment else None

    def _by_tag(self, pid: int) -> JobProcesses | None:
        slot = self._tags.slot_of(pid)
        return self._by_slot.get(slot, self._gone) if slot else None


def _born(member: JobProcesses) -> int:
    """Return when a job's leader was born, in clock ticks since boot.

    Returns 0 while its pid is unknown, because the job may already have left a child.
    """
    if not member.born and member.pid:
        process = read_stat(member.pid)
        member.born = process.start_time if process is not None else 0
    return member.born


class SlotTags:
    """Tags of threads: the number of a slot, which a process keeps when it leaves its session and its environment.

    Linux has a personality word for each thread, inherited over fork and exec, and shows it in
    `/proc/PID/personality`. Bits without a meaning hold the number. A chain of short processes, each of which is in
    the middle of an exec when its environment is read, is recognized by this tag alone. Where the word can't be set,
    or a filter of system calls might object, there are no tags.
    """

    def __init__(self) -> None:
        self._set: Callable[[int], int] | None = None
        self._thread = threading.local()

    def open(self) -> None:
        """Find out whether tags can be set here."""
        if LINUX:
            with contextlib.suppress(OSError, AttributeError):
                self._set = _usable_personality()

    def set_slot(self, slot: int) -> None:
        """Tag the calling thread with the number of a slot; 0 removes the tag."""
        if self._set is None or getattr(self._thread, "slot", 0) == slot:
            return
        tag = slot if slot <= MAX_TAGGED_SLOTS else 0
        self._set((self._set(_TELL) & _TELL & ~_MEANINGLESS) | _spread(tag))
        self._thread.slot = slot

    def slot_of(self, pid: int) -> int:
        """Return the slot in which a process was started, 0 if it is unknown."""
        if self._set is None:
            return 0
        with contextlib.suppress(OSError, ValueError):
            return _gather(_read_personality(pid))
        return 0


def _usable_personality() -> Callable[[int], int] | None:
    with open("/proc/self/status", encoding="utf-8", errors="replace") as status:
        if any(line.startswith("Seccomp:") and line.split()[1] != "0" for line in status):
            return None
    import ctypes

    personality: Callable[[int], int] = ctypes.CDLL(None, use_errno=True).personality
    before = personality(_TELL) & _TELL
    if before & _MEANINGLESS:
        return None  # another pqrun's, above this one: it relies on its own
    personality(before | _spread(MAX_TAGGED_SLOTS))
    try:
        told = _gather(_read_personality("thread-self"))
    finally:
        personality(before)
    return personality if told == MAX_TAGGED_SLOTS else None


def _read_personality(pid: int | str) -> int:
    with open(f"/proc/{pid}/personality", "rb", buffering=0) as file:
        return int(file.read(64), 16)


def _spread(tag: int) -> int:
    return (tag & _LOW_BITS) << _LOW_SHIFT | (tag >> 9 & _HIGH_BITS) << _HIGH_SHIFT


def _gather(word: int) -> int:
    return (word >> _LOW_SHIFT & _LOW_BITS) | (word >> _HIGH_SHIFT & _HIGH_BITS) << 9
