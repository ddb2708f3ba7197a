# SPDX-License-Identifier: LGPL-3.0-or-later
"""Commands as children of a program that has its own: pqrun is a guest there.

What belongs to that program is not touched (see `polite`); there is a warden only if it asks for one.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from typing import NamedTuple

from pqrun.core.errors import OwnFailure
from pqrun.core.job import Attempt, Exit, Exited, Lost, NotStarted, Signalled
from pqrun.core.notices import Ended, Refused
from pqrun.engine.clock import Clock
from pqrun.engine.executor import Reporter
from pqrun.executors.local.child import Child, Surroundings
from pqrun.executors.local.cleanup_embedded import PoliteContainment
from pqrun.executors.local.command import Launcher
from pqrun.executors.local.watchdog import Warden
from pqrun.executors.python_call import Work
from pqrun.output.store import Capture, Logs


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
        try:
            directory = os.getcwd()
        except OSError:  # it has been deleted: a job without a `cwd` starts there all the same
            directory = "."
        self._launcher = Launcher(run_id=token, directory=directory, workspace=self._workspace, token=token)
        containment = PoliteContainment(self._launcher.mark, self._launcher.kept_mark)
        warden = None
        if contain:
            containment.open()
            say = logging.getLogger("pqrun").warning
            warden = Warden(self._launcher.mark, containment.adopt, tell=say)
            warden.spawn()
        self._around = Surroundings(
            clock=clock,
            reporter=reporter,
            launcher=self._launcher,
            logs=Logs(f"{self._workspace}/logs", keep=False),
            containment=containment,
            warden=warden,
        )

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
