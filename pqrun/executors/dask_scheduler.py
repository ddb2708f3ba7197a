# SPDX-License-Identifier: LGPL-3.0-or-later
"""What pqrun adds to a Dask scheduler for one run: no job runs twice there without our knowing.

Runs in the scheduler's process. The death of a worker ends what was there for good, and what has
begun stays where it is: to run it again is pqrun's decision. When pqrun's client goes, the runners go.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin


class Watch(SchedulerPlugin):
    """Follows one run's keys and tells under its topic what became of them without a report."""

    def __init__(self, name: str, run: str, client: str) -> None:
        self.name = name
        self._run = run
        self._client = client

    async def start(self, scheduler: Any) -> None:
        """It is registered."""
        self._scheduler = scheduler
        self._begun: dict[tuple[int, int], str] = {}
        self._over: set[tuple[int, int]] = set()
        self.tell_workers()

    def add_worker(self, scheduler: Any, worker: str) -> None:
        """There are more slots."""
        self.tell_workers()

    def remove_worker(self, scheduler: Any, worker: str, **_: Any) -> None:
        """There are fewer slots."""
        self.tell_workers()

    def remove_client(self, scheduler: Any, client: str) -> None:
        """The run is over, or its pqrun is dead."""
        if client == self._client:
            self._leaving = asyncio.ensure_future(self._leave())

    async def _leave(self) -> None:
        scheduler = self._scheduler
        with contextlib.suppress(Exception):
            scheduler.remove_plugin(self.name)
        with contextlib.suppress(Exception):  # each worker ends what it runs, and forgets the run
            await scheduler.unregister_worker_plugin(None, self.name)
        with contextlib.suppress(Exception):  # what was told last would be kept for good
            scheduler._broker.truncate(self.name)

    def log_event(self, topic: str, msg: Any) -> None:
        """A runner's news pass by."""
        for kind, seq, attempt, _, worker, _ in msg if topic == self.name else ():
            if kind == "started":
                self._begun[seq, attempt] = worker
                task = self._scheduler.tasks.get((self._run, seq, attempt))
                if task is not None:  # else a worker that retires would have it begun again elsewhere
                    task.worker_restrictions = {worker}
            elif kind in ("ended", "refused"):
                self._over.add((seq, attempt))

    def transition(self, key: Any, start: str, finish: str, *args: Any, **facts: Any) -> None:
        """A key of any client changes its state."""
        if type(key) is not tuple or len(key) != 3 or key[0] != self._run:
            return
        own = key[1:]
        if finish == "processing":
            task = self._scheduler.tasks.get(key)
            if task is not None:  # the first death of a worker is the last that it may meet
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

    def _gone(self, own: tuple[int, int], why: str) -> None:
        if own not in self._over:
            self._scheduler.log_event(self.name, [("gone", *own, "", "", why.encode())])

    def tell_workers(self) -> None:
        """Which there are, and what they offer."""
        workers = {
            address: (state.nthreads, dict(state.resources))
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
    """Has that run told of the workers again."""
    dask_scheduler.plugins[name].tell_workers()


def known_keys(run: str, dask_scheduler: Any = None) -> list[tuple[int, int]]:
    """Which of the run's attempts the scheduler has not forgotten."""
    return [key[1:] for key in dask_scheduler.tasks if type(key) is tuple and key[0] == run]
