# SPDX-License-Identifier: LGPL-3.0-or-later
"""The backend that runs a run's commands on a Dask cluster.

Imported, and Dask with it, only if the user asks for a cluster.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sized
from math import inf
from typing import TYPE_CHECKING

from pqrun.core.errors import UserError
from pqrun.core.job import OPEN_STDIN, AttemptId, Command, InputBlock, JobSpec
from pqrun.core.settings import OutputSettings, PlaceSettings
from pqrun.core.start_policy import Headroom
from pqrun.core.text import place_of
from pqrun.engine.machine_load import LoadMonitor, count_workers
from pqrun.executors.dask.address import Tls, address_of
from pqrun.executors.dask.connection import SchedulerConnection

if TYPE_CHECKING:
    from pqrun.engine.executor import Reporter, RunFiles
    from pqrun.engine.live_run import LiveRun
    from pqrun.engine.reactor import Reactor
    from pqrun.executors.dask.executor import DaskExecutor


class ClusterLoad(LoadMonitor):
    """A load limit that allows no attempts while the cluster is unreachable or has no usable worker."""

    def __init__(self, link: SchedulerConnection, load: float | None, memfree: int | None) -> None:
        super().__init__(load, memfree)
        self._link = link

    def headroom(self, now: float, running: Callable[[], Sized]) -> Headroom:
        """Return how many attempts may run now.

        No further check is scheduled while the cluster has no slots, because the connection wakes the engine
        when it has slots again.
        """
        if not self._link.slots:
            self.next_check_at = inf
            away = self._link.client is None
            none = (
                "no worker of the cluster can write" if self._link.workers else "the cluster has no workers"
            )
            why = "the connection to the cluster broke" if away else none
            return Headroom(0, why, "on")
        if self.next_check_at == inf:
            self.next_check_at = -inf
        return super().headroom(now, running)


class DaskBackend:
    """A backend that runs jobs on a Dask cluster. It connects before anything of the run is created."""

    watchdogs = guarded = None  # each worker has its own watchdogs

    def __init__(
        self,
        settings: PlaceSettings,
        output: OutputSettings,
        jobs: Iterable[JobSpec],
        load: float | None,
        *,
        prompt: bool,
    ) -> None:
        self._settings = settings
        self._follow = output.output == "line"
        self._prompt = self._follow or prompt
        if output.output == "raw":
            raise UserError("--output raw passes output straight through: this is not possible on a cluster")
        if settings.noswap:
            raise UserError(f"--noswap looks at this machine only: it can't be used with --on {settings.on}")
        for job in jobs:
            self.validate_job(job)
        tls = Tls(settings.tls_ca, settings.tls_cert, settings.tls_key)
        self._link = SchedulerConnection(address_of(settings.on, tls, insecure=settings.insecure))
        self._executor: DaskExecutor | None = None
        self._limited = False
        self.machine: LoadMonitor = ClusterLoad(self._link, load, settings.memfree)
        self._link.open()

    def validate_job(self, job: JobSpec) -> None:
        """Raise UserError for a job that a cluster can't run."""
        on = f"with --on {self._settings.on}"
        if isinstance(job.work, Command) and isinstance(job.work.stdin, InputBlock):
            raise UserError(
                "the blocks of the input are on this machine, so they can't be read on a cluster "
                "(--on): split the input into files"
            )
        if job.slots > 1:
            raise UserError(
                f"{place_of(job)} asks for {job.slots} slots: {on} a job takes one; "
                "use `pools` for the resources of a worker that it needs"
            )
        if job.work.pty:
            raise UserError(f"{place_of(job)} asks for a terminal (`pty`): {on} there is none; remove `pty`")
        if job.work.stdin == OPEN_STDIN:
            raise UserError(
                f"{place_of(job)} asks for an open standard input: {on} nothing can be sent to a job; use a file"
            )

    def open(self, files: RunFiles, directory: str, reactor: Reactor) -> None:
        """Note the run's files and directory. Nothing has to be prepared on this machine."""
        self._files = files
        self._directory = directory

    def status_path(self, key: AttemptId) -> str:
        """Return a path where no status file appears, because it is on another machine."""
        return f"{self._files.workspace}/{key.seq}.{key.attempt}.report"

    def suspend(self, *, stopped: bool) -> None:
        """Do nothing: jobs on other machines are not suspended together with pqrun."""

    def count_workers(self, said: str | None) -> int:
        """Turn the value of `-j` into a number of slots, without it all that the cluster has now."""
        self._limited = said is not None
        return count_workers(said) if said else self._link.slots

    def executor(self, count: int, live: LiveRun, reporter: Reporter) -> DaskExecutor:
        """Create the executor and install the run on the cluster."""
        from pqrun.executors.dask.executor import DaskExecutor
        from pqrun.executors.dask.worker_plugin import RunConfig

        files = self._files
        self._executor = DaskExecutor(
            self._link,
            RunConfig("", files.run_id, self._directory, files.token, self._follow, self._prompt),
            clock=live.clock,
            reporter=reporter,
            logs=files.logs,
            limit=count if self._limited else None,
            say=live.warn,
            how_to_end=_how_to_end(files),
        )
        self._executor.open()
        return self._executor

    def workers(self) -> int:
        """Return how many attempts can run at a time now."""
        return self._executor.slots if self._executor is not None else self._link.slots

    def close(self) -> list[str]:
        """Close the connection. Returns one text for each attempt that was started more than once."""
        self._link.close()
        return self._executor.attempts.twice if self._executor is not None else []


def _how_to_end(files: RunFiles) -> str:
    """Return a sentence on how to end a run that waits for its cluster."""
    later = f", and `pqrun resume {shlex.quote(files.address)}` continues it later" if files.address else ""
    return f"Ctrl-C ends it{later}"
