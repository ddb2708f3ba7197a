# SPDX-License-Identifier: LGPL-3.0-or-later
"""The feeds that browsers watch. Each is polled on a thread of its own while a browser watches it.

A poll may take `MAX_CPU_SHARE` of one processor in the long run, so that watching takes little from the jobs. One that
is not done is called again at once, because the run is slow or has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from pqrun.app.web.event_stream import HEARTBEAT, message
from pqrun.app.web.run_feed import POLL_SECONDS, RunFeed
from pqrun.core.errors import UserError
from pqrun.core.text import escape_controls
from pqrun.journal.run_directory import RunDirectory, run_directories
from pqrun.journal.run_list import RunListing, past_runs, shortest_prefixes

T = TypeVar("T")
MAX_POLL_SECONDS = 30.0
MAX_CPU_SHARE = 0.03
HEARTBEAT_SECONDS = 15.0
UNWATCHED_SECONDS = 10.0
MAX_FEEDS = 12
MAX_LISTED = 500


class PolledSource:
    """Something that is polled on its own thread while it is watched.

    `poll` returns the seconds until it wants to be called again. 0: at once, because it is not done yet.
    """

    def __init__(self, name: str, poll: Callable[[], float]) -> None:
        self.watchers = 0
        self._thread = ThreadPoolExecutor(1, name)
        self._poll = poll
        self._news = asyncio.Event()
        self._stir = asyncio.Event()
        self._ready = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def call(self, question: Callable[..., T], *values: Any) -> T:
        """Call a function on the thread of the source, after the first poll that was done."""
        await self._ready.wait()
        return await asyncio.get_running_loop().run_in_executor(self._thread, question, *values)

    def poll_soon(self) -> None:
        """Poll now, because something was changed."""
        self._stir.set()

    async def changed(self) -> bool:
        """Wait for the next poll; return False after `HEARTBEAT_SECONDS` without one."""
        try:
            async with asyncio.timeout(HEARTBEAT_SECONDS):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            wanted, took = await loop.run_in_executor(self._thread, self._timed)
            self._news.set()
            self._news = asyncio.Event()
            if not wanted:
                continue
            self._ready.set()
            pause = min(MAX_POLL_SECONDS, max(wanted, took / MAX_CPU_SHARE))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stir.wait()
            self._stir.clear()

    def _timed(self) -> tuple[float, float]:
        before, wanted = time.thread_time(), POLL_SECONDS
        try:
            wanted = self._poll()
        except Exception:
            # A bug. It must not end the polling in silence, which would leave all pages as they are.
            traceback.print_exc(file=sys.stderr)
        return wanted, time.thread_time() - before

    async def close(self, end: Callable[[], None] = lambda: None) -> None:
        """End the polling, once. `end` is called as the last on the thread."""
        if self._task.cancelling() or self._task.done():
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._thread.submit(end)
        self._thread.shutdown(wait=False)


class WatchedRun:
    """The feed of a run, with its polling."""

    def __init__(self, run: RunDirectory, *, read_only: bool) -> None:
        self.feed = RunFeed(run, read_only=read_only)
        self.source = PolledSource("run", self.feed.poll)

    async def events(self, mark: str) -> AsyncGenerator[bytes, None]:
        """Yield the events of the run after a mark, then new ones as they come."""
        now = self.feed.file
        offset = _offset(mark, now.mark, now.size)
        sent = -1
        if not offset:
            yield message("anew", "{}")
        while True:
            if self.feed.file is not now:
                now, offset, sent = self.feed.file, 0, -1
                yield message("anew", "{}")
            # The head is taken before the records are read: a page never sees more ended jobs than its head.
            version, head, size = now.version, now.head, now.size
            while offset < size:
                piece = now.read(offset)
                offset += len(piece)
                yield piece
            if version != sent and head:
                sent = version
                yield head
            if (now.version, now.size) == (version, size) and not await self.source.changed():
                yield HEARTBEAT


def _offset(mark: str, current: str, size: int) -> int:
    """Return where a browser reads on that has seen the events up to a mark; 0 for another file's mark."""
    name, _, offset = mark.partition("-")
    try:
        found = int(offset, 16)
    except ValueError:
        return 0
    return found if name == current and 0 <= found <= size else 0


class RunFeeds:
    """All feeds, and the list of runs. Belongs to the thread of the event loop. `ended`: the server ends."""

    def __init__(self, *, read_only: bool) -> None:
        self.read_only = read_only
        self._watched: dict[str, WatchedRun] = {}
        self._list: PolledSource | None = None
        self._listed: bytes = b""
        self._closing: set[asyncio.Task[None]] = set()  # the event loop itself keeps only weak references
        self.ended = asyncio.Event()

    def end(self) -> None:
        """End all streams of events, because the server ends."""
        self.ended.set()

    @contextlib.asynccontextmanager
    async def watching(self, name: str) -> AsyncIterator[WatchedRun]:
        """Watch a run of the state directory until the end of the block.

        Raises `UserError` if there is no such run, or if too many runs are watched.
        """
        run = next((run for run in run_directories() if os.path.basename(run.path) == name), None)
        if run is None:
            raise UserError("no such run")
        run.check()
        watched = self._watched.get(name)
        if watched is None:
            if len(self._watched) >= MAX_FEEDS:
                raise UserError(f"{MAX_FEEDS} runs are open in browsers: close a page first")
            watched = self._watched[name] = WatchedRun(run, read_only=self.read_only)
        watched.source.watchers += 1
        try:
            yield watched
        finally:
            watched.source.watchers -= 1
            if not watched.source.watchers:
                asyncio.get_running_loop().call_later(UNWATCHED_SECONDS, self._leave, name, watched)

    def _leave(self, name: str, watched: WatchedRun) -> None:
        if not watched.source.watchers and self._watched.get(name) is watched:
            del self._watched[name]
            closing = asyncio.create_task(watched.source.close(watched.feed.close))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def runs(self) -> AsyncGenerator[bytes, None]:
        """Yield the list of runs whenever it has changed."""
        self._list = self._list or PolledSource("list", self._read_list)
        source, sent = self._list, b""
        source.watchers += 1
        try:
            while True:
                if self._listed and self._listed != sent:
                    sent = self._listed
                    yield sent
                if not await source.changed():
                    yield HEARTBEAT
        finally:
            source.watchers -= 1
            if not source.watchers and self._list is source:
                self._list = None
                await source.close()

    def _read_list(self) -> float:
        found = past_runs()
        lengths = shortest_prefixes(one.id for one in found)
        runs = [_entry(one, lengths[one.id]) for one in found[:MAX_LISTED]]
        facts = {"runs": runs, "count": len(found), "readOnly": self.read_only}
        self._listed = message("runs", facts)
        return POLL_SECONDS

    async def close(self) -> None:
        """End all polling."""
        for watched in self._watched.values():
            await watched.source.close(watched.feed.close)
        if self._list is not None:
            await self._list.close()


def _entry(listing: RunListing, length: int) -> dict[str, Any]:
    return {
        "id": listing.id, "prefix": length, "state": listing.state, "began": listing.began,
        "ended": listing.ended, "source": escape_controls(listing.source), "jobs": listing.jobs,
        "outcomes": dict(listing.outcomes), "failed": listing.failed, "left": listing.left,
        "workers": listing.workers, "trouble": escape_controls(listing.trouble),
        "address": listing.run.address,
    }  # fmt: skip
