# SPDX-License-Identifier: LGPL-3.0-or-later
"""Sends attempts to the cluster, a few at a time. Everything here happens in the link's thread."""

from __future__ import annotations

import pickle
from collections import defaultdict
from collections.abc import Callable

from pqrun.executors.dask_book import Live
from pqrun.executors.dask_link import Link
from pqrun.executors.dask_worker import run_attempt
from pqrun.model import Key

URGENCY = 10
PAUSE = 0.01


class Sender:
    """What Dask takes to learn of one attempt it needs for some too: while enough is there, it may wait."""

    def __init__(self, link: Link, run_id: str, failed: Callable[[Key, str], None]) -> None:
        self._link = link
        self._run_id = run_id
        self._failed = failed
        self._outbox: list[tuple[Live, bool]] = []
        self._due = False

    def put(self, live: Live, *, again: bool, there: int) -> None:
        """`again`: it was lost before, and goes ahead of its equals; so many are at the cluster already."""
        self._outbox.append((live, again))
        if not self._due and self._link.client is not None:
            self._due = True
            if there - len(self._outbox) >= 2 * self._link.slots:
                self._link.loop.call_later(PAUSE, self._send)
            else:
                self._link.loop.call_soon(self._send)

    def back(self) -> None:
        """The scheduler is: what has waited for it may go."""
        self._send()

    def _send(self) -> None:
        self._due = False
        if self._link.client is None:
            return
        outbox, self._outbox = self._outbox, []
        alike: dict[tuple[int, tuple[tuple[str, int], ...]], list[Live]] = defaultdict(list)
        for live, again in outbox:
            if not live.over:
                spec = live.attempt.spec
                alike[spec.priority * URGENCY + again, spec.pools].append(live)
        for (priority, pools), lives in alike.items():
            try:
                futures = self._link.client.map(
                    run_attempt,
                    [self._link.name] * len(lives),
                    [pickle.dumps(live.attempt) for live in lives],
                    key=[(self._run_id, *live.attempt.key) for live in lives],
                    pure=False, retries=0, priority=priority, resources=dict(pools) or None,
                )  # fmt: skip
            except Exception as error:  # the connection is breaking: that will be noticed
                for live in lives:
                    self._failed(live.attempt.key, f"it could not be sent: {error}")
                continue
            for live, future in zip(lives, futures, strict=True):
                live.future = future
