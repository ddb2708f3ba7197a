# SPDX-License-Identifier: LGPL-3.0-or-later
"""A process that outlives pqrun when pqrun is killed, and ends its jobs.

Forked first of all, in a session of its own, deaf to signals that ask. It reads a pipe: `+PID GRACE`
a job's leader runs, `-PID` it is over. When the pipe closes, all that was announced, and all that
carries the run's mark in its environment, is asked to end, and killed after its grace. Only then the
warden lets go of what it inherited, the run's lock among it. A pqrun that is done ends it first.

This is pqrun's side; what the warden itself does is in `vigil`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from threading import Lock
from typing import Protocol

from pqrun.executors.vigil import GRACE, keep_watch

MOST_UNREAD = 10_000
TOO_SHORT_A_LIFE = 1.0
MOST_SHORT_LIVES = 3
_ANEW = """
import sys
sys.path.insert(0, sys.argv[1])
from pqrun.executors.vigil import main
main(sys.argv[2:])
"""


class Adopting(Protocol):
    """Starts a child of ours that no sweep takes for a job's."""

    def __call__(self, start: Callable[[], int], *, instead_of: int = 0) -> int: ...


class Warden:
    """pqrun's end of the pipe. The reactor watches it: it becomes readable when the warden dies.

    `keep`: descriptors that are held until no job is left. `longest`: how many seconds what it ends may
    take to end by itself, at most.
    """

    longest = GRACE

    def __init__(self, mark: bytes, adopt: Adopting, keep: Sequence[int] = ()) -> None:
        self.pid = 0
        self.trouble = ""
        self._mark = mark
        self._adopt = adopt
        self._keep = tuple(keep)
        self._pipe = -1
        self._lock = Lock()
        self._announced: dict[int, float] = {}
        self._unread: deque[bytes] = deque()
        self._began = 0.0
        self._short_lives = 0

    def fork(self) -> None:
        """Starts it as a copy of this process; only before there are threads."""
        try:
            reading, self._pipe = _pipe()
        except OSError as error:
            self._do_without(error)
            return
        try:
            self.pid = os.fork()
        except OSError as error:
            os.close(self._pipe)
            self._do_without(error)
        if self.pid == 0 and self._pipe >= 0:
            try:
                keep_watch(reading, self._mark, self._keep, self.longest)
            finally:
                os._exit(0)
        os.close(reading)
        self._began = time.monotonic()

    def spawn(self) -> None:
        """The same with a Python of its own, where threads run already."""
        try:
            self.pid = self._adopt(self._spawn)
        except OSError as error:
            self._do_without(error)
        self._began = time.monotonic()

    def announce(self, pid: int, grace: float) -> None:
        """A job's leader runs."""
        with self._lock:
            self._announced[pid] = grace
            self._tell(_hello(pid, min(grace, self.longest)))

    def dismiss(self, pid: int) -> None:
        """A job is over, before its leader is reaped."""
        with self._lock:
            self._announced.pop(pid, None)
            self._tell(b"-%d\n" % pid)

    def close(self) -> None:
        """Nothing runs any more: it goes before it can take the end of the pipe for ours."""
        with self._lock:
            pipe, self._pipe = self._pipe, -1
        if pipe >= 0:
            self._bury()
            os.close(pipe)

    # As something that the reactor reads from

    def fileno(self) -> int:
        """The end that we write to, which tells when there is no reader."""
        return self._pipe

    def wanted(self) -> bool:
        """Whether there is one."""
        return self._pipe >= 0

    def pending(self) -> bool:
        """Never: only its end is news."""
        return False

    def read(self) -> Iterable[Callable[..., None]]:
        """It is dead: another takes its place, with its own Python, because threads run by now."""
        self._bury()
        lived = time.monotonic() - self._began
        self._short_lives = self._short_lives + 1 if lived < TOO_SHORT_A_LIFE else 0
        try:
            if self._short_lives > MOST_SHORT_LIVES:
                raise OSError(0, "it dies again and again")
            self.pid = self._adopt(self._spawn, instead_of=self.pid)
        except OSError as error:
            with self._lock:
                os.close(self._pipe)
                self._do_without(error)
        self._began = time.monotonic()
        return ()

    def _spawn(self) -> int:
        import subprocess

        reading, pipe = _pipe()
        package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        try:
            process = subprocess.Popen(
                [
                    sys.executable, "-I", "-S", "-c", _ANEW, package,
                    str(reading), self._mark.decode(), str(self.longest), *map(str, self._keep),
                ],
                pass_fds=(reading, *self._keep), start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        except BaseException:
            os.close(pipe)
            raise
        finally:
            os.close(reading)
        process.returncode = 0  # reaped by its number, not by its object
        with self._lock:
            old, self._pipe = self._pipe, pipe
            if old >= 0:
                os.close(old)
            self._unread.clear()
            for pid, grace in self._announced.items():
                self._tell(_hello(pid, min(grace, self.longest)))
        return process.pid

    def _tell(self, message: bytes) -> None:
        """Never waits. What it does not read now it reads later, or its successor does."""
        if self._pipe < 0:
            return
        self._unread.append(message)
        try:
            while self._unread:
                os.write(self._pipe, self._unread[0])
                self._unread.popleft()
        except BlockingIOError:
            if len(self._unread) > MOST_UNREAD:  # it was stopped, and stopped it is no use
                _signal(self.pid, signal.SIGKILL)
        except OSError:
            self._unread.clear()  # dead: its successor will be told all that runs then

    def _do_without(self, error: OSError) -> None:
        self.pid, self._pipe = 0, -1
        self.trouble = f"jobs would outlive a kill -9 of this pqrun: {error.strerror}"

    def _bury(self) -> None:
        if self.pid:
            killed = _signal(self.pid, signal.SIGKILL)
            try:
                # One that may not be killed ends by itself when its pipe closes, since nothing is announced.
                os.waitpid(self.pid, 0 if killed else os.WNOHANG)
            except ChildProcessError:
                pass  # somebody else has reaped it


def _hello(pid: int, grace: float) -> bytes:
    return b"+%d %d\n" % (pid, int(grace * 1000))


def _pipe() -> tuple[int, int]:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    return reading, writing


def _signal(pid: int, number: int) -> bool:
    """Signals it; false if that is not permitted."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
    except PermissionError:
        return False
    return True
