# SPDX-License-Identifier: LGPL-3.0-or-later
"""The messages of a worker: sent in order, and those of short jobs in batches.

Each message costs every process that it passes through. The report of an end is kept until pqrun
acknowledges it, because pqrun asks for it again if the scheduler dies on the way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from threading import Lock
from typing import Any

from pqrun.core.job import AttemptId

FLUSH_INTERVAL_SECONDS = 0.02

Fact = tuple[str, int, int, str, str, bytes]


class MessageBatcher:
    """A batcher of messages. Any thread adds them; the worker's event loop sends them under one topic."""

    def __init__(self, worker: Any, topic: str) -> None:
        self._worker = worker
        self._topic = topic
        self._loop = asyncio.get_running_loop()
        self._lock = Lock()
        self._outbox: list[Fact] = []
        self._due = self._ticking = False
        self._unacknowledged: dict[AttemptId, Fact] = {}

    def put(self, fact: Fact, *, at_once: bool) -> None:
        """Add a message, and send it immediately (`at_once`) or within 20 ms."""
        with self._lock:
            self._outbox.append(fact)
            if fact[0] == "ended":
                self._unacknowledged[AttemptId(fact[1], fact[2])] = fact
            if at_once and not self._due:
                self._due = True
                self._loop.call_soon_threadsafe(self._send)
            elif not (at_once or self._ticking):
                self._ticking = True
                self._loop.call_soon_threadsafe(self._loop.call_later, FLUSH_INTERVAL_SECONDS, self._tick)

    def acknowledged(self, keys: Iterable[AttemptId]) -> None:
        """Drop the reports of these attempts, which pqrun has received."""
        with self._lock:
            for key in keys:
                self._unacknowledged.pop(key, None)

    def unacknowledged(self) -> list[Fact]:
        """Return the reports of ends that pqrun may not have received."""
        with self._lock:
            return list(self._unacknowledged.values())

    def _tick(self) -> None:
        with self._lock:  # keep ticking while there are messages: waking this thread again costs more
            self._ticking = bool(self._outbox)
        if self._ticking:
            self._send()
            self._loop.call_later(FLUSH_INTERVAL_SECONDS, self._tick)

    def _send(self) -> None:
        with self._lock:
            self._due = False
            outbox, self._outbox = self._outbox, []
        if outbox:
            self._worker.log_event(self._topic, outbox)
