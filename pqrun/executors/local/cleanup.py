# SPDX-License-Identifier: LGPL-3.0-or-later
"""Nothing of a job survives it.

On Linux pqrun is a subreaper: whatever a job leaves behind becomes a child of pqrun's main thread,
so that one read of its list of children tells whether anything is left. Whose it is, `kinship`
says. Nothing is signalled after it was reaped, and only what is ours is reaped.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from math import inf

from pqrun.executors.local.ownership import JobProcesses, Orphan, ProcessOwnership
from pqrun.executors.local.procfs import (
    LINUX,
    UNKILLABLE,
    Children,
    be_subreaper,
    descendants_of,
    group_is_alive,
    is_dead,
    read_stat,
    reap,
    signal_if_same,
)
from pqrun.executors.local.spawn import PipeReader, watch

QUIET_SECONDS = 0.15
MAX_WAIT_SECONDS = 1.0
TICK_SECONDS = 0.02


class LeftoverWait:
    """Takes in the output of leftovers while they end, by themselves or because they were asked to.

    `quiet`: seconds that they have to end by themselves, counted anew with each byte that they print,
    but never more than LONGEST; none after a stop. `now` tells the time without that spent suspended.
    """

    def __init__(self, intake: PipeReader, now: Callable[[], float], *, quiet: float = QUIET_SECONDS) -> None:
        self._intake = intake
        self._now = now
        self._quiet = quiet
        began = now()
        self._until = began + quiet
        self._longest = began + (MAX_WAIT_SECONDS if quiet else 0.0)
        self._poll = select.poll()
        intake.register(self._poll)

    @property
    def patient(self) -> bool:
        """Whether they still have time to end by themselves."""
        return not self._intake.lost and self._now() < self._until

    def until_ended(self, pid: int, seconds: float = TICK_SECONDS) -> None:
        """Waits for the end of a process (0: none is known), for so long at most, and takes in output."""
        end = watch(pid) if pid else None
        try:
            if end is not None:
                self._poll.register(end, select.POLLIN)
            until = time.monotonic() + seconds
            while (left := until - time.monotonic()) > 0 and self._take(left):
                pass
        finally:
            if end is not None:
                self._poll.unregister(end)
                end.close()

    def until_closed(self, hurry: Callable[[], bool]) -> None:
        """For leftovers that may stay: waits until none of them holds the pipes, or their time is over."""
        self._take(0.0)
        while self._intake and self.patient and not hurry():
            self._take(min(TICK_SECONDS, self._until - self._now()))

    def _take(self, seconds: float) -> bool:
        """Takes in what is printed within that time; False if a process that is watched has ended."""
        ended = False
        for fd, _ in self._poll.poll(max(0.0, seconds) * 1000):
            if fd not in self._intake:
                ended = True
            elif self._intake.read_some(fd):
                self._until = min(self._now() + self._quiet, self._longest)
            else:
                self._poll.unregister(fd)
        return not ended


def no_wait() -> LeftoverWait:
    """For what belongs to no job that still runs: it has no time, and nobody reads what it prints."""
    return LeftoverWait(PipeReader((), None, None), time.monotonic, quiet=0.0)


LEFTOVER_GRACE_SECONDS = 2.0
FINAL_GRACE_SECONDS = 0.5
LOOK_AGAIN = 0.001


class ProcessCleanup:
    """Finds and ends what jobs leave behind. Call `open` in the main thread, before any job.

    `escaped` says what could not be ended: another user's, or stuck in the kernel.
    """

    def __init__(self, mark: bytes, kept_mark: bytes) -> None:
        self.unkillable: list[str] = []
        self._ownership = ProcessOwnership(mark, kept_mark)
        self._orphans: dict[int, Orphan] = {}
        self._known: set[int] = set()
        self._baseline = b""
        self._subreaper = False
        self._children = Children()
        self._session = 0
        self._lock = threading.Lock()

    def open(self) -> None:
        """From now on orphans of jobs come to us; children that are there already aren't jobs'."""
        self._session = os.getsid(0)
        self._subreaper = be_subreaper()
        if not self._subreaper:
            return
        self._children.open()
        with self._lock:
            self._known.update(self._listed())
            self._remember_baseline()

    @property
    def is_subreaper(self) -> bool:
        """Whether orphans come to us."""
        return self._subreaper

    def adopt(self, start: Callable[[], int], *, instead_of: int = 0) -> int:
        """Starts a child of ours that is no job's, in place of one that has been reaped."""
        with self._lock:
            self._known.discard(instead_of)
            pid = start()
            self._known.add(pid)
            self._remember_baseline()
            return pid

    @property
    def running(self) -> int:
        """How many jobs are entered or expected."""
        return len(self._ownership)

    def expect(self, member: JobProcesses) -> None:
        """What the calling thread starts from now on is that job's."""
        self._ownership.expect(member)

    def enter(self, member: JobProcesses, pid: int) -> None:
        """A job's leader runs."""
        self._ownership.enter(member, pid)

    def reaped(self, member: JobProcesses) -> None:
        """After its sweep its leader was reaped."""
        self._ownership.reaped(member)

    def leave(self, member: JobProcesses) -> None:
        """It could not be started, or (then it has escaped) not be ended."""
        with self._lock:
            if member.pid:
                self._known.add(member.pid)
            self._ownership.leave(member)

    def end_leftovers(
        self,
        member: JobProcesses,
        *,
        grace: float,
        hurry: Callable[[], bool],
        waits: Callable[[], LeftoverWait],
    ) -> None:
        """Ends what is left of a job whose leader has ended and is not reaped.

        It may end by itself for as long as the wait, made by `waits` if anything is left, is patient.
        Then it is asked with TERM, and killed after `grace` seconds, or when `hurry` says so.
        """
        wait: LeftoverWait | None = None
        if member.keep:
            # The list of children does not tell whether anything is left of it: what may stay is calm.
            wait = waits()
            wait.until_closed(hurry)
        elif not self._subreaper and group_is_alive(member.pid):
            _end_group(member.pid, grace, hurry, waits())
        if not self._subreaper or self._is_calm():
            self._ownership.leave(member)
        else:
            wait = wait or waits()
            self._end_all(lambda orphan: orphan.belongs_to(member), grace, hurry, ending=member, wait=wait)

    def reap_orphans(self) -> None:
        """Reaps what a job that runs for long has left in the meantime and has ended by itself."""
        if self._subreaper and not self._is_calm():
            with self._lock:
                self._scan()
                self._remember_baseline()

    def close(self, *, grace: float = FINAL_GRACE_SECONDS) -> None:
        """At the end of the run, whatever is left of any job goes, save what was to be kept."""
        if not self._subreaper:
            return
        self._ownership.leave_all()
        self._end_all(lambda orphan: not orphan.spared, grace, lambda: False, wait=no_wait())
        self._children.close()
        self._subreaper = False
        be_subreaper(wanted=False)

    def _end_all(
        self,
        which: Callable[[Orphan], bool],
        grace: float,
        hurry: Callable[[], bool],
        *,
        ending: JobProcesses | None = None,
        wait: LeftoverWait,
    ) -> None:
        kill_at = inf
        pause = LOOK_AGAIN
        while True:
            with self._lock:
                alive, all_clear = self._scan()
                left = [orphan for orphan in alive if which(orphan)]
                now = time.monotonic()
                force = hurry()
                patient = wait.patient and not force
                if force:
                    kill_at = min(kill_at, now)
                elif not patient and kill_at == inf:
                    kill_at = now + grace
                if left and now >= kill_at and (now >= kill_at + UNKILLABLE or all(o.denied for o in left)):
                    self._give_up(left)
                    left, all_clear = [], True
                if not left and (all_clear or now >= kill_at + UNKILLABLE):
                    # It leaves in the same breath: of two that end together one finds what both leave.
                    if ending is not None:
                        self._ownership.leave(ending)
                        self._ownership.drop_claims(ending)
                    self._remember_baseline()
                    return
                fresh = False
                for orphan in left:
                    if patient and orphan.may_end_by_itself(ending):
                        continue
                    fresh = fresh or not (orphan.asked or orphan.killed)
                    self._kill(orphan) if now >= kill_at else self._ask(orphan)
            pause = LOOK_AGAIN if fresh or not left else min(pause * 1.5, TICK_SECONDS)
            # All of them must end, so that one is enough to wait for.
            wait.until_ended(left[0].pid if left else 0, TICK_SECONDS if patient and left else pause)

    def _scan(self) -> tuple[list[Orphan], bool]:
        """Jobs' orphans that live, and whether it is clear whose each is; the dead ones are reaped."""
        alive: list[Orphan] = []
        before, self._orphans = self._orphans, {}
        all_clear = True
        try:
            pids = self._listed()
        except OSError:  # no descriptors left to look with
            self._orphans = before
            return list(before.values()), False
        # Where leaders are listed too, one that has just died may be taken for an orphan.
        may_reap = self._children.only_orphans or not self._ownership.awaits_leaders
        for pid in pids:
            if pid in self._known or self._ownership.leads(pid):
                continue
            orphan = before.get(pid)
            if orphan is None or not orphan.identified:
                try:
                    process = read_stat(pid)
                    if process is None or process.session == self._session:
                        continue  # jobs have sessions of their own
                    orphan = self._ownership.identify_owner(process, orphan)
                except OSError:  # no descriptors left to look with
                    all_clear = False
                    continue
            if not (reap(pid) if may_reap else is_dead(pid)):
                self._orphans[pid] = orphan
                alive.append(orphan)
                all_clear = all_clear and orphan.identified
        return alive, all_clear

    def _remember_baseline(self) -> None:
        """Notes what the list of children looks like with nothing in it to be ended."""
        try:
            data = self._children.read()
        except OSError:
            self._baseline = b"?"
            return
        calm = all(
            pid in self._known or ((orphan := self._orphans.get(pid)) is not None and orphan.spared)
            for pid in map(int, data.split())
        )
        self._baseline = data if calm else b"?"

    def _ask(self, orphan: Orphan) -> None:
        """Asks it and what is below it to end, once; what is stopped is woken for it."""
        if orphan.asked or not orphan.identified:
            return
        orphan.asked = True
        for process in descendants_of(orphan.pid):
            self._ownership.inherit(process, orphan)
            with contextlib.suppress(PermissionError):
                signal_if_same(process, signal.SIGTERM, signal.SIGCONT)
        for number in (signal.SIGTERM, signal.SIGCONT):
            with contextlib.suppress(OSError):
                os.kill(orphan.pid, number)

    def _kill(self, orphan: Orphan) -> None:
        """Kills it, with its whole group: what forks faster than we look can't get away within that.

        Its group is not ours, and can't be another's: it is in a job's session, and not reaped.
        """
        if not orphan.identified:
            return
        try:
            with contextlib.suppress(OSError):
                process = read_stat(orphan.pid)
                if process is not None and process.session != self._session:
                    os.killpg(process.group, signal.SIGKILL)
            os.kill(orphan.pid, signal.SIGKILL)
        except PermissionError:
            orphan.denied = True
        if orphan.killed or orphan.denied:  # and lives: what is below it won't come to us by its death
            for process in descendants_of(orphan.pid):
                with contextlib.suppress(PermissionError):
                    signal_if_same(process, signal.SIGKILL)
        orphan.killed = True

    def _give_up(self, left: list[Orphan]) -> None:
        for orphan in left:
            orphan.spared = True
            why = "not permitted" if orphan.denied else "it does not die"
            self.unkillable.append(f"cannot end process {orphan.pid}, left by a job: {why}")

    def _is_calm(self) -> bool:
        """Whether the list of children shows nothing that has to be ended; not if it can't be read."""
        try:
            return self._children.read() in (self._baseline, b"")
        except OSError:
            return False

    def _listed(self) -> list[int]:
        return list(map(int, self._children.read().split()))


def _end_group(group: int, grace: float, hurry: Callable[[], bool], wait: LeftoverWait) -> None:
    """Ends a job's group, all that can be found without a subreaper.

    Its leader is not reaped, so its number can't have been reused.
    """
    kill_at = inf
    asked = False
    while group_is_alive(group):
        force = hurry() or time.monotonic() >= kill_at
        if force or not (asked or wait.patient):
            kill_at = min(kill_at, time.monotonic() + grace)
            asked = True
            for number in (signal.SIGKILL,) if force else (signal.SIGTERM, signal.SIGCONT):
                with contextlib.suppress(OSError):
                    os.killpg(group, number)
        if force and (not LINUX or time.monotonic() >= kill_at + UNKILLABLE):
            return  # elsewhere a zombie can't be told from what is dying
        wait.until_ended(0)
