# SPDX-License-Identifier: LGPL-3.0-or-later
"""The way of attempts to Dask, in batches and only where a worker can run them, and of their output back.

Small outputs come with the report of the end, larger ones in pieces. A worker holds its slot until the output was
fetched. All of it runs on the connection's thread.
"""

from __future__ import annotations

import asyncio
import pickle
from collections import defaultdict
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any

from pqrun.core.errors import InternalFailure
from pqrun.core.job import AttemptId
from pqrun.core.notices import OutputAdvanced
from pqrun.engine.clock import Clock
from pqrun.engine.executor import Reporter
from pqrun.executors.dask.attempts import RemoteAttempt, RemoteAttempts
from pqrun.executors.dask.connection import SchedulerConnection
from pqrun.executors.dask.worker_plugin import run_attempt
from pqrun.output.store import Capture, Logs

DASK_PRIORITY = 10
SEND_INTERVAL_SECONDS = 0.01
RESOURCES_TIMEOUT_SECONDS = 3.0
RESOURCES_CHECK_INTERVAL_SECONDS = 0.25
RECONNECT_TIMEOUT_SECONDS = 30.0

Submit = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class SubmissionBatcher:
    """A batcher of attempts for Dask. `failed(key, why)` is called for an attempt that could not be sent.

    Sending several attempts costs Dask about as much as sending one. So while the cluster has enough
    attempts, a new one waits up to SEND_INTERVAL_SECONDS for others.
    """

    def __init__(
        self,
        link: SchedulerConnection,
        run_id: str,
        attempts: RemoteAttempts,
        clock: Clock,
        failed: Callable[[AttemptId, str], None],
    ) -> None:
        self._link = link
        self._run_id = run_id
        self._attempts = attempts
        self._clock = clock
        self._failed = failed
        self._outbox: list[RemoteAttempt] = []
        self._due = False
        self._complete_at = -inf

    def put(self, live: RemoteAttempt) -> None:
        """Send an attempt soon."""
        self._outbox.append(live)
        if not self._due and self._link.client is not None:
            self._due = True
            if len(self._attempts.live) - len(self._outbox) >= 2 * self._link.slots:
                self._link.loop.call_later(SEND_INTERVAL_SECONDS, self._send)
            else:
                self._link.loop.call_soon(self._send)

    async def put_where_possible(self, live: RemoteAttempt) -> str:
        """Wait up to 3 seconds for a worker with the job's resources, then send the attempt.

        Return why it can't be sent, or "".
        """
        wanted, now = live.attempt.spec.pools, self._clock.now
        until = now() + RESOURCES_TIMEOUT_SECONDS
        while not live.over:
            offers = [facts.resources for facts in self._link.workers.values()]
            if any(all(offer.get(name, 0) >= count for name, count in wanted) for offer in offers):
                self.put(live)
                return ""
            if self._link.client is None:
                until = now() + RESOURCES_TIMEOUT_SECONDS
            elif now() >= max(until, self._complete_at):
                asks = " ".join(f"{name}={count}" for name, count in wanted)
                return (
                    f"no worker of the cluster has {asks}: start one with `dask worker --resources '{asks}'`"
                )
            await asyncio.sleep(RESOURCES_CHECK_INTERVAL_SECONDS)
        return ""

    def reconnected(self) -> None:
        """Send the waiting attempts, since the scheduler is back. Workers may be missing for 30 seconds."""
        self._complete_at = self._clock.now() + RECONNECT_TIMEOUT_SECONDS
        self._send()

    def _send(self) -> None:
        self._due = False
        if self._link.client is None:
            return
        outbox, self._outbox = self._outbox, []
        alike: dict[tuple[int, tuple[tuple[str, int], ...]], list[RemoteAttempt]] = defaultdict(list)
        for live in outbox:
            if not live.over:
                spec, again = live.attempt.spec, live.attempt.key.seq in self._attempts.lost_jobs
                # A job that was lost before goes ahead of others with the same priority.
                alike[spec.priority * DASK_PRIORITY + again, spec.pools].append(live)
        for (priority, pools), lives in alike.items():
            try:
                futures = self._link.client.map(
                    run_attempt,
                    [self._link.name] * len(lives),
                    [pickle.dumps(live.attempt) for live in lives],
                    key=[(self._run_id, *live.attempt.key) for live in lives],
                    pure=False, retries=0, priority=priority, resources=dict(pools) or None,
                )  # fmt: skip
            except Exception as error:  # the connection is breaking, which `connection` will notice
                for live in lives:
                    self._failed(live.attempt.key, f"it could not be sent: {error}")
                continue
            for live, future in zip(lives, futures, strict=True):
                live.future = future


class RemoteOutputs:
    """The fetching of attempts' outputs.

    `follow`: fetch output while attempts run, and report it with `OutputAdvanced`. `do` starts a coroutine as
    a task.
    """

    def __init__(
        self,
        link: SchedulerConnection,
        reporter: Reporter,
        logs: Logs,
        *,
        follow: bool,
        do: Submit,
    ) -> None:
        self._link = link
        self._reporter = reporter
        self._logs = logs
        self._follow = follow
        self._do = do
        self._following: dict[AttemptId, asyncio.Task[None]] = {}

    def grew(self, live: RemoteAttempt, worker: str) -> None:
        """Start to fetch the new output that a running attempt has at its worker."""
        if live.attempt.key not in self._following:
            self._following[live.attempt.key] = self._do(self._take_some(live, worker))

    def take_at_once(self, live: RemoteAttempt, within: tuple[bytes, bytes]) -> bool:
        """Store an output that came complete with the report.

        Returns False if a part of it was or is being fetched already; the caller then fetches the rest.
        """
        if live.output is not None or live.attempt.key in self._following:
            return False
        live.output = capture = Capture(self._logs, live.attempt.key)
        for stream, data in ((capture.out, within[0]), (capture.err, within[1])):
            if data:
                stream.put(data, by_line=self._follow)
        return True

    async def take_rest(self, live: RemoteAttempt, worker: str, sizes: tuple[int, int]) -> bool:
        """Fetch all output that is not here yet. `sizes`: the bytes of stdout and stderr.

        Returns False if it can't be fetched any more.
        """
        while (following := self._following.get(live.attempt.key)) is not None:
            await asyncio.wait([following])
        for number, size in enumerate(sizes, 1):
            if not await self._take(live, worker, number, size):
                return False
        return True

    def finish(self, live: RemoteAttempt) -> None:
        """Close the attempt's output, when no more will come."""
        if live.output is not None:
            try:
                live.output.finish()
            except InternalFailure as failure:
                self._reporter.fail(failure)

    async def _take_some(self, live: RemoteAttempt, worker: str) -> None:
        for number in (1, 2):
            await self._take(live, worker, number)
        self._following.pop(live.attempt.key, None)

    async def _take(self, live: RemoteAttempt, worker: str, number: int, size: int | None = None) -> bool:
        """Fetch the new output of stream `number`: all up to `size`, if known, else what there is.

        Returns False if it can't be fetched any more.
        """
        key = live.attempt.key
        more = True
        while more and not live.over:
            live.output = live.output or Capture(self._logs, key)
            stream = live.output.stream(number)
            if stream.size == size:
                break
            answer = await self._link.read(worker, key, number, stream.size)
            if live.over:
                break
            if answer is None:
                return False
            data, more = answer
            if not data:
                return size is None
            try:
                stream.put(data, by_line=self._follow)
            except InternalFailure as failure:
                self._reporter.fail(failure)
                return True
            except OSError as error:
                self._reporter.fail(InternalFailure(f"cannot write {stream.path}: {error.strerror}"))
                return True
            if self._follow and stream.last_line_end:
                self._reporter.post(OutputAdvanced(key, number, stream.last_line_end, stream))
        return True
