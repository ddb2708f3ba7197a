# SPDX-License-Identifier: LGPL-3.0-or-later
"""The main thread's wait: signals, descriptors to read, alarms, and a bell that others may ring."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable, Iterable
from threading import TIMEOUT_MAX, Lock
from types import FrameType
from typing import Protocol, cast

from pqrun.engine.engine import Request

MAX_WAIT_SECONDS = 3600.0


class EventSource(Protocol):
    """Something to read from."""

    def fileno(self) -> int: ...

    def wanted(self) -> bool:
        """Whether it should be read now."""

    def pending(self) -> bool:
        """Whether reading it yields something without a look at the descriptor."""

    def read(self) -> Iterable[Request]:
        """Reads without blocking; what follows from it."""


class DuplexSource(EventSource, Protocol):
    """A source that also has something to write, as fast as its reader takes it."""

    @property
    def sending(self) -> bool:
        """Whether something waits to be written."""

    def write(self) -> None:
        """Writes what goes without blocking."""


class Reactor:
    """Turns signals and input into asks, in the main thread."""

    def __init__(self) -> None:
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._woken = False
        self._longest_wait = MAX_WAIT_SECONDS
        self._sources: dict[EventSource, DuplexSource | None] = {}
        self._handlers: dict[int, Callable[[int], Iterable[Request]]] = {}
        self._before: dict[int, object] = {}

    def wake(self) -> None:
        """From any thread: `wait` returns soon."""
        if not self._woken:
            self._woken = True
            self._write(b"\0")

    def look_again(self, seconds: float) -> None:
        """From a source, in the main thread: `wait` returns at the latest then, and asks what is wanted anew."""
        self._longest_wait = min(self._longest_wait, seconds)

    def listen(self) -> None:
        """Signals come as bytes through the bell from now on; main thread only."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)

    def on_signal(self, number: int, handler: Callable[[int], Iterable[Request]]) -> None:
        """What follows from a signal."""
        self._handlers[number] = handler
        self._before[number] = signal.signal(number, _noted)

    def add(self, source: EventSource) -> None:
        """Something more to read from."""
        # Not isinstance: from Python 3.12 on that would load inspect, for a tenth of the time of a start.
        self._sources[source] = cast(DuplexSource, source) if hasattr(type(source), "sending") else None

    def remove(self, source: EventSource) -> None:
        """No longer read from it."""
        self._sources.pop(source, None)

    def wait(self, seconds: float) -> list[Request]:
        """Up to so many seconds, until something happens; what follows from it."""
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        by_fd: dict[int, EventSource] = {}
        asks: list[Request] = []
        for source, duplex in list(self._sources.items()):
            mask = select.POLLOUT if duplex is not None and duplex.sending else 0
            if source.wanted():
                if source.pending():
                    asks += source.read()
                    seconds = 0.0  # it is not among those that are polled below
                    continue
                mask |= select.POLLIN
            if mask:
                by_fd[source.fileno()] = source
                poll.register(source.fileno(), mask)
        seconds = 0.0 if asks else min(max(seconds, 0.0), self._longest_wait)
        self._longest_wait = MAX_WAIT_SECONDS
        for fd, happened in poll.poll(seconds * 1000 + 0.999 if seconds else 0):
            if fd == self._wake_read:
                asks += self._signals()
                continue
            source = by_fd[fd]
            duplex = self._sources.get(source)
            if happened & select.POLLOUT and duplex is not None:
                duplex.write()
            if happened & ~select.POLLOUT and source in self._sources:
                asks += source.read()
        return asks

    def close(self) -> None:
        """Signals go where they went before."""
        signal.set_wakeup_fd(-1)
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type]
        os.close(self._wake_read)
        os.close(self._wake_write)
        self._woken = True

    def _signals(self) -> Iterable[Request]:
        try:
            heard = os.read(self._wake_read, 4096)
        except BlockingIOError:
            heard = b""
        # Only now: a ring in the midst of the read would have left no byte, and silenced all after it.
        self._woken = False
        for number in heard:
            if number in self._handlers:
                yield from self._handlers[number](number)

    def _write(self, data: bytes) -> None:
        try:
            os.write(self._wake_write, data)
        except BlockingIOError:
            pass  # full: it will wake up in any case


def _noted(_number: int, _frame: FrameType | None) -> None:
    """The interpreter writes the signal to the bell; there is nothing to do here."""


class ThreadWaker:
    """Any thread may ring it; one waits. Waiting takes no CPU."""

    def __init__(self) -> None:
        self._silence = Lock()
        self._silence.acquire()

    def wake(self) -> None:
        """`wait` returns soon, or the next time at once."""
        if self._silence.locked():
            with contextlib.suppress(RuntimeError):  # another thread rang in the same moment
                self._silence.release()

    def wait(self, seconds: float) -> list[Request]:
        """Up to so many seconds, until somebody rings."""
        self._silence.acquire(timeout=min(max(seconds, 0.0), TIMEOUT_MAX))
        return []
