# SPDX-License-Identifier: LGPL-3.0-or-later
"""Takes in what a job prints, from its pipes into its capture; never waits for who may hold them."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Sequence

from pqrun.capture import Capture, Stream, held_by
from pqrun.errors import OwnFailure

MOST_AT_ONCE = 1 << 20


class Intake:
    """The reading ends of a job's stdout and stderr; none if it was given our own.

    `lost` says why its output can't be kept any more, if so: the rest is thrown away. `grew` is
    called with a stream that has a new line, if it is to be shown as it comes.
    """

    __slots__ = ("_grew", "_open", "_pipes", "lost")

    def __init__(
        self, pipes: Sequence[int], capture: Capture | None, grew: Callable[[Stream], None] | None
    ) -> None:
        self.lost = ""
        self._pipes = pipes
        self._grew = grew
        self._open = {} if capture is None else dict(zip(pipes, (capture.out, capture.err), strict=True))

    def __contains__(self, fd: int) -> bool:
        return fd in self._open

    def __bool__(self) -> bool:
        """Whether some process may still hold one of them."""
        return bool(self._open)

    def register(self, poll: select.poll) -> None:
        """Has it wait for them too."""
        for fd in self._open:
            poll.register(fd, select.POLLIN)

    def take(self, fd: int) -> bool:
        """Moves some output; whether there may be more."""
        if self._move(fd, MOST_AT_ONCE):
            return True
        del self._open[fd]
        return False

    def drain(self) -> None:
        """What the pipes hold now; who else may still have them open is not waited for."""
        for fd in self._open:
            left = held_by(fd)
            while left > 0 and (moved := self._move(fd, min(left, MOST_AT_ONCE))):
                left -= moved

    def close(self) -> None:
        """Whoever still writes is told that nobody reads."""
        pipes, self._pipes = self._pipes, ()
        self._open.clear()
        for fd in pipes:
            os.close(fd)

    def _move(self, fd: int, limit: int) -> int:
        if self.lost:
            return len(os.read(fd, 65536))
        stream = self._open[fd]
        try:
            moved = stream.take(fd, limit=limit, by_line=self._grew is not None)
        except OwnFailure:
            raise
        except OSError as error:
            self.lost = f"cannot write its output to {stream.path}: {error.strerror}"
            return len(os.read(fd, 65536)) if held_by(fd) else 1
        if self._grew is not None and stream.last_line_end:
            self._grew(stream)
        return moved
