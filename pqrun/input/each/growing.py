# SPDX-License-Identifier: LGPL-3.0-or-later
"""The stdin of a job that stays and gets one block after another (`--round-robin`): a file that grows."""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Condition
from typing import Final

_CHUNK_BYTES: Final = 1 << 20


class GrowingFile:
    """A file to which the main thread appends blocks, while a thread sends all of it to the job.

    The file keeps what was sent, because a retry reads everything from the beginning. `wake` is called on any thread
    when less than `low` bytes wait to be sent.
    """

    def __init__(self, path: str, fd: int, *, low: int, wake: Callable[[], None]) -> None:
        self.path = path
        self.written = 0
        self.closed = False
        self._fd = fd
        self._low = low
        self._wake = wake
        self._changed = Condition()
        self._sent = 0
        self._sender = 0
        self._ended = False

    @property
    def wants_more(self) -> bool:
        """Whether the job has read nearly all of the file."""
        return not self.closed and self.backlog < self._low

    @property
    def backlog(self) -> int:
        """How many bytes wait to be sent."""
        return self.written - self._sent

    def append(self, data: bytes) -> None:
        """Write data for the job. Raises OSError."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        with self._changed:
            self.written += len(data)
            self._changed.notify_all()

    def end(self) -> None:
        """End the input of the job: nothing more is appended."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Note that the job has ended for good. Called on the dispatcher thread."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()
        self._wake()

    def send(self, pipe: int) -> None:
        """Write the whole file into a pipe, until its end or until the job no longer reads; close the pipe.

        Called on a thread for each attempt. A later attempt begins again, and its sender ends an earlier one.
        """
        with self._changed:
            self._sender += 1
            sender, sent, self._sent = self._sender, 0, 0
            self._changed.notify_all()
        try:
            while self._more(sender, sent):
                sent += self._send_some(pipe, sent)
                with self._changed:
                    if sender == self._sender:
                        self._sent = sent
                if self.wants_more:
                    self._wake()
        except BrokenPipeError:
            pass
        finally:
            os.close(pipe)

    def _more(self, sender: int, sent: int) -> bool:
        """Wait until there is more to send; return False if there never will be."""
        with self._changed:
            self._changed.wait_for(
                lambda: self.written > sent or self._ended or self.closed or sender != self._sender
            )
            return self.written > sent and not self.closed and sender == self._sender

    def _send_some(self, pipe: int, at: int) -> int:
        return os.write(pipe, os.pread(self._fd, min(_CHUNK_BYTES, self.written - at), at))
