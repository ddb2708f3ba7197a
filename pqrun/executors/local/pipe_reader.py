# SPDX-License-Identifier: LGPL-3.0-or-later
"""[hot path] The reader of a job's output: the read ends of the pipes of its stdout and stderr."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Sequence

from pqrun.core.errors import InternalFailure
from pqrun.core.job import AttemptId
from pqrun.output.store import Capture, Logs, Stream, bytes_available

MAX_READ_BYTES = 1 << 20
NO_LOGS, NO_ATTEMPT = Logs("", keep=False), AttemptId(0, 0)
NOTHING_PRINTED = Capture(NO_LOGS, NO_ATTEMPT)


class PipeReader:
    """The reader of the pipes of a job; without pipes, the job writes to pqrun's own streams.

    `capture`: the output so far, None while nothing had to be read. `lost` says why the output can't be stored any
    more, empty if it can; the rest is then discarded. `grew` is called with each stream that has a new complete
    line, if output is shown while the job runs.
    """

    __slots__ = ("_grew", "_key", "_logs", "_open", "_pipes", "capture", "lost")

    def __init__(
        self, pipes: Sequence[int], logs: Logs, key: AttemptId, grew: Callable[[Stream], None] | None = None
    ) -> None:
        self.capture: Capture | None = None
        self.lost = ""
        self._pipes = pipes
        self._logs = logs
        self._key = key
        self._grew = grew
        self._open: dict[int, Stream] = {}

    def __contains__(self, fd: int) -> bool:
        return fd in self._open

    def __bool__(self) -> bool:
        """Whether a process may still hold a write end."""
        return bool(self._open)

    def register(self, poll: select.poll) -> None:
        """Add the open pipes to `poll`."""
        if self.capture is None:
            self._begin()
        for fd in self._open:
            poll.register(fd, select.POLLIN)

    def read_some(self, fd: int) -> bool:
        """Store some output from one pipe. Returns False once that pipe is at its end."""
        if self._move(fd, MAX_READ_BYTES):
            return True
        del self._open[fd]
        return False

    def read_rest(self) -> None:
        """Store what the pipes hold now, without waiting for processes that hold them open."""
        if self.capture is None and self._pipes:
            if not self._is_anything_printed():
                self.capture = NOTHING_PRINTED
                return
            self._begin()
        for fd in self._open:
            left = bytes_available(fd)
            while left > 0 and (moved := self._move(fd, min(left, MAX_READ_BYTES))):
                left -= moved

    def close(self) -> None:
        """Close our pipe ends. A process that still writes gets SIGPIPE."""
        pipes, self._pipes = self._pipes, ()
        self._open.clear()
        for fd in pipes:
            os.close(fd)

    def _is_anything_printed(self) -> bool:
        poll = select.poll()
        for fd in self._pipes:
            poll.register(fd, select.POLLIN)
        found = 0
        for _, what in poll.poll(0):
            found |= what
        return bool(found & select.POLLIN)

    def _begin(self) -> None:
        if self._pipes:
            self.capture = capture = Capture(self._logs, self._key)
            self._open = dict(zip(self._pipes, (capture.out, capture.err), strict=True))

    def _move(self, fd: int, limit: int) -> int:
        if self.lost:
            return len(os.read(fd, 65536))
        stream = self._open[fd]
        try:
            moved = stream.take(fd, limit=limit, by_line=self._grew is not None)
        except InternalFailure:
            raise
        except OSError as error:
            self.lost = f"cannot write its output to {stream.path}: {error.strerror}"
            return len(os.read(fd, 65536)) if bytes_available(fd) else 1
        if self._grew is not None and stream.last_line_end:
            self._grew(stream)
        return moved


NO_PIPES = PipeReader((), NO_LOGS, NO_ATTEMPT)
"""The reader of a job whose output is no longer read."""
