# SPDX-License-Identifier: LGPL-3.0-or-later
"""The local backend, which runs commands on this machine, and the choice between it and Dask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from pqrun.core.errors import InternalFailure
from pqrun.core.job import AttemptId, JobSpec
from pqrun.core.settings import Settings
from pqrun.engine.clock import Clock
from pqrun.engine.engine import Engine
from pqrun.engine.machine_load import LoadMonitor, count_workers, load_limit, usable_cpus
from pqrun.engine.reactor import Reactor
from pqrun.executors.local.child import Child
from pqrun.executors.local.child_context import ChildContext
from pqrun.executors.local.cleanup import ProcessCleanup
from pqrun.executors.local.command import CommandBuilder
from pqrun.executors.local.procfs import LINUX
from pqrun.executors.local.watchdog import WatchdogSupervisor
from pqrun.executors.thread_pool import ThreadPoolExecutor
from pqrun.journal.run_record import RunRecord

PeakOf = Callable[[AttemptId], int | None]


class BackendExecutor(Protocol):
    """The executor of a backend, as the rest of a run uses it."""

    def capacity(self) -> int: ...
    def start(self, attempt: Any) -> None: ...
    def stop(self, key: AttemptId, *, force: bool) -> None: ...
    def resize(self, count: int) -> None: ...
    def output_of(self, key: AttemptId) -> Any: ...
    def live(self) -> list[Any]: ...
    def leaders(self) -> dict[AttemptId, int]: ...
    def close(self) -> None: ...


class Backend(Protocol):
    """The place where a run's commands run.

    `machine` limits the load there. `validate_job` raises UserError for a job that the backend can't run;
    None accepts every job. `watchdogs` end the running jobs if pqrun is killed; None if the backend has no
    watchdogs on this machine. `guarded` says whether a watchdog was alive for the whole run; None if that is
    unknown.
    """

    machine: LoadMonitor

    @property
    def watchdogs(self) -> WatchdogSupervisor | None: ...
    @property
    def guarded(self) -> bool | None: ...
    @property
    def validate_job(self) -> Callable[[JobSpec], None] | None: ...
    def open(self, record: RunRecord, directory: str, reactor: Reactor) -> None: ...
    def report_path(self, key: AttemptId) -> str: ...
    def set_control_socket(self, path: str) -> None: ...
    def workers(
        self, clock: Clock, engine: Engine, count: int, say: Callable[[str], None], peak_of: PeakOf
    ) -> BackendExecutor: ...
    def short(self, *spare: Callable[[], None]) -> None: ...
    def count(self, said: str | None) -> int: ...
    def size(self) -> int: ...
    def close(self) -> list[str]: ...


class LocalBackend:
    """A backend that runs jobs as processes of this machine and leaves none of them behind."""

    validate_job = None

    def __init__(self, settings: Settings, machine: LoadMonitor) -> None:
        self.machine = machine
        self._settings = settings

    def open(self, record: RunRecord, directory: str, reactor: Reactor) -> None:
        """Fork the watchdogs and prepare the cleanup.

        Called on the main thread before any other thread exists, because the watchdogs are forked. Raises
        InternalFailure if `--require-watchdog` is set and no watchdog could be started.
        """
        self._record = record
        self._commands = commands = CommandBuilder(
            run_id=record.run_id, directory=directory, workspace=record.workspace, token=record.token
        )
        commands.stdout = 2 if self._settings.json else 1
        self._cleanup = cleanup = ProcessCleanup(commands.marker, commands.kept_marker)
        lock = () if record.directory is None else (record.directory.lock_fd,)
        self.watchdogs = WatchdogSupervisor(commands.marker, cleanup.adopt, keep=lock)
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

    def report_path(self, key: AttemptId) -> str:
        """Return the path of the attempt's status file."""
        return self._commands.report_path(key)

    def set_control_socket(self, path: str) -> None:
        """Set the socket through which jobs can talk to the run."""
        self._commands.set_socket(path)

    def workers(
        self, clock: Clock, engine: Engine, count: int, say: Callable[[str], None], peak_of: PeakOf
    ) -> ThreadPoolExecutor:
        """Create the executor with `count` slots."""
        around = ChildContext(
            clock=clock,
            reporter=engine,
            commands=self._commands,
            logs=self._record.logs,
            cleanup=self._cleanup,
            talkative=set(),
            watchdog=self.watchdogs,
            capture=self._settings.output != "raw",
            follow=self._settings.output == "line",
            prompt=self._settings.output == "line" or self._settings.events is not None,
            peak_of=peak_of,
        )
        self._heed_watchdogs(engine, say)
        self._slots = ThreadPoolExecutor(count, partial(Child, around=around), engine, engine.fail)
        return self._slots

    @property
    def guarded(self) -> bool:
        """Whether the watchdogs would have ended the jobs after a `kill -9` at any time so far."""
        return not self.watchdogs.trouble

    def _heed_watchdogs(self, engine: Engine, say: Callable[[str], None]) -> None:
        """Report a lack of watchdogs through `say`, now and later.

        With `--require-watchdog` the lack fails the run instead.
        """

        def tell(text: str) -> None:
            if self._settings.require_watchdog:
                engine.fail(InternalFailure(f"--require-watchdog: {text}"))
            else:
                say(text)

        self.watchdogs.tell = tell
        if self.watchdogs.trouble:
            tell(self.watchdogs.trouble)

    def short(self, *spare: Callable[[], None]) -> None:
        """Set the functions that free resources of the run when the machine refuses a start."""

        def call_all() -> None:
            for act in spare:
                act()

        self._slots.short = call_all

    def count(self, said: str | None) -> int:
        """Turn the value of `-j` into a number of slots."""
        return count_workers(said)

    def size(self) -> int:
        """Return the present number of slots."""
        return self._slots.capacity()

    def close(self) -> list[str]:
        """End the last leftovers and the watchdogs.

        Returns one text for each process that could not be ended, and one if there was no watchdog for a
        time.
        """
        self._cleanup.close()
        self.watchdogs.close()
        return [*self._cleanup.unkillable, *([self.watchdogs.trouble] if self.watchdogs.trouble else [])]


def backend_of(settings: Settings, jobs: Sequence[JobSpec] = ()) -> Backend:
    """Create the backend that the settings ask for. Raises UserError if it can't run these jobs."""
    load = None if settings.load is None else load_limit(settings.load, usable_cpus())
    if settings.on == "local":
        return LocalBackend(settings, LoadMonitor(load, settings.memfree))
    from pqrun.executors.dask.backend import DaskBackend

    return DaskBackend(settings, jobs, load)
