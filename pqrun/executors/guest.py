# SPDX-License-Identifier: LGPL-3.0-or-later
"""Commands as children of a program that has its own: pqrun is a guest there.

It reaps and ends only what it can tell to be a job's, by session, group, variables or descent, and
what it can't tell it leaves alone. It becomes a subreaper and has a warden only if asked to.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

from pqrun.capture import Capture, Logs
from pqrun.clock import Clock
from pqrun.errors import OwnFailure
from pqrun.executors import Reporter
from pqrun.executors.call import Work
from pqrun.executors.child import Child, Surroundings
from pqrun.executors.containment import Containment
from pqrun.executors.kinship import Member
from pqrun.executors.launch import Launcher
from pqrun.executors.processes import (
    LINUX,
    UNKILLABLE,
    Process,
    all_processes,
    be_subreaper,
    environment_of,
    look_at,
    send,
)
from pqrun.executors.warden import Warden
from pqrun.model import Attempt, Exit, Exited, Lost, NotStarted, Signalled
from pqrun.news import Ended, Refused


class ShellResult(NamedTuple):
    """How a command ended: its exit `code`, or the name of the `signal` that ended it; what it printed.

    `how` says it in words if there is more to say. All of the output is in memory.
    """

    code: int | None
    signal: str | None
    stdout: bytes
    stderr: bytes
    how: str = ""

    @classmethod
    def of(cls, exit: Exit, output: Capture | None) -> ShellResult:
        """Takes the output out of where it was kept."""
        out, err = (b"".join(s.pieces()) for s in (output.out, output.err)) if output else (b"", b"")
        if output is not None:
            output.drop()
        match exit:
            case Exited(code):
                return cls(code, None, out, err, f"exit {code}")
            case Signalled(name):
                return cls(None, name, out, err, name)
            case NotStarted(code, why):
                return cls(code, None, out, err, why)
            case Lost(why):
                return cls(None, None, out, err, why)


class GuestContainment(Containment):
    """Ends what a job leaves as far as it shows whose it is; the program's other children are not touched.

    Orphans go where they always went, so all of `/proc` is searched for them at a job's end.
    """

    def __init__(self, mark: bytes, kept_mark: bytes) -> None:
        super().__init__(mark, kept_mark)
        self._unset = False

    def open(self) -> None:
        """Orphans come to this program, if it wants that; only ours are reaped."""
        self._unset = be_subreaper()

    def adopt(self, start: Callable[[], int], *, instead_of: int = 0) -> int:
        """No sweep takes a child without a sign for a job's."""
        return start()

    def tidy(self) -> None:
        """What ends by itself meanwhile is reaped when its job ends."""

    def sweep(self, member: Member, *, grace: float, hurry: Callable[[], bool]) -> int:
        """Ends what is left of a job whose leader has ended and is not reaped; how many it was."""
        if not LINUX:
            return super().sweep(member, grace=grace, hurry=hurry)
        kill_at = time.monotonic() + grace
        found: dict[int, Process] = {}
        leader = look_at(member.pid)
        born = leader.born if leader is not None else 0
        while not member.keep:
            left = _those_of(member, born)
            now = time.monotonic()
            force = hurry() or now >= kill_at
            if not left or now >= kill_at + UNKILLABLE:
                break
            for process in left:
                if force or process.pid not in found:
                    with contextlib.suppress(PermissionError):
                        send(process, *((signal.SIGKILL,) if force else (signal.SIGTERM, signal.SIGCONT)))
                found[process.pid] = process
            time.sleep(0.005)
        self._kin.leave(member)
        for pid in found:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # as a subreaper's child
        return len(found)

    def close(self, *, grace: float = 0.0) -> int:
        """Orphans go where they went before."""
        if self._unset:
            be_subreaper(wanted=False)
        return 0


def _those_of(member: Member, born: int) -> list[Process]:
    """What lives of a job: in its session or group, with its mark, and below those."""
    found: dict[int, Process] = {}
    others: list[Process] = []
    for process in all_processes():
        if process.pid == member.pid or not process.lives or process.born < born:
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


def _marked(process: Process, mark: bytes) -> bool:
    with contextlib.suppress(OSError):
        return mark in environment_of(process.pid)
    return False


class ShellTask:
    """One attempt at a shell job: a child, whose end goes to the job's `Work`."""

    def __init__(self, attempt: Attempt, around: Surroundings, work: Work) -> None:
        self._child = Child(attempt, around)
        self._key = attempt.key
        self._clock = around.clock
        self._work = work

    def stop(self, *, force: bool) -> None:
        """Asks its group to end, or kills it."""
        self._child.stop(force=force)

    def run(self, slot: int) -> Ended | Refused:
        """Runs it, and reads what it printed."""
        began = self._clock.now()
        try:
            report = self._child.run(slot)
            if isinstance(report, Ended):
                self._work.value = ShellResult.of(report.exit, report.output)
        except OwnFailure as failure:  # a full disk must not be the end of the queue
            lost = Lost(str(failure))
            self._work.value = ShellResult.of(lost, None)
            report = Ended(self._key, lost, False, began, self._clock.now())
        return report


class Guest:
    """What a queue's shell jobs share. Takes a directory and a descriptor, and gives them back by `close`.

    `contain`: orphans come to this program, and if it is killed its jobs die too.
    """

    def __init__(self, clock: Clock, reporter: Reporter, *, contain: bool) -> None:
        self._workspace = tempfile.mkdtemp(prefix="pqrun-")
        token = os.urandom(8).hex()
        self._launcher = Launcher(run_id=token, directory=os.getcwd(), workspace=self._workspace, token=token)
        containment = GuestContainment(self._launcher.mark, self._launcher.kept_mark)
        self._around = Surroundings(
            clock=clock,
            reporter=reporter,
            launcher=self._launcher,
            logs=Logs(f"{self._workspace}/logs", keep=False),
            containment=containment,
        )
        if contain:
            containment.open()
            self._around.warden = Warden(self._launcher.mark, containment.adopt)
            self._around.warden.spawn()

    def task(self, attempt: Attempt, work: Work) -> ShellTask:
        """For a slot."""
        return ShellTask(attempt, self._around, work)

    def close(self) -> None:
        """Nothing runs any more."""
        if self._around.warden is not None:
            self._around.warden.close()
        self._around.containment.close()
        self._launcher.close()
        shutil.rmtree(self._workspace, ignore_errors=True)
