# SPDX-License-Identifier: LGPL-3.0-or-later
"""System calls on users' paths that may block for ever, such as on a dead network disk.

A caller that has to stop can abandon such a call. This module also opens a job's stdin.
"""

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
    """An error for a caller that was told to stop before its call returned."""


class _Call(Generic[Result]):
    """One call in a thread of its own, for which the caller need not wait."""

    def __init__(self, act: Callable[[], Result], drop: Callable[[Result], None]) -> None:
        self.over = Event()
        self._act = act
        self._drop = drop
        self._lock = Lock()
        self._results: list[Result] = []
        self._error: BaseException | None = None
        self._abandoned = False

    def run(self) -> None:
        """Make the call. Runs on the thread of the call."""
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
        """Discard a result that comes later. Returns False if the result has already come."""
        with self._lock:
            self._abandoned = not self._results
            return self._abandoned

    def result(self) -> Result:
        """Return or raise what the call returned or raised."""
        if self._error is not None:
            raise self._error
        return self._results[0]


def interruptible(
    act: Callable[[], Result],
    stopped: Callable[[], bool],
    drop: Callable[[Result], None] = lambda _result: None,
) -> Result:
    """Return or raise what `act` returns or raises. Raises Abandoned once `stopped` returns true.

    A result that comes later goes to `drop`. The call runs on a daemon thread, so that it doesn't keep pqrun
    from ending. Raises OSError (EAGAIN) if no thread can be started.
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
    """Return a descriptor of the file, None if it is a FIFO, which the job itself has to open.

    Opening a FIFO waits for a writer, so it must happen in a process that timeouts and signals can end. It is
    not opened here for a check either: a writer that waits for a reader would take pqrun for its reader.
    Raises Abandoned if `stopped` returns true before the file's disk has answered.
    """
    return interruptible(lambda: _opened(path), stopped, drop=_let_go)


def _opened(path: str) -> int | None:
    # Paths below /proc, such as `/dev/stdin`, lead to pipes without a name. Opening these never waits.
    if stat.S_ISFIFO(os.stat(path).st_mode) and not os.path.realpath(path).startswith("/proc/"):
        return None
    # O_NONBLOCK: opening a serial terminal may wait for its line. The job reads it in blocking mode.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    os.set_blocking(fd, True)
    return fd


def _let_go(fd: int | None) -> None:
    if fd is not None:
        os.close(fd)


def read_from_fifo(path: str, argv: list[bytes]) -> list[bytes]:
    """Return the argument list of a shell that opens the FIFO as stdin and then executes `argv`."""
    return [b"/bin/sh", b"-c", _OPEN_AND_EXECUTE, os.fsencode(path), *argv]


def stdin_of_text(text: bytes, workspace: str) -> int:
    """Return a descriptor from which `text` can be read. Its temporary file has no name."""
    import tempfile

    with tempfile.TemporaryFile(dir=workspace) as file:
        file.write(text)
        file.seek(0)
        return os.dup(file.fileno())


TRUST_SECONDS = 1.0  # time for which a directory that has answered is not checked again
MAX_DIRECTORIES = 1000


class Directories:
    """The working directories of one run whose disks have answered lately."""

    def __init__(self) -> None:
        self._answered: dict[str, float] = {}

    def check(self, directory: str, stopped: Callable[[], bool]) -> None:
        """Wait until the directory's disk answers. Raises Abandoned if `stopped` returns true before.

        Without this check the spawn itself could block for ever, in a call that can't be abandoned.
        """
        now = time.monotonic()
        if now < self._answered.get(directory, 0.0) + TRUST_SECONDS:
            return
        interruptible(lambda: os.path.isdir(directory), stopped)
        if len(self._answered) >= MAX_DIRECTORIES:
            self._answered.clear()
        self._answered[directory] = now


def logical(directory: str) -> str:
    """Return the directory as `$PWD` names it if that is true, else without links, as a shell does."""
    named = os.environ.get("PWD", "")
    try:
        if named.startswith("/") and os.path.samefile(named, directory):
            return named
    except OSError:
        pass
    try:
        return os.path.realpath(directory)
    except OSError:  # the current directory was deleted: `$PWD` still has its old name
        return named


def is_here(directory: str) -> bool:
    """Say whether `directory` is the current directory, even if it was deleted."""
    try:
        return os.path.samefile(directory, ".")
    except OSError:
        return False
