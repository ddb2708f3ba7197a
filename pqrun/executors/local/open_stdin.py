# SPDX-License-Identifier: LGPL-3.0-or-later
"""The standard input of a running job that others may write to.

Loaded for the first such job. `docs/design/interactive.md` explains the choices.
"""

from __future__ import annotations

import os
import select
from threading import Lock

from pqrun.core.errors import Rejected
from pqrun.engine.reactor import wake_through

MAX_WAITING_BYTES = 1 << 20
MAX_WRITE_BYTES = 64 * 1024
NOT_READ, NO_ROOM = 1, 75
"""The exit codes of a client whose text was refused: the job reads no more, or try again later."""
END_OF_INPUT = b"\x04"
ENDS_OF_INPUT = 1000
"""A terminal has no lasting end of input: each ^D ends one read. The kernel holds 4,095."""


class OpenStdin:
    """The standard input of one attempt that other threads write to.

    What the job does not take waits in memory, up to MAX_WAITING_BYTES, and the worker's thread writes it as the job
    reads. Only that thread closes descriptors, because it polls them. `terminal`: the input is that of a terminal.
    """

    def __init__(self, *, terminal: bool) -> None:
        self._terminal = terminal
        self._lock = Lock()
        self._waiting = bytearray()
        self._at_line_start = True
        self._ending = False
        self._refusal = ""
        self._fd = -1
        self._woken, self._wake = -1, -1
        self._polled = False

    def send(self, data: bytes, *, end: bool = False) -> int:
        """Send `data`, all or nothing, without blocking, and then the end of the input if `end`.

        Returns the number of bytes that the job has not taken yet. Raises Rejected if there is no room, or if the
        job reads no more.
        """
        with self._lock:
            if self._refusal or self._ending:
                raise Rejected(
                    self._refusal or "its standard input has ended: `--eof` was sent before", NOT_READ
                )
            if len(self._waiting) + len(data) > MAX_WAITING_BYTES:
                raise Rejected(
                    f"it has not read {len(self._waiting):,} bytes of what was sent, and at most "
                    f"{MAX_WAITING_BYTES:,} may wait: try again later",
                    NO_ROOM,
                )
            self._waiting += data
            if data:
                self._at_line_start = data.endswith(b"\n")
            if end:
                self._ending = True
                if self._terminal:  # the first ^D only ends a line that has begun
                    self._waiting += END_OF_INPUT * (ENDS_OF_INPUT + (not self._at_line_start))
            waiting = len(self._waiting)
            if self._fd >= 0:
                self._write()
                waiting = len(self._waiting)
                if waiting or end or self._refusal:
                    failure = wake_through(self._wake)
                    if failure is not None:  # the worker's thread would never write what waits
                        raise failure
                if self._refusal:
                    raise Rejected(self._refusal, NOT_READ)
            return waiting

    # The worker's side

    def attach(self, fd: int, woken: int, wake: int) -> None:
        """Write to `fd` from now on. The pipe from `wake` to `woken` wakes the worker's thread. Closes them at the end."""
        for own in (fd, woken, wake):
            os.set_blocking(own, False)
        with self._lock:
            self._fd, self._woken, self._wake = fd, woken, wake
            self._write()

    def __contains__(self, fd: int) -> bool:
        return fd >= 0 and fd in (self._fd, self._woken)

    def register(self, poll: select.poll) -> None:
        """Add the descriptors that have to be watched now to `poll`."""
        with self._lock:
            poll.register(self._woken, select.POLLIN)
            self._watch(poll)

    def advance(self, fd: int, poll: select.poll) -> None:
        """Write what the job takes now, because `fd` is ready."""
        with self._lock:
            if fd == self._woken:
                os.read(fd, 4096)
            self._write()
            self._watch(poll)

    def close(self) -> None:
        """Close the input. What is sent later is refused."""
        with self._lock:
            self._refusal = self._refusal or "it has ended"
            self._waiting.clear()
            for fd in (self._fd, self._woken, self._wake):
                if fd >= 0:
                    os.close(fd)
            self._fd = self._woken = self._wake = -1

    def _watch(self, poll: select.poll) -> None:
        """Watch the job's end while something waits; close it once all is written and the input has ended."""
        wanted = self._fd >= 0 and bool(self._waiting)
        if wanted and not self._polled:
            poll.register(self._fd, select.POLLOUT)
        elif self._polled and not wanted:
            poll.unregister(self._fd)
        self._polled = wanted
        if self._fd >= 0 and not wanted and (self._refusal or (self._ending and not self._terminal)):
            os.close(self._fd)
            self._fd = -1

    def _write(self) -> None:
        try:
            while self._waiting and self._fd >= 0:
                with memoryview(self._waiting)[:MAX_WRITE_BYTES] as piece:
                    written = os.write(self._fd, piece)
                del self._waiting[:written]
        except BlockingIOError:
            pass
        except OSError:
            self._refusal = "it has closed its standard input"
            self._waiting.clear()
