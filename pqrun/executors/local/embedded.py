# SPDX-License-Identifier: LGPL-3.0-or-later
"""Shell jobs inside a host program that may have children of its own.

The other children of that program are not touched (see `cleanup_embedded`). There are watchdogs only if
the program asks for them.
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
from pqrun.engine.live_run import JobStdin
from pqrun.executors.local.child import Child
from pqrun.executors.local.cleanup_embedded import ScanningCleanup
from pqrun.executors.local.command import CommandBuilder
from pqrun.executors.local.process_group import ChildContext
from pqrun.executors.local.watchdog import WatchdogSupervisor
from pqrun.executors.python_call import PythonCall
from pqrun.output.store import Capture, Logs


class ShellResult(NamedTuple):
    """The end of a command and its output.

    `code`: its exit code, None if a signal ended it or it was lost. `signal`: the name of that signal.
    `stdout`, `stderr`: all of the output, in memory. `how`: the end in words, such as `exit 3`.
    """

    code: int | None
    signal: str | None
    stdout: bytes
    stderr: bytes
    how: str = ""

    @classmethod
    def of(cls, exit: Exit, output: Capture | None) -> ShellResult:
        """Build the result from an exit and the captured output, and drop the output's files."""
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
    """One attempt at a shell job. The result goes to the job's `PythonCall`."""

    def __init__(self, attempt: Attempt, around: ChildContext, work: PythonCall) -> None:
        self._child = Child(attempt, around)
        self._key = attempt.key
        self._clock = around.clock
        self._work = work

    @property
    def output(self) -> Capture | None:
        return self._child.output

    @property
    def leader(self) -> int:
        return self._child.leader

    @property
    def stdin(self) -> JobStdin | None:
        return self._child.stdin

    def stop(self, *, force: bool) -> None:
        self._child.stop(force=force)

    def signal(self, name: str) -> None:
        self._child.signal(name)

    def run(self, slot: int) -> ProcessFinished | StartRejected:
        """Run the command and store its result in the `PythonCall`."""
        began = self._clock.now()
        try:
            report = self._child.run(slot)
            if isinstance(report, ProcessFinished):
                self._work.value = ShellResult.of(report.exit, report.output)
        except InternalFailure as failure:  # a full disk fails the job, not the whole queue
            lost = LostExit(str(failure))
            self._work.value = ShellResult.of(lost, None)
            report = ProcessFinished(self._key, lost, False, began, self._clock.now())
        return report


class EmbeddedBackend:
    """The shared parts of all shell jobs of a queue.

    Creates a temporary directory and holds a descriptor until `close`. `contain`: make this program a
    subreaper, and end the jobs if the program is killed.
    """

    def __init__(self, clock: Clock, reporter: Reporter, *, contain: bool) -> None:
        self._workspace = tempfile.mkdtemp(prefix="pqrun-")
        token = os.urandom(8).hex()
        try:
            directory = os.getcwd()
        except OSError:  # the current directory was deleted; a job without a `cwd` still starts in it
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
            talkative=set(),
            watchdog=watchdogs,
        )

    def task(self, attempt: Attempt, work: PythonCall) -> ShellTask:
        """Create the task that a slot runs for this attempt."""
        return ShellTask(attempt, self._context, work)

    def close(self) -> None:
        """End the watchdogs and remove the temporary directory. Call it when no job runs any more."""
        if self._context.watchdog is not None:
            self._context.watchdog.close()
        self._context.cleanup.close()
        self._commands.close()
        shutil.rmtree(self._workspace, ignore_errors=True)
