# SPDX-License-Identifier: LGPL-3.0-or-later
"""The events of a feed in a file without a name, which browsers read from where each of them is.

So no browser needs a queue, and a new one reads the same file from its beginning.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from dataclasses import dataclass, field
from typing import BinaryIO

from pqrun.app.web.event_stream import message

READ_BYTES = 64 * 1024


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
