# SPDX-License-Identifier: LGPL-3.0-or-later
"""Whose an orphan is: the job's in whose session it is, whose variables it carries.

One that shows none of these may be any job's that ran when it was born: these are its suspects.
"""

from __future__ import annotations

import time

from pqrun.executors.local.procfs import MAX_EXEC_SECONDS, Process, environment_of, read_stat


def markers(token: str) -> tuple[bytes, bytes]:
    """How a process's jobs begin theirs: those of which nothing may stay, and those that may leave some."""
    return b"/%b." % token.encode(), b"/%b-kept." % token.encode()


class JobProcesses:
    """A job's process tree. `pid` is its leader, who is also its session and group; 0 before it runs.

    `mark` is in the environment of all of it, unless they scrub it; `keep`: what it leaves may stay.
    """

    __slots__ = ("born", "keep", "marker", "over", "pid", "slot")

    def __init__(self, mark: bytes, keep: bool, slot: int, *, over: bool = False) -> None:
        self.marker = mark
        self.keep = keep
        self.slot = slot
        self.pid = 0
        self.born = 0
        self.over = over


class Orphan:
    """A child of ours that a job has left. `owner` is its job, if it shows it.

    Not `clear`: it may be just executing a program, so that there is nothing to be seen yet.
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
        """Whether it goes with a job that ends."""
        if self.spared or not self.identified:
            return False
        if self.owner is not None:
            return self.owner is ending or self.owner.over
        return all(suspect is ending or suspect.over for suspect in self.candidates)

    def may_end_by_itself(self, ending: JobProcesses | None) -> bool:
        """Whether it has the time that leftovers of a job that ends are given."""
        return ending is not None and self.owner in (None, ending)


class ProcessOwnership:
    """The jobs that run, and what is known of who belongs to whom."""

    def __init__(self, mark: bytes, kept_mark: bytes) -> None:
        self._marker = mark
        self._kept_marker = kept_mark
        self._by_marker: dict[bytes, JobProcesses] = {}
        self._by_pid: dict[int, JobProcesses] = {}
        self._leaders: set[int] = set()
        self._claims: dict[int, tuple[int, JobProcesses]] = {}
        self._kept_sessions: set[int] = set()
        self._gone = JobProcesses(b"", keep=False, slot=0, over=True)
        self._kept = JobProcesses(b"", keep=True, slot=0, over=True)

    def __len__(self) -> int:
        return len(self._by_marker)

    def expect(self, member: JobProcesses) -> None:
        """What the calling thread starts from now on is that job's."""
        self._by_marker[member.marker] = member

    def enter(self, member: JobProcesses, pid: int) -> None:
        """Its leader runs."""
        self._leaders.add(pid)
        member.pid = pid
        self._by_pid[pid] = member
        self._kept_sessions.discard(pid)

    def leave(self, member: JobProcesses) -> None:
        """It is over: whatever of it shows up now is nobody's."""
        member.over = True
        self._by_marker.pop(member.marker, None)
        self._by_pid.pop(member.pid, None)
        if member.keep and member.pid:
            self._kept_sessions.add(member.pid)

    def reaped(self, member: JobProcesses) -> None:
        """Its leader's number may be another's now."""
        self._leaders.discard(member.pid)

    def leave_all(self) -> None:
        """The run is over."""
        for member in list(self._by_marker.values()):
            self.leave(member)
        self._leaders.clear()

    def drop_claims(self, member: JobProcesses) -> None:
        """All that was claimed for it has gone."""
        if self._claims:
            self._claims = {pid: claim for pid, claim in self._claims.items() if claim[1] is not member}

    def leads(self, pid: int) -> bool:
        """Whether it is a job's leader, alive or not yet reaped."""
        return pid in self._leaders

    @property
    def awaits_leaders(self) -> bool:
        """Whether some job's leader may have been born, but is not known yet."""
        return any(not member.pid for member in list(self._by_marker.values()))

    def inherit(self, process: Process, orphan: Orphan) -> None:
        """What is below an orphan is the same job's, also when it becomes an orphan itself."""
        if orphan.owner is not None:
            self._claims[process.pid] = (process.start_time, orphan.owner)

    def identify_owner(self, process: Process, known: Orphan | None) -> Orphan:
        """Whose it is; `known` if it was looked at before and nothing was to be seen."""
        now = time.monotonic()
        orphan = known or Orphan(process.pid, now)
        if not process.is_alive:
            return orphan
        orphan.owner = self._by_place(process)
        if orphan.owner is None:
            environment = environment_of(process.pid)
            orphan.owner = self._by_variables(environment or b"")
            orphan.identified = (
                bool(orphan.owner) or environment is not None or now - orphan.seen > MAX_EXEC_SECONDS
            )
        if orphan.owner is not None:
            orphan.spared = orphan.owner.keep
        elif not known:
            orphan.candidates = [m for m in list(self._by_marker.values()) if _born(m) <= process.start_time]
        if orphan.owner is None and orphan.identified:
            # Born before any job that runs: what jobs have left by now was looked at as each ended.
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


def _born(member: JobProcesses) -> int:
    """When a job's leader was born, in clock ticks; 0 before that: it may have a child by now."""
    if not member.born and member.pid:
        process = read_stat(member.pid)
        member.born = process.start_time if process is not None else 0
    return member.born
