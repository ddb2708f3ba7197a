# SPDX-License-Identifier: LGPL-3.0-or-later
"""The reactions of pqrun to signals, and the checks of its current directory."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterable
from math import inf
from threading import Thread
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from pqrun.core.errors import UserError

if TYPE_CHECKING:
    from pqrun.core.scheduler import Scheduler
    from pqrun.engine.clock import SystemClock
    from pqrun.engine.reactor import Reactor, Request

SHUTDOWN_FLUSH_TIMEOUT_SECONDS = 1.0
NO_DIRECTORY = "the current directory has been deleted: change to another one, or give -C an absolute path"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def reset_signals() -> None:
    """Reset signal handling, so that pqrun can wait for children and jobs start with default handlers.

    A signal that the caller ignores stays ignored here, but by a handler, because jobs would inherit
    `SIG_IGN`. Until there is something to clean up, an interrupt ends pqrun like any other program.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    python_ignores = {signal.SIGPIPE, getattr(signal, "SIGXFSZ", signal.SIGPIPE)}
    for number in range(1, signal.NSIG):  # `valid_signals` would make an object of each
        if signal.getsignal(number) is signal.SIG_IGN and number not in python_ignores:
            signal.signal(number, ignored)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def ignored(_number: int, _frame: FrameType | None) -> None:
    """Do nothing; the handler in place of `SIG_IGN`."""


def die_by_signal(number: int) -> NoReturn:
    """End this process by the signal, without a core dump, so that a loop in the calling shell also ends."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # the signal was blocked, or does not end a process


def chdir_or_error(directory: str) -> None:
    """Change the current directory.

    Raises:
        UserError: The directory can't be entered.
    """
    try:
        os.chdir(directory)
    except OSError as error:
        raise UserError(f"cannot enter {directory}: {error.strerror}") from None


def current_directory() -> str:
    """Return the current directory.

    Raises:
        UserError: The current directory has been deleted or can't be read.
    """
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise UserError(NO_DIRECTORY) from None
    except OSError as error:
        raise UserError(f"cannot find the current directory: {error.strerror}") from None


def absolute(path: str) -> str:
    """Return the path as an absolute path.

    Raises:
        UserError: The path is relative, and the current directory has been deleted.
    """
    return os.path.normpath(path if os.path.isabs(path) else os.path.join(current_directory(), path))


class SignalPolicy:
    """The reactions of a run to signals.

    The first stop signal stops the run, the second kills the running jobs. SIGTSTP suspends the jobs
    together with pqrun. SIGUSR1 lists the running jobs.
    """

    def __init__(
        self,
        reactor: Reactor,
        clock: SystemClock,
        *,
        suspend: Callable[[bool], None],
        tell: Callable[[], None],
    ) -> None:
        self.stopped_by = 0
        self._pausing = False
        self._clock = clock
        self._reactor = reactor
        self._suspend = suspend
        self._tell = tell
        for number in STOP_SIGNALS:
            if signal.getsignal(number) is not ignored:
                reactor.on_signal(number, self._stop)
        if signal.getsignal(signal.SIGTSTP) is not ignored:
            reactor.on_signal(signal.SIGTSTP, self._pause)
        reactor.on_signal(signal.SIGUSR1, self._list)
        reactor.listen()

    def _stop(self, number: int) -> Iterable[Request]:
        again = self.stopped_by != 0
        self.stopped_by = self.stopped_by or number
        name = signal.Signals(number).name

        def request(scheduler: Scheduler, now: float) -> None:
            scheduler.signalled(now)
            scheduler.stop(f"signal {name}", now, force=again)

        return [request]

    def _pause(self, _number: int) -> Iterable[Request]:
        def request(_scheduler: Scheduler, _now: float) -> None:
            self._pausing = False
            self._suspend(True)
            # Stop the clock first: a thread that saw the suspended time would end jobs by timeout.
            self._clock.pause()
            os.kill(os.getpid(), signal.SIGSTOP)
            self._clock.resume()
            self._suspend(False)

        if self._pausing:
            return []  # the first of several signals already has a request on the way
        self._pausing = True
        return [request]

    def _list(self, _number: int) -> Iterable[Request]:
        self._tell()
        return []

    def wait_for(self, thread: Thread) -> None:
        """Wait for the thread to end; after a stop signal, at most `SHUTDOWN_FLUSH_TIMEOUT_SECONDS`."""
        patience = inf
        while thread.is_alive() and patience > 0:
            thread.join(0.02)
            self._reactor.wait(0)
            if self.stopped_by:
                patience = min(patience, SHUTDOWN_FLUSH_TIMEOUT_SECONDS) - 0.02
