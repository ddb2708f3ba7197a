# SPDX-License-Identifier: LGPL-3.0-or-later
"""An answer without an end: Server-Sent Events to a browser that may be slow, or gone.

The events of a run are in a file without a name, which each browser reads from where it is. So no browser needs a
queue, and a new one reads the same file from its beginning.

The next piece is read only when the browser has taken the one before, so that a slow browser costs the memory
of two pieces. One that takes nothing for `SEND_TIMEOUT_SECONDS` is dropped; it connects again by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import tempfile
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

SEND_TIMEOUT_SECONDS, LAST_TIMEOUT_SECONDS = 30.0, 1.0
HEARTBEAT = b":\n\n"
READ_BYTES = 64 * 1024


def message(kind: str, data: Any, *, mark: str = "") -> bytes:
    """Return an event. ASCII JSON has no line ends, and so can't begin another event."""
    text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
    head = f"id: {mark}\n" if mark else ""
    return f"{head}event: {kind}\ndata: {text}\n\n".encode("ascii")


@dataclass(slots=True)
class FeedFile:
    """The events of a feed so far. `size`: the bytes that may be read; `head`: the newest event of the run.

    `complete_size`: the size when the feed first had all of the journal, 0 before that.
    """

    mark: str = field(default_factory=lambda: secrets.token_hex(4))
    file: BinaryIO = field(default_factory=tempfile.TemporaryFile)
    size: int = 0
    complete_size: int = 0
    head: bytes = b""
    version: int = 0

    def read(self, offset: int) -> bytes:
        """Return the events from an offset, at most 64 KiB of them."""
        return os.pread(self.file.fileno(), min(READ_BYTES, self.size - offset), offset)

    def put(self, kind: str, data: str) -> None:
        """Append an event. Its mark says where to read on after it."""
        size = len(message(kind, data, mark=self._mark(0)))
        event = message(kind, data, mark=self._mark(self.size + size))
        os.pwrite(self.file.fileno(), event, self.size)
        self.size += size

    def tell(self, head: bytes) -> None:
        """Replace the newest event of the run, unless it says the same."""
        if head != self.head:
            self.head = head
            self.version += 1

    def _mark(self, offset: int) -> str:
        return f"{self.mark}-{offset:012x}"


class EventStream(Response):
    """The events of a generator, until it or the server ends, or the browser is gone or takes nothing for too long."""

    def __init__(self, pieces: AsyncGenerator[bytes, None], ended: asyncio.Event) -> None:
        super().__init__(media_type="text/event-stream")
        del self.headers["content-length"]
        self._pieces = pieces
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the end."""
        sending = asyncio.ensure_future(self._send(send))
        tasks = {sending, asyncio.ensure_future(_gone(receive)), asyncio.ensure_future(self._ended.wait())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            await self._pieces.aclose()
        for result in results:
            if isinstance(result, Exception):
                raise result
        with contextlib.suppress(TimeoutError):
            last = {"type": "http.response.body", "body": b"", "more_body": False}
            async with asyncio.timeout(LAST_TIMEOUT_SECONDS):
                await send(last)

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        with contextlib.suppress(TimeoutError):
            async for piece in self._pieces:
                body = {"type": "http.response.body", "body": piece, "more_body": True}
                # Not `wait_for`: with Python 3.11 that loses a cancellation that comes when `send` has just returned.
                async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                    await send(body)


async def _gone(receive: Receive) -> None:
    """Return when the browser has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
