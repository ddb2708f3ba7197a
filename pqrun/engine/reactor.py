# SPDX-License-Identifier: LGPL-3.0-or-later
"""The wait of the main thread: signals, file descriptors, timers, and a wake-up pipe for other threads."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterable
from threading import TIMEOUT_MAX, Lock
from types import FrameType
from typing import Protocol

from pqrun.core.errors import InternalFailure
from pqrun.core.scheduler import Scheduler

Request = Callable[[Scheduler, float], object]
"""A change that is asked for: the engine calls it within a turn, with the time of the turn."""

MAX_WAIT_SECONDS = 3600.0
MAX_WAKE_TRIES = 100


class EventSource(Protocol):
    """A source of requests with a file descriptor to read from. Called on the main thread."""

    def fileno(self) -> int: ...

    def wanted(self) -> bool:
        """Return whether the source wants to be read now."""

    def pending(self) -> bool:
        """Return whether the source has buffered data, so that it can be read without polling."""

    def read(self) -> Iterable[Request]:
        """Read without blocking. Return the requests that follow."""


class DuplexSource(EventSource, Protocol):
    """A source that also writes, as fast as its reader takes the data."""

    @property
    def sending(self) -> bool:
        """Whether data waits to be written."""

    def write(self) -> None:
        """Write as much as is possible without blocking."""


def wake_through(fd: int) -> OSError | None:
    """Write a byte to a wake-up pipe. Return the error of the last try if the system refuses all of them.

    A failed write is repeated: without its byte, the thread that reads the pipe would wait for ever.
    """
    failure = None
    for _ in range(MAX_WAKE_TRIES):
        try:
            os.write(fd, b"\0")
        except BlockingIOError:
            return None  # a full pipe wakes the reader in any case
        except OSError as error:
            failure = error
        else:
            return None
    return failure


class Reactor:
    """The wait that turns signals and input into requests, on the main thread."""

    def __init__(self) -> None:
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._woken = False
        self._broken_by: OSError | None = None
        self._hung_up = False
        self._longest_wait = MAX_WAIT_SECONDS
        self._sources: dict[EventSource, DuplexSource | None] = {}
        self._handlers: dict[int, Callable[[int], Iterable[Request]]] = {}
        self._before: dict[int, object] = {}

    def wake(self) -> None:
        """Let `wait` return soon. Called on any thread."""
        if not self._woken:
            self._woken = True
            if failure := wake_through(self._wake_write):
                self._broken_by = failure
                # Closes the only write end of the pipe, which also ends the wait, and keeps the number in use.
                os.dup2(self._wake_read, self._wake_write, inheritable=False)

    def look_again(self, seconds: float) -> None:
        """Limit the next wait to `seconds`, after which all sources are asked again. Called by a source."""
        self._longest_wait = min(self._longest_wait, seconds)

    def listen(self) -> None:
        """Receive signals as bytes through the wake-up pipe from now on. Called on the main thread."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)

    def on_signal(self, number: int, handler: Callable[[int], Iterable[Request]]) -> None:
        """Set the handler of a signal. It runs in `wait` and returns requests."""
        self._handlers[number] = handler
        self._before[number] = signal.signal(number, _noted)

    def add(self, source: EventSource) -> None:
        """Read from this source from now on."""
        self._sources[source] = None

    def add_duplex(self, source: DuplexSource) -> None:
        """Read from this source from now on, and write when it has data to send."""
        self._sources[source] = source

    def remove(self, source: EventSource) -> None:
        """Stop reading from this source."""
        self._sources.pop(source, None)

    def wait(self, seconds: float) -> list[Request]:
        """Wait until something happens, at most `seconds`. Return the requests that follow.

        Raises InternalFailure, once, if other threads can't wake this one any more.
        """
        poll = select.poll()
        if not self._hung_up:
            poll.register(self._wake_read, select.POLLIN)
        by_fd: dict[int, EventSource] = {}
        asks: list[Request] = []
        for source, duplex in list(self._sources.items()):
            mask = select.POLLOUT if duplex is not None and duplex.sending else 0
            if source.wanted():
                if source.pending():
                    asks += source.read()
                    seconds = 0.0  # this source is not polled below, so it must be asked again soon
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
        """Restore the earlier signal handlers and close the pipe."""
        signal.set_wakeup_fd(-1)
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type]
        os.close(self._wake_read)
        os.close(self._wake_write)
        self._woken = True

    def _signals(self) -> Iterable[Request]:
        try:
            heard = os.read(self._wake_read, 4096)
            self._hung_up = not heard
        except BlockingIOError:
            heard = b""
        if self._hung_up:
            signal.set_wakeup_fd(-1)
            why = self._broken_by.strerror if self._broken_by is not None else "its pipe is closed"
            raise InternalFailure(f"cannot wake the main thread: {why}") from self._broken_by
        # Cleared after the read: a `wake` between clearing and reading would set the flag again, its byte
        # would be read here, and then every later `wake` would write nothing.
        self._woken = False
        for number in heard:
            if number in self._handlers:
                yield from self._handlers[number](number)


def _noted(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the interpreter itself writes the signal's number to the wake-up pipe."""


class ThreadWaker:
    """The wait of an engine without a reactor: any thread may wake the one thread that waits."""

    def __init__(self) -> None:
        self._silence = Lock()
        self._silence.acquire()

    def wake(self) -> None:
        """Let the present or the next `wait` return at once."""
        if self._silence.locked():
            try:
                self._silence.release()
            except RuntimeError:  # another thread released the lock in this moment
                pass

    def wait(self, seconds: float) -> list[Request]:
        """Wait for `wake`, at most `seconds`. There are never any requests."""
        self._silence.acquire(timeout=min(max(seconds, 0.0), TIMEOUT_MAX))
        return []
