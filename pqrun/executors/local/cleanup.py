# SPDX-License-Identifier: LGPL-3.0-or-later
"""[hot path] The cleanup of leftovers: processes that live on after the leader of their job has ended.

On Linux pqrun makes itself a subreaper: an orphan of a job becomes a child of pqrun's main thread, so
that one read of the main thread's list of children shows whether anything is left. `ownership` finds the
job of an orphan. A pid is never signalled after its process was reaped, and only processes of jobs are
reaped.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from math import inf

from pqrun.executors.local.leftover_wait import TICK_SECONDS, LeftoverWait, no_wait
from pqrun.executors.local.ownership import JobProcesses, Orphan, ProcessOwnership
from pqrun.executors.local.procfs import (
    LINUX,
    UNKILLABLE_SECONDS,
    Children,
    be_subreaper,
    descendants_of,
    group_is_alive,
    is_dead,
    read_stat,
    reap,
    signal_if_same,
)

LEFTOVER_GRACE_SECONDS = 2.0
FINAL_GRACE_SECONDS = 0.5
LOOK_AGAIN = 0.001


class ProcessCleanup:
    """The cleanup of jobs' leftovers. Call `open` on the main thread, before the first job starts.

    `mark` and `kept_mark` are the markers that jobs carry in their environment (see `ownership.markers`).
    `unkillable` lists, as texts, the processes that could not be ended: those of another user, or stuck in
    the kernel.
    """

    def __init__(self, mark: bytes, kept_mark: bytes) -> None:
        self.unkillable: list[str] = []
        self._ownership = ownership = ProcessOwnership(mark, kept_mark)
        self.expect = ownership.expect  # call before the spawn, on its thread
        self.reaped = ownership.reaped  # call after `end_leftovers`
        self._orphans: dict[int, Orphan] = {}
        self._known: set[int] = set()
        self._baseline = b""
        self._subreaper = False
        self._children = Children()
        self._session = 0
        self._lock = threading.Lock()

    def open(self) -> None:
        """Become a subreaper, and note the present children, which belong to no job."""
        self._session = os.getsid(0)
        self._ownership.open()
        self._subreaper = be_subreaper()
        if not self._subreaper:
            return
        self._children.open()
        with self._lock:
            self._known.update(self._listed())
            self._remember_baseline()

    @property
    def is_subreaper(self) -> bool:
        """Whether orphans become children of this process."""
        return self._subreaper

    def adopt(self, start: Callable[[], int], *, instead_of: int = 0) -> int:
        """Start a child that belongs to no job, such as a watchdog, and return its pid.

        `instead_of`: the pid of the reaped child that it replaces. The lock is held meanwhile, so that no
        scan can take the new child for an orphan.
        """
        with self._lock:
            self._known.discard(instead_of)
            pid = start()
            self._known.add(pid)
            self._remember_baseline()
            return pid

    @property
    def running(self) -> int:
        """The number of registered jobs."""
        return len(self._ownership)

    def enter(self, member: JobProcesses, pid: int) -> None:
        """Note that the job's leader runs as `pid`."""
        self._ownership.enter(member, pid)

    def leave_if_calm(self, member: JobProcesses) -> bool:
        """Unregister a job whose leader has ended, if one look shows that it has left nothing.

        Returns False if that can't be seen at one look; then `end_leftovers` has to be called.
        """
        if member.keep or not (self._subreaper and self._is_calm()):
            return False
        self._ownership.leave(member)
        return True

    def leave(self, member: JobProcesses) -> None:
        """Unregister a job that could not be started, or whose leader could not be ended."""
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
        """End the leftovers of a job whose leader has ended and is not reaped yet.

        If there are leftovers, `waits` makes their wait. They may end by themselves while the wait is
        patient. Then they get SIGTERM, and SIGKILL after `grace` seconds or as soon as `hurry` returns true.
        """
        wait: LeftoverWait | None = None
        if member.keep:
            # Leftovers that may stay are part of the calm state, so the list of children doesn't show whether
            # any of them still writes.
            wait = waits()
            wait.until_closed(hurry, lambda: self._left_by(member))
        elif not self._subreaper and group_is_alive(member.pid):
            _end_group(member.pid, grace, hurry, waits())
        if not self._subreaper or self._is_calm():
            self._ownership.leave(member)
        else:
            wait = wait or waits()
            self._end_all(lambda orphan: orphan.belongs_to(member), grace, hurry, ending=member, wait=wait)

    def reap_orphans(self) -> None:
        """Reap the dead orphans of jobs that still run, so that zombies don't pile up."""
        if self._subreaper and not self._is_calm():
            with self._lock:
                self._scan()
                self._remember_baseline()

    def close(self, *, grace: float = FINAL_GRACE_SECONDS) -> None:
        """End all remaining leftovers, except those of `keep_leftovers` jobs, at the end of the run."""
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
        """End the orphans that `which` selects, and then unregister the job `ending`. See `end_leftovers`."""
        kill_at = inf
        pause = LOOK_AGAIN
        while True:
            with self._lock:
                left, all_clear = self._find(which)
                now = time.monotonic()
                force = hurry()
                patient = not force and kill_at == inf
                patient = patient and (wait.patient or wait.extend(orphan.pid for orphan in left))
                if force:
                    kill_at = min(kill_at, now)
                elif not patient and kill_at == inf:
                    kill_at = now + grace
                if (
                    left
                    and now >= kill_at
                    and (now >= kill_at + UNKILLABLE_SECONDS or all(o.denied for o in left))
                ):
                    self._give_up(left)
                    left, all_clear = [], True
                if not left and (all_clear or now >= kill_at + UNKILLABLE_SECONDS):
                    self._unregister(ending)
                    return
                to_end = [orphan for orphan in left if not (patient and orphan.may_end_by_itself(ending))]
                fresh = not all(orphan.asked or orphan.killed for orphan in to_end)
                for orphan in to_end:
                    self._kill(orphan) if now >= kill_at else self._ask(orphan)
            pause = LOOK_AGAIN if fresh or not left else min(pause * 1.5, TICK_SECONDS)
            # All leftovers must end, so waiting for the first of them is enough.
            wait.until_ended(left[0].pid if left else 0, TICK_SECONDS if patient and left else pause)

    def _find(self, which: Callable[[Orphan], bool]) -> tuple[list[Orphan], bool]:
        """Return the living orphans that `which` selects, and whether one scan can tell that these are all."""
        alive, dead, all_clear = self._scan()
        # The end of an orphan may have handed its child over to us after the list was read.
        all_clear = all_clear and not any(orphan.owner is None or which(orphan) for orphan in dead)
        return [orphan for orphan in alive if which(orphan)], all_clear

    def _unregister(self, ending: JobProcesses | None) -> None:
        """Unregister a job whose leftovers have ended, if it is one, and store the calm state.

        Called under the lock of the scan. If two jobs end together and could both own an orphan, the second
        scan sees the first job as over and ends the orphan; otherwise neither would.
        """
        if ending is not None:
            self._ownership.leave(ending)
            self._ownership.drop_claims(ending)
        self._remember_baseline()

    def _left_by(self, member: JobProcesses) -> list[int]:
        """Return the pids of the job's leftovers that are orphans now."""
        with self._lock:
            alive = self._scan()[0] if self._subreaper else []
        return [orphan.pid for orphan in alive if orphan.owner is member]

    def _scan(self) -> tuple[list[Orphan], list[Orphan], bool]:
        """Reap the dead orphans.

        Returns the living orphans, those that were dead, and whether the owner of each living one is known.
        """
        alive: list[Orphan] = []
        dead: list[Orphan] = []
        before, self._orphans = self._orphans, {}
        all_clear = True
        try:
            pids = self._listed()
        except OSError:  # no descriptor is left to read the list with
            self._orphans = before
            return list(before.values()), [], False
        # If the list also shows children of other threads, a leader that dies before it is registered looks
        # like an orphan. Reaping it here would lose its exit status.
        may_reap = self._children.only_orphans or not self._ownership.awaits_leaders
        for pid in pids:
            if pid in self._known or self._ownership.leads(pid):
                continue
            orphan = before.get(pid)
            if orphan is None or not orphan.identified:
                try:
                    process = read_stat(pid)
                    if process is None or process.session == self._session:
                        continue  # not a job's process: each job has its own session
                    orphan = self._ownership.identify_owner(process, orphan)
                except OSError:  # no descriptor is left to read /proc with
                    all_clear = False
                    continue
            if reap(pid) if may_reap else is_dead(pid):
                dead.append(orphan)
            else:
                self._orphans[pid] = orphan
                alive.append(orphan)
                all_clear = all_clear and orphan.identified
        return alive, dead, all_clear

    def _remember_baseline(self) -> None:
        """Store the list of children as the calm state, if no process in it has to be ended."""
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
        """Send SIGTERM and SIGCONT to an orphan and its descendants, once."""
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
        """Kill an orphan together with its process group.

        The group is killed as a whole because a process that forks faster than we scan would escape single
        signals. The group is not ours and can't belong to a stranger: it is in a job's session, and the
        orphan in it is not reaped.
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
        # An orphan that survives SIGKILL does not hand its descendants over to us, so kill them directly.
        if orphan.killed or orphan.denied:
            for process in descendants_of(orphan.pid):
                with contextlib.suppress(PermissionError):
                    signal_if_same(process, signal.SIGKILL)
        orphan.killed = True

    def _give_up(self, left: list[Orphan]) -> None:
        for orphan in left:
            orphan.spared = True
            why = "not permitted" if orphan.denied else "it does not end after SIGKILL"
            self.unkillable.append(f"cannot end process {orphan.pid}, left by a job: {why}")

    def _is_calm(self) -> bool:
        """Say whether no process has to be ended. False if the list of children can't be read."""
        try:
            children = self._children.read()
        except OSError:
            return False
        return children == self._baseline or not children

    def _listed(self) -> list[int]:
        return list(map(int, self._children.read().split()))


def _end_group(group: int, grace: float, hurry: Callable[[], bool], wait: LeftoverWait) -> None:
    """End a job's process group, which is all that can be found without a subreaper.

    The leader is not reaped yet, so the number of the group can't have been reused.
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
        if force and (not LINUX or time.monotonic() >= kill_at + UNKILLABLE_SECONDS):
            return  # without /proc a zombie can't be told from a living process
        wait.until_ended(0)
