# SPDX-License-Identifier: LGPL-3.0-or-later
"""A system call that may block for ever, such as one on a dead network disk, and that can be abandoned."""

from __future__ import annotations

import errno
from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import Generic, TypeVar

LOOK_WHETHER_STOPPED = 0.02
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
    while not call.over.wait(LOOK_WHETHER_STOPPED):
        if stopped() and call.abandon():
            raise Abandoned
    return call.result()
