# SPDX-License-Identifier: LGPL-3.0-or-later
"""The messages of a worker to pqrun: those of its attempts, in order and in batches, and whether it can write.

Each message costs every process that it passes through. The report of an end is kept until pqrun acknowledges it,
because pqrun asks for it again if the scheduler dies on the way.

A worker on a full disk takes no attempts until it can write again. Otherwise each attempt would fail at once there,
and the worker would attract all the others. The check runs only after a write has failed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from threading import Lock, get_ident
from typing import Any

from pqrun.core.job import AttemptId, Exit, LostExit, NotStarted
from pqrun.output.store import COPY_CHUNK_BYTES, write_all

FLUSH_INTERVAL_SECONDS = 0.02
CHECK_INTERVAL_SECONDS = 2.0

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


class WorkerDisk:
    """The directory of one run on a worker. `lacks`: why it can't be written, empty if it can.

    `tell(lacks)` is called on the worker's event loop when this has changed, and every two seconds while the
    directory can't be written, because a scheduler that connects later needs to know too.
    """

    def __init__(self, directory: str, tell: Callable[[str], None]) -> None:
        self.directory = directory
        self.lacks = ""
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._closed = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    def look(self) -> str:
        """Try to write, on any thread. Returns `lacks`."""
        path = f"{self.directory}/room-{get_ident()}"
        try:
            os.makedirs(self.directory, 0o700, exist_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                write_all(fd, bytes(COPY_CHUNK_BYTES))
            finally:
                os.unlink(path)
                os.close(fd)
        except OSError as error:
            if not self.lacks:
                self.lacks = f"cannot write in {self.directory}: {error.strerror}"
                self._loop.call_soon_threadsafe(self._begin)
        else:
            self.lacks = ""
        return self.lacks

    async def close(self) -> None:
        """Stop checking."""
        self._closed.set()
        if self._watching is not None:
            await self._watching

    def _begin(self) -> None:
        self._tell(self.lacks)
        if self._watching is None or self._watching.done():
            self._watching = self._loop.create_task(self._watch())

    async def _watch(self) -> None:
        while self.lacks and not self._closed.is_set():
            try:
                await asyncio.wait_for(self._closed.wait(), CHECK_INTERVAL_SECONDS)
            except TimeoutError:
                await asyncio.to_thread(self.look)  # a network disk could block the event loop
                self._tell(self.lacks)


def may_be_disk_full(exit: Exit) -> bool:
    """Say whether a full disk may be the cause of this exit: lost output, or an unwritten script or stdin."""
    return isinstance(exit, LostExit) or (isinstance(exit, NotStarted) and exit.code == 126)
