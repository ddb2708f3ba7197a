# SPDX-License-Identifier: LGPL-3.0-or-later
"""Where a run's commands run: on this machine. What has to be there for that, and its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pqrun.core.errors import OwnFailure
from pqrun.core.job import JobSpec, Key
from pqrun.core.settings import Settings
from pqrun.engine.clock import Clock
from pqrun.engine.engine import Engine
from pqrun.engine.machine_load import Machine, count_workers, load_limit, usable_cpus
from pqrun.engine.reactor import Reactor
from pqrun.executors.local.child import Child, Surroundings
from pqrun.executors.local.cleanup import Containment
from pqrun.executors.local.command import Launcher
from pqrun.executors.local.procfs import LINUX
from pqrun.executors.local.watchdog import Warden
from pqrun.executors.thread_pool import Slots
from pqrun.journal.run_record import Record

PeakOf = Callable[[Key], int | None]


class Workers(Protocol):
    """What runs attempts, as the rest of a run sees it."""

    def capacity(self) -> int: ...
    def start(self, attempt: Any) -> None: ...
    def stop(self, key: Key, *, force: bool) -> None: ...
    def resize(self, count: int) -> None: ...
    def output_of(self, key: Key) -> Any: ...
    def live(self) -> list[Any]: ...
    def leaders(self) -> dict[Key, int]: ...
    def close(self) -> None: ...


class Place(Protocol):
    """Where commands run.

    `machine` says how many of them that place bears; `fit`, if there is one, raises UserError for a job
    that it can't run; `warden`, if there is one, sees to what runs should pqrun be killed;
    `guarded` says whether it always could, as far as that is known.
    """

    machine: Machine

    @property
    def warden(self) -> Warden | None: ...
    @property
    def guarded(self) -> bool | None: ...
    @property
    def fit(self) -> Callable[[JobSpec], None] | None: ...
    def open(self, record: Record, directory: str, reactor: Reactor) -> None: ...
    def report_path(self, key: Key) -> str: ...
    def tell_socket(self, path: str) -> None: ...
    def workers(
        self, clock: Clock, engine: Engine, count: int, say: Callable[[str], None], peak_of: PeakOf
    ) -> Workers: ...
    def short(self, *spare: Callable[[], None]) -> None: ...
    def count(self, said: str | None) -> int: ...
    def size(self) -> int: ...
    def close(self) -> list[str]: ...


class Here:
    """This machine. Nothing of a job survives it, nor the run if it is killed."""

    fit = None

    def __init__(self, settings: Settings, machine: Machine) -> None:
        self.machine = machine
        self._settings = settings

    def open(self, record: Record, directory: str, reactor: Reactor) -> None:
        """Before there are threads."""
        self._record = record
        self._launcher = launcher = Launcher(
            run_id=record.run_id, directory=directory, workspace=record.workspace, token=record.token
        )
        launcher.stdout = 2 if self._settings.json else 1
        self._containment = containment = Containment(launcher.mark, launcher.kept_mark)
        lock = () if record.directory is None else (record.directory.lock_fd,)
        self.warden = Warden(launcher.mark, containment.adopt, keep=lock)
        self.warden.fork()
        if self._settings.require_watchdog and self.warden.trouble:
            self.warden.close()
            raise OwnFailure(f"--require-watchdog: {self.warden.trouble}")
        containment.open()
        if LINUX and not containment.is_subreaper:
            from pqrun.executors.local.cleanup_embedded import PoliteContainment

            # The kernel refuses it, or a filter of system calls: leftovers are searched for instead.
            self._containment = PoliteContainment(launcher.mark, launcher.kept_mark)
        for watchdog in self.warden.watchdogs:
            reactor.add(watchdog)

    def report_path(self, key: Key) -> str:
        """Where that attempt writes about itself."""
        return self._launcher.report_path(key)

    def tell_socket(self, path: str) -> None:
        """By which jobs can talk to the run."""
        self._launcher.socket = path

    def workers(
        self, clock: Clock, engine: Engine, count: int, say: Callable[[str], None], peak_of: PeakOf
    ) -> Slots:
        """So many slots."""
        around = Surroundings(
            clock=clock,
            reporter=engine,
            launcher=self._launcher,
            logs=self._record.logs,
            containment=self._containment,
            warden=self.warden,
            capture=self._settings.output != "raw",
            follow=self._settings.output == "line",
            prompt=self._settings.output == "line" or self._settings.events is not None,
            peak_of=peak_of,
        )
        self._heed_watchdogs(engine, say)
        self._slots = Slots(count, lambda attempt: Child(attempt, around), engine, engine.fail)
        return self._slots

    @property
    def guarded(self) -> bool:
        """Whether a `kill -9` of pqrun would have ended its jobs at any time so far."""
        return not self.warden.trouble

    def _heed_watchdogs(self, engine: Engine, say: Callable[[str], None]) -> None:
        """A run without a watchdog is told at once; it is the end of one that must have one."""

        def tell(text: str) -> None:
            if self._settings.require_watchdog:
                engine.fail(OwnFailure(f"--require-watchdog: {text}"))
            else:
                say(text)

        self.warden.tell = tell
        if self.warden.trouble:
            tell(self.warden.trouble)

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
        self._containment.close()
        self.warden.close()
        return [*self._containment.escaped, *([self.warden.trouble] if self.warden.trouble else [])]


def place_of(settings: Settings, jobs: Sequence[JobSpec] = ()) -> Place:
    """Where the commands will run; `UserError` if they can't run there."""
    load = None if settings.load is None else load_limit(settings.load, usable_cpus())
    if settings.on == "local":
        return Here(settings, Machine(load, settings.memfree))
    from pqrun.executors.dask.backend import Afar

    return Afar(settings, jobs, load)
