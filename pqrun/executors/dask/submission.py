# SPDX-License-Identifier: LGPL-3.0-or-later
"""The way of attempts to Dask: in batches, and only where a worker has the resources that they need.

All of it runs on the connection's thread.
"""

from __future__ import annotations

import asyncio
import pickle
from collections import defaultdict
from collections.abc import Callable
from math import inf

from pqrun.core.job import AttemptId
from pqrun.engine.clock import Clock
from pqrun.executors.dask.attempts import RemoteAttempt, RemoteAttempts
from pqrun.executors.dask.connection import SchedulerConnection
from pqrun.executors.dask.worker_plugin import run_attempt

DASK_PRIORITY = 10
SEND_INTERVAL_SECONDS = 0.01
RESOURCES_TIMEOUT_SECONDS = 3.0
RESOURCES_CHECK_INTERVAL_SECONDS = 0.25
RECONNECT_TIMEOUT_SECONDS = 30.0


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
