# SPDX-License-Identifier: LGPL-3.0-or-later
"""Where a run's commands run: on this machine. What has to be there for that, and its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pqrun.core.errors import InternalFailure
from pqrun.core.job import AttemptId, JobSpec
from pqrun.core.settings import Settings
from pqrun.engine.clock import Clock
from pqrun.engine.engine import Engine
from pqrun.engine.machine_load import LoadMonitor, count_workers, load_limit, usable_cpus
from pqrun.engine.reactor import Reactor
from pqrun.executors.local.child import Child, ChildContext
from pqrun.executors.local.cleanup import ProcessCleanup
from pqrun.executors.local.command import CommandBuilder
from pqrun.executors.local.procfs import LINUX
from pqrun.executors.local.watchdog import WatchdogSupervisor
from pqrun.executors.thread_pool import ThreadPoolExecutor
from pqrun.journal.run_record import RunRecord

PeakOf = Callable[[AttemptId], int | None]


class BackendExecutor(Protocol):
    """What runs attempts, as the rest of a run sees it."""

    def capacity(self) -> int: ...
    def start(self, attempt: Any) -> None: ...
    def stop(self, key: AttemptId, *, force: bool) -> None: ...
    def resize(self, count: int) -> None: ...
    def output_of(self, key: AttemptId) -> Any: ...
    def live(self) -> list[Any]: ...
    def leaders(self) -> dict[AttemptId, int]: ...
    def close(self) -> None: ...


class Backend(Protocol):
    """Where commands run.

    `machine` says how many of them that place bears; `fit`, if there is one, raises UserError for a job
    that it can't run; `warden`, if there is one, sees to what runs should pqrun be killed;
    `guarded` says whether it always could, as far as that is known.
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
    """This machine. Nothing of a job survives it, nor the run if it is killed."""

    validate_job = None

    def __init__(self, settings: Settings, machine: LoadMonitor) -> None:
        self.machine = machine
        self._settings = settings

    def open(self, record: RunRecord, directory: str, reactor: Reactor) -> None:
        """Before there are threads."""
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

            # The kernel refuses it, or a filter of system calls: leftovers are searched for instead.
            self._cleanup = ScanningCleanup(commands.marker, commands.kept_marker)
        for watchdog in self.watchdogs.watchdogs:
            reactor.add(watchdog)

    def report_path(self, key: AttemptId) -> str:
        """Where that attempt writes about itself."""
        return self._commands.report_path(key)

    def set_control_socket(self, path: str) -> None:
        """By which jobs can talk to the run."""
        self._commands.socket = path

    def workers(
        self, clock: Clock, engine: Engine, count: int, say: Callable[[str], None], peak_of: PeakOf
    ) -> ThreadPoolExecutor:
        """So many slots."""
        around = ChildContext(
            clock=clock,
            reporter=engine,
            commands=self._commands,
            logs=self._record.logs,
            cleanup=self._cleanup,
            watchdog=self.watchdogs,
            capture=self._settings.output != "raw",
            follow=self._settings.output == "line",
            prompt=self._settings.output == "line" or self._settings.events is not None,
            peak_of=peak_of,
        )
        self._heed_watchdogs(engine, say)
        self._slots = ThreadPoolExecutor(count, lambda attempt: Child(attempt, around), engine, engine.fail)
        return self._slots

    @property
    def guarded(self) -> bool:
        """Whether a `kill -9` of pqrun would have ended its jobs at any time so far."""
        return not self.watchdogs.trouble

    def _heed_watchdogs(self, engine: Engine, say: Callable[[str], None]) -> None:
        """A run without a watchdog is told at once; it is the end of one that must have one."""

        def tell(text: str) -> None:
            if self._settings.require_watchdog:
                engine.fail(InternalFailure(f"--require-watchdog: {text}"))
            else:
                say(text)

        self.watchdogs.tell = tell
        if self.watchdogs.trouble:
            tell(self.watchdogs.trouble)

    def short(self, *spare: Callable[[], None]) -> None:
        """What to call when the machine has no room for another job."""

        def call_all() -> None:
            for act in spare:
                act()

        self._slots.short = call_all

    def count(self, said: str | None) -> int:
        """How many slots that is, as it was said."""
        return count_workers(said)

    def size(self) -> int:
        """How many slots there are now."""
        return self._slots.capacity()

    def close(self) -> list[str]:
        """Nothing is left of any job; what could not be ended, in words."""
        self._cleanup.close()
        self.watchdogs.close()
        return [*self._cleanup.unkillable, *([self.watchdogs.trouble] if self.watchdogs.trouble else [])]


def backend_of(settings: Settings, jobs: Sequence[JobSpec] = ()) -> Backend:
    """Where the commands will run; `UserError` if they can't run there."""
    load = None if settings.load is None else load_limit(settings.load, usable_cpus())
    if settings.on == "local":
        return LocalBackend(settings, LoadMonitor(load, settings.memfree))
    from pqrun.executors.dask.backend import DaskBackend

    return DaskBackend(settings, jobs, load)
