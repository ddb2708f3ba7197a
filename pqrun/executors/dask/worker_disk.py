# SPDX-License-Identifier: LGPL-3.0-or-later
"""Whether a Dask worker can write what its jobs need written: their output, scripts and reports.

A worker without room takes no attempt until there is room again, else it would be the quickest of all to be
free for the next one. Whether there is room is looked at only after something could not be written.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from threading import get_ident

from pqrun.core.job import Exit, LostExit, NotStarted
from pqrun.output.store import COPY_CHUNK_BYTES, write_all

CHECK_INTERVAL_SECONDS = 2.0


class WorkerDisk:
    """A directory for one run. `lacks` says why nothing can be written there, empty if it can.

    `tell(lacks)` is called in the worker's loop when that has changed, and now and then while there is no room,
    as a scheduler that begins to listen later has to learn of it too.
    """

    def __init__(self, directory: str, tell: Callable[[str], None]) -> None:
        self.directory = directory
        self.lacks = ""
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._closed = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    def look(self) -> str:
        """Tries to write there, from any thread."""
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
        """Looks no more."""
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
                await asyncio.to_thread(self.look)  # the disk may be a distant one
                self._tell(self.lacks)


def may_be_disk_full(exit: Exit) -> bool:
    """Whether output may have been lost, or a script or a text for stdin may not have been written."""
    return isinstance(exit, LostExit) or (isinstance(exit, NotStarted) and exit.code == 126)
