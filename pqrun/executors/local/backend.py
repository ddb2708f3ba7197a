# SPDX-License-Identifier: LGPL-3.0-or-later
"""The local backend, which runs commands on this machine, and the choice between it and Dask."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from pqrun.core.errors import InternalFailure, UserError
from pqrun.core.job import AttemptId, JobSpec
from pqrun.core.settings import OutputSettings, PlaceSettings
from pqrun.core.text import place_of
from pqrun.engine.machine_load import LoadMonitor, count_workers, load_limit, usable_cpus
from pqrun.executors.local.child import Child
from pqrun.executors.local.cleanup import ProcessCleanup
from pqrun.executors.local.command import CommandBuilder
from pqrun.executors.local.process_group import ChildContext
from pqrun.executors.local.procfs import LINUX
from pqrun.executors.local.watchdog import WatchdogSupervisor
from pqrun.executors.thread_pool import ThreadPoolExecutor
from pqrun.output.writer import StreamWriter

if TYPE_CHECKING:
    from pqrun.engine.executor import Backend, Reporter, RunFiles
    from pqrun.engine.live_run import LiveRun
    from pqrun.engine.reactor import Reactor


class LocalBackend:
    """A backend that runs jobs as processes of this machine and leaves none of them behind."""

    def __init__(
        self, settings: PlaceSettings, output: OutputSettings, machine: LoadMonitor, *, prompt: bool
    ) -> None:
        self.validate_job = _refuse_terminal if output.output == "raw" else None
        self.machine = machine
        self._settings = settings
        self._output = output
        self._prompt = prompt

    def open(self, files: RunFiles, directory: str, reactor: Reactor) -> None:
        """Fork the watchdogs and prepare the cleanup.

        Called on the main thread before any other thread exists, because the watchdogs are forked. Raises
        InternalFailure if `--require-watchdog` is set and no watchdog could be started.
        """
        self._files = files
        self._commands = commands = CommandBuilder(
            run_id=files.run_id, directory=directory, workspace=files.workspace, token=files.token
        )
        commands.stdout = 2 if self._output.json else 1
        self._cleanup = cleanup = ProcessCleanup(commands.marker, commands.kept_marker)
        self.watchdogs = WatchdogSupervisor(commands.marker, cleanup.adopt, keep=files.lock_fds)
        self.watchdogs.fork()
        if self._settings.require_watchdog and self.watchdogs.trouble:
            self.watchdogs.close()
            raise InternalFailure(f"--require-watchdog: {self.watchdogs.trouble}")
        cleanup.open()
        if LINUX and not cleanup.is_subreaper:
            from pqrun.executors.local.cleanup_embedded import ScanningCleanup

            # The kernel or a filter of system calls (seccomp) refused to make us a subreaper. Orphans then go
            # to another process, so the cleanup has to search all processes for them.
            self._cleanup = ScanningCleanup(commands.marker, commands.kept_marker)
        for watchdog in self.watchdogs.watchdogs:
            reactor.add(watchdog)

    def executor(self, count: int, live: LiveRun, reporter: Reporter) -> ThreadPoolExecutor[Child]:
        """Create the executor, with `count` slots."""
        self._commands.set_socket(live.control_socket)
        self._commands.set_streams(live.input_stream)
        around = ChildContext(
            clock=live.clock,
            reporter=reporter,
            commands=self._commands,
            logs=self._files.logs,
            cleanup=self._cleanup,
            talkative=set(),
            watchdog=self.watchdogs,
            capture=self._output.output != "raw",
            follow=self._output.output == "line",
            passes=self._output.output == "group" and StreamWriter(1, "standard output").is_pipe,
            prompt=self._output.output == "line" or self._prompt,
            peak_of=live.peak_of,
        )
        self._heed_watchdogs(live, reporter)
        self._slots = ThreadPoolExecutor(count, partial(Child, around=around), reporter, live.spare)
        return self._slots

    def status_path(self, key: AttemptId) -> str:
        return self._commands.report_path(key)

    def suspend(self, *, stopped: bool) -> None:
        for child in self._slots.live():
            child.suspend(stopped=stopped)

    @property
    def guarded(self) -> bool:
        """Whether the watchdogs would have ended the jobs after a `kill -9` at any time so far."""
        return not self.watchdogs.trouble

    def _heed_watchdogs(self, live: LiveRun, reporter: Reporter) -> None:
        """Warn about a lack of watchdogs, now and later.

        With `--require-watchdog` the lack fails the run instead.
        """

        def tell(text: str) -> None:
            if self._settings.require_watchdog:
                reporter.fail(InternalFailure(f"--require-watchdog: {text}"))
            else:
                live.warn(text)

        self.watchdogs.tell = tell
        if self.watchdogs.trouble:
            tell(self.watchdogs.trouble)

    def count_workers(self, said: str | None) -> int:
        return count_workers(said)

    def workers(self) -> int:
        return self._slots.capacity()

    def close(self) -> list[str]:
        """End the last leftovers and the watchdogs.

        Returns one text for each process that could not be ended, and one if there was no watchdog for a
        time.
        """
        self._cleanup.close()
        self.watchdogs.close()
        return [*self._cleanup.unkillable, *([self.watchdogs.trouble] if self.watchdogs.trouble else [])]


def _refuse_terminal(job: JobSpec) -> None:
    """Raise UserError for a job that wants a terminal of its own although pqrun passes its own streams."""
    if job.work.pty:
        raise UserError(
            f"{place_of(job)} asks for a terminal of its own (`pty`): --output raw passes output straight through; "
            "use --output line"
        )


def backend_of(
    settings: PlaceSettings, output: OutputSettings, jobs: Sequence[JobSpec] = (), *, prompt: bool
) -> Backend:
    """Create the backend that the settings ask for. Raises UserError if it can't run these jobs.

    `prompt`: report the end of each attempt at once, because a program reads the events.
    """
    load = None if settings.load is None else load_limit(settings.load, usable_cpus())
    if settings.on == "local":
        machine = LoadMonitor(load, settings.memfree, noswap=settings.noswap)
        backend = LocalBackend(settings, output, machine, prompt=prompt)
        if backend.validate_job is not None:
            for job in jobs:
                backend.validate_job(job)
        return backend
    from pqrun.executors.dask.backend import DaskBackend

    return DaskBackend(settings, output, jobs, load, prompt=prompt)
