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

from pqrun.core.errors import InternalFailure
from pqrun.core.job import Attempt, Exit, ExitedWith, KilledBySignal, LostExit, NotStarted
from pqrun.core.notices import ProcessFinished, StartRejected
from pqrun.engine.clock import Clock
from pqrun.engine.executor import Reporter
from pqrun.executors.local.child import Child, ChildContext
from pqrun.executors.local.cleanup_embedded import ScanningCleanup
from pqrun.executors.local.command import CommandBuilder
from pqrun.executors.local.watchdog import WatchdogSupervisor
from pqrun.executors.python_call import PythonCall
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
            case ExitedWith(code):
                return cls(code, None, out, err, f"exit {code}")
            case KilledBySignal(name):
                return cls(None, name, out, err, name)
            case NotStarted(code, why):
                return cls(code, None, out, err, why)
            case LostExit(why):
                return cls(None, None, out, err, why)


class ShellTask:
    """One attempt at a shell job: a child, whose end goes to the job's `Work`."""

    def __init__(self, attempt: Attempt, around: ChildContext, work: PythonCall) -> None:
        self._child = Child(attempt, around)
        self._key = attempt.key
        self._clock = around.clock
        self._work = work

    def stop(self, *, force: bool) -> None:
        """Asks its group to end, or kills it."""
        self._child.stop(force=force)

    def run(self, slot: int) -> ProcessFinished | StartRejected:
        """Runs it, and reads what it printed."""
        began = self._clock.now()
        try:
            report = self._child.run(slot)
            if isinstance(report, ProcessFinished):
                self._work.value = ShellResult.of(report.exit, report.output)
        except InternalFailure as failure:  # a full disk must not be the end of the queue
            lost = LostExit(str(failure))
            self._work.value = ShellResult.of(lost, None)
            report = ProcessFinished(self._key, lost, False, began, self._clock.now())
        return report


class EmbeddedBackend:
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
        self._commands = CommandBuilder(
            run_id=token, directory=directory, workspace=self._workspace, token=token
        )
        cleanup = ScanningCleanup(self._commands.marker, self._commands.kept_marker)
        watchdogs = None
        if contain:
            cleanup.open()
            say = logging.getLogger("pqrun").warning
            watchdogs = WatchdogSupervisor(self._commands.marker, cleanup.adopt, tell=say)
            watchdogs.spawn()
        self._context = ChildContext(
            clock=clock,
            reporter=reporter,
            commands=self._commands,
            logs=Logs(f"{self._workspace}/logs", keep=False),
            cleanup=cleanup,
            watchdog=watchdogs,
        )

    def task(self, attempt: Attempt, work: PythonCall) -> ShellTask:
        """For a slot."""
        return ShellTask(attempt, self._context, work)

    def close(self) -> None:
        """Nothing runs any more."""
        if self._context.watchdog is not None:
            self._context.watchdog.close()
        self._context.cleanup.close()
        self._commands.close()
        shutil.rmtree(self._workspace, ignore_errors=True)
