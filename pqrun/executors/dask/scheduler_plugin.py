# SPDX-License-Identifier: LGPL-3.0-or-later
"""The plugin that a run installs in the Dask scheduler, so that no job runs twice unnoticed.

The plugin runs in the scheduler's process. The death of a worker ends the attempts there for good, and a started
attempt is never moved: only pqrun decides to run a job again. When pqrun's client disconnects, the plugin
removes the worker plugins, which end their jobs.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import time
from collections.abc import Iterable
from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin

NO_WORKER = "no worker"


class RunWatchPlugin(SchedulerPlugin):
    """A watcher of one run's keys. Publishes under the run's topic the ends that no worker reports."""

    def __init__(self, name: str, run: str, client: str) -> None:
        self.name = name
        self._run = run
        self._client = client

    async def start(self, scheduler: Any) -> None:
        """Prepare the state when Dask registers the plugin."""
        self._scheduler = scheduler
        self._begun: dict[tuple[int, int], str] = {}
        self._over: set[tuple[int, int]] = set()
        self._lacking: dict[str, str] = {}
        self.tell_workers()

    def add_worker(self, scheduler: Any, worker: str) -> None:
        """Publish the new slots, when a worker joins."""
        self._lacking.pop(worker, None)
        if self._lacking:
            self._restrict(scheduler.tasks)
        self.tell_workers()

    def remove_worker(self, scheduler: Any, worker: str, **_: Any) -> None:
        """Publish the loss of slots, when a worker leaves."""
        if self._lacking.pop(worker, None) is not None:
            self._restrict(scheduler.tasks)
        self.tell_workers()

    def update_graph(self, scheduler: Any, *, tasks: Any = (), **_: Any) -> None:
        """Restrict new keys to the workers that can write, when any client adds keys."""
        if self._lacking:
            self._restrict(tasks)

    def remove_client(self, scheduler: Any, client: str) -> None:
        """Remove the run from the cluster when its client has left: it has ended, or pqrun is dead."""
        if client == self._client:
            self._leaving = asyncio.ensure_future(self._leave())

    async def _leave(self) -> None:
        scheduler = self._scheduler
        with contextlib.suppress(Exception):
            scheduler.remove_plugin(self.name)
        with contextlib.suppress(Exception):  # each worker ends its jobs and forgets the run
            await scheduler.unregister_worker_plugin(None, self.name)
        with contextlib.suppress(Exception):  # Dask would keep the last messages for ever
            scheduler._broker.truncate(self.name)

    def log_event(self, topic: str, msg: Any) -> None:
        """Read the messages of the worker plugins as they pass through the scheduler."""
        for kind, seq, attempt, _, worker, told in msg if topic == self.name else ():
            if kind == "started":
                self._begun[seq, attempt] = worker
                task = self._scheduler.tasks.get((self._run, seq, attempt))
                if task is not None:  # without a pin, Dask runs it again elsewhere when its worker retires
                    task.worker_restrictions = {worker}
            elif kind in ("ended", "refused"):
                self._over.add((seq, attempt))
            elif kind == "room":
                self._heed_room(worker, told.decode())

    def transition(self, key: Any, start: str, finish: str, *args: Any, **facts: Any) -> None:
        """Handle the new state of a key, of any client."""
        if type(key) is not tuple or len(key) != 3 or key[0] != self._run:
            return
        own = key[1:]
        if finish == "processing":
            task = self._scheduler.tasks.get(key)
            if task is not None:  # Dask must not run it again: the first death of its worker is final
                task.suspicious = self._scheduler.allowed_failures
        elif finish == "erred":
            self._gone(own, _why(facts))
        elif finish == "no-worker" and own in self._begun:
            self._gone(own, f"its worker {self._begun[own]} has left the cluster")
        elif finish in ("memory", "forgotten"):
            if own not in self._over:
                self._gone(own, "the cluster has let go of it without a report")
            if finish == "forgotten":
                self._begun.pop(own, None)
                self._over.discard(own)

    def _heed_room(self, worker: str, lacks: str) -> None:
        """Note that a worker can't write the files of its jobs, or that it can again."""
        scheduler = self._scheduler
        if worker not in scheduler.workers or bool(lacks) == (worker in self._lacking):
            return
        if lacks:
            self._lacking[worker] = lacks
        else:
            del self._lacking[worker]
        self._restrict(scheduler.tasks)
        asyncio.get_running_loop().call_soon(self._has_changed, worker)

    def _has_changed(self, worker: str) -> None:
        scheduler = self._scheduler
        state = scheduler.workers.get(worker)
        if state is not None and worker not in self._lacking:  # it can take keys that no worker could take
            wait_no_more = scheduler.bulk_schedule_unrunnable_after_adding_worker(state)
            scheduler.transitions(wait_no_more, f"pqrun-room-{time.time()}")
        self.tell_workers()

    def _restrict(self, keys: Iterable[Any]) -> None:
        """Keep the attempts that have not started away from the workers that can't write."""
        scheduler = self._scheduler
        fit = {worker for worker in scheduler.workers if worker not in self._lacking}
        for key in list(keys):
            if type(key) is tuple and len(key) == 3 and key[0] == self._run and key[1:] not in self._begun:
                task = scheduler.tasks.get(key)
                if task is not None:  # to Dask an empty set means no restriction, hence NO_WORKER
                    task.worker_restrictions = (fit.copy() or {NO_WORKER}) if self._lacking else None

    def _gone(self, own: tuple[int, int], why: str) -> None:
        if own not in self._over:
            self._scheduler.log_event(self.name, [("gone", *own, "", "", why.encode())])

    def tell_workers(self) -> None:
        """Publish the workers with their slots and resources."""
        workers = {
            address: (state.nthreads, dict(state.resources), self._lacking.get(address, ""))
            for address, state in self._scheduler.workers.items()
        }
        self._scheduler.log_event(self.name, [("workers", 0, 0, "", "", pickle.dumps(workers))])


def _why(facts: dict[str, Any]) -> str:
    text = str(facts.get("exception_text") or "")
    if not text:
        with contextlib.suppress(Exception):
            error = pickle.loads(facts["exception"])
            return f"its worker {error.last_worker.address} died"
    return f"its worker failed: {text}" if text else "its worker died"


def tell_workers(name: str, dask_scheduler: Any = None) -> None:
    """Publish the run's workers again. Runs in the scheduler's process."""
    dask_scheduler.plugins[name].tell_workers()


def known_keys(run: str, dask_scheduler: Any = None) -> list[tuple[int, int]]:
    """Return the run's attempts that the scheduler still knows. Runs in the scheduler's process."""
    return [key[1:] for key in dask_scheduler.tasks if type(key) is tuple and key[0] == run]
