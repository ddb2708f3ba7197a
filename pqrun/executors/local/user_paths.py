# SPDX-License-Identifier: LGPL-3.0-or-later
"""A system call that may block for ever, such as one on a dead network disk, and that can be abandoned."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import Final, Generic, TypeVar

STOP_POLL_INTERVAL_SECONDS = 0.02
Result = TypeVar("Result")


class Abandoned(Exception):
    """The caller was told to stop before the call returned."""


class _Call(Generic[Result]):
    """One call, in a thread that nobody has to wait for."""

    def __init__(self, act: Callable[[], Result], drop: Callable[[Result], None]) -> None:
        self.over = Event()
        self._act = act
        self._drop = drop
        self._lock = Lock()
        self._results: list[Result] = []
        self._error: BaseException | None = None
        self._abandoned = False

    def run(self) -> None:
        """In its thread."""
        try:
            result = self._act()
        except BaseException as error:
            self._error = error
        else:
            with self._lock:
                if not self._abandoned:
                    self._results.append(result)
            if not self._results:
                self._drop(result)
        self.over.set()

    def abandon(self) -> bool:
        """Has a late result dropped; False if the result has come."""
        with self._lock:
            self._abandoned = not self._results
            return self._abandoned

    def result(self) -> Result:
        """What it returned or raised."""
        if self._error is not None:
            raise self._error
        return self._results[0]


def interruptible(
    act: Callable[[], Result],
    stopped: Callable[[], bool],
    drop: Callable[[Result], None] = lambda _result: None,
) -> Result:
    """What `act` returns or raises; `Abandoned` as soon as `stopped` is true.

    A result that comes after that goes to `drop`. A process that ends does not wait for the call.
    OSError (EAGAIN) if there can't be another thread.
    """
    call = _Call(act, drop)
    try:
        Thread(target=call.run, name="pqrun-open", daemon=True).start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, str(error)) from None
    while not call.over.wait(STOP_POLL_INTERVAL_SECONDS):
        if stopped() and call.abandon():
            raise Abandoned
    return call.result()


_OPEN_AND_EXECUTE: Final = b'exec "$@" <"$0"'


def open_stdin(path: str, stopped: Callable[[], bool]) -> int | None:
    """A descriptor of the file; None if it is a FIFO, which the job itself has to open.

    Opening a FIFO waits for a writer, so that happens in a process that limits and signals can end.
    Nor is it opened here for a look: a writer that waits for a reader would take this one for it.
    `Abandoned` if the caller is `stopped` before the file's disk has answered.
    """
    return interruptible(lambda: _opened(path), stopped, drop=_let_go)


def _opened(path: str) -> int | None:
    # Below /proc are pipes without a name, such as `/dev/stdin`: they never wait, and are only ours.
    if stat.S_ISFIFO(os.stat(path).st_mode) and not os.path.realpath(path).startswith("/proc/"):
        return None
    # A terminal may wait for its line to be connected; the job reads it as usual.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    os.set_blocking(fd, True)
    return fd


def _let_go(fd: int | None) -> None:
    if fd is not None:
        os.close(fd)


def read_from_fifo(path: str, argv: list[bytes]) -> list[bytes]:
    """The words that open a FIFO as stdin, and then execute those of the job in the same process."""
    return [b"/bin/sh", b"-c", _OPEN_AND_EXECUTE, os.fsencode(path), *argv]


def stdin_of_text(text: bytes, workspace: str) -> int:
    """A descriptor from which this text can be read; the file has no name."""
    import tempfile

    with tempfile.TemporaryFile(dir=workspace) as file:
        file.write(text)
        file.seek(0)
        return os.dup(file.fileno())


TRUST_SECONDS = 1.0  # seconds for which a directory that was there is not looked at again
MAX_DIRECTORIES = 1000


class Directories:
    """Those of one run."""

    def __init__(self) -> None:
        self._answered: dict[str, float] = {}

    def check(self, directory: str, stopped: Callable[[], bool]) -> None:
        """Makes sure that its disk answers: who starts a process there could wait for that in vain."""
        now = time.monotonic()
        if now < self._answered.get(directory, 0.0) + TRUST_SECONDS:
            return
        interruptible(lambda: os.path.isdir(directory), stopped)
        if len(self._answered) >= MAX_DIRECTORIES:
            self._answered.clear()
        self._answered[directory] = now


def logical(directory: str) -> str:
    """The directory as `$PWD` calls it, if that is true, else without links; as a shell does."""
    named = os.environ.get("PWD", "")
    try:
        if named.startswith("/") and os.path.samefile(named, directory):
            return named
    except OSError:
        pass
    try:
        return os.path.realpath(directory)
    except OSError:  # the current directory, which has been deleted: that is what it was called
        return named


def is_here(directory: str) -> bool:
    """Whether it is the current directory, also if that has been deleted."""
    try:
        return os.path.samefile(directory, ".")
    except OSError:
        return False
