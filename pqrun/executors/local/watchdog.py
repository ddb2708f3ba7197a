# SPDX-License-Identifier: LGPL-3.0-or-later
"""The start and replacement of the watchdogs: processes that end the jobs if pqrun is killed.

There are two. They are forked before everything else, each in its own session and with its own name, and
ignore the signals that ask a process to end. Each one waits for its pipe to close. Then one of them sends
SIGTERM to the processes noted in the `SharedTable` and to those with the run's marker in their
environment, and SIGKILL after the grace. The other one takes over if the first dies. Only after that do
they release the run's lock and their other inherited descriptors. A pqrun that ends normally ends its
watchdogs first.

This module is pqrun's side, which replaces a watchdog that died or was stopped. `watchdog_process` is the
watchdog's side.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from threading import Lock
from typing import Any, Protocol

from pqrun.executors.local.watchdog_process import (
    GRACE_SECONDS,
    SLOTS,
    SharedTable,
    Terminal,
    cell_of,
    run,
)

CHECK_INTERVAL_SECONDS = 1.0
SHORT_LIFE_SECONDS = 1.0
MAX_SHORT_LIVES = 3
MAX_RETRY_DELAY = 30.0


class Adopting(Protocol):
    """A function that starts a child which the cleanup does not take for a job's process."""

    def __call__(self, start: Callable[[], int], *, instead_of: int = 0) -> int: ...


class Watchdog:
    """One watchdog, as an event source of the reactor: readable when the watchdog has died."""

    def __init__(self, index: int, mend: Callable[[Watchdog], None]) -> None:
        self.index = index
        self.pid = 0  # 0: there is no watchdog now
        self.pipe = -1
        self.last_pid = 0
        self.began = 0.0
        self.retry_at = 0.0
        self._mend = mend

    def fileno(self) -> int:
        """Return the write end of the pipe. pqrun never writes there; it reports when the reader is gone."""
        return self.pipe

    def wanted(self) -> bool:
        """Say whether there is a watchdog now."""
        return self.pid != 0

    def pending(self) -> bool:
        """Return False: nothing is buffered."""
        return False

    def read(self) -> Iterable[Callable[..., None]]:
        """Replace the watchdog, since it has died."""
        self._mend(self)
        return ()

    def is_lost(self) -> bool:
        """Say whether the watchdog has died or was stopped: a stopped one can't act."""
        poll = select.poll()
        poll.register(self.pipe, 0)
        if poll.poll(0):
            return True
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
        except ChildProcessError:
            return False  # another part of the program has reaped it; its pipe will report that
        if pid and not os.WIFSTOPPED(status):  # reaped: the pid may be reused from now on
            self.last_pid, self.pid = pid, 0
        return pid != 0

    def kill(self) -> None:
        """Kill and reap the watchdog."""
        if self.pid:
            killed = True
            try:
                os.kill(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            except OSError:
                killed = False  # not permitted; don't wait: the watchdog ends when its pipe closes
            with contextlib.suppress(OSError):
                os.waitpid(self.pid, 0 if killed else os.WNOHANG)
        self.last_pid, self.pid = self.pid or self.last_pid, 0
        if self.pipe >= 0:
            os.close(self.pipe)
            self.pipe = -1


class WatchdogSupervisor:
    """The watchdogs of a run: starts them, tells them which jobs run, and replaces lost ones.

    `mark`: the marker of the run's jobs; without one the watchdogs guard only the terminal. `keep`:
    descriptors that the watchdogs hold until no job is left. `longest`: the longest grace that the watchdogs
    give a job, in seconds. `tell` is called, on any thread, with a text when the last watchdog is lost and
    when there is one again.
    """

    longest = GRACE_SECONDS

    def __init__(
        self,
        mark: bytes,
        adopt: Adopting,
        keep: Sequence[int] = (),
        *,
        tell: Callable[[str], None] = lambda _text: None,
        count: int = 2,
    ) -> None:
        self.watchdogs = [Watchdog(index, self._mend) for index in range(count)]
        self.tell = tell
        self.guarded = True
        self.lost_for = ""  # why there was no watchdog for a time
        self._mark = mark
        self._adopt = adopt
        self._keep = tuple(keep)
        self._table: SharedTable | None = None
        self._cells: memoryview | None = None
        self._terminal_fd = -1
        self._terminal = Terminal()
        self._lock = Lock()  # guards the terminal's part of the table
        self._mending = Lock()
        self._closed = False
        self._look_at = 0.0
        self._short_lives = 0
        self._why = ""

    @property
    def trouble(self) -> str:
        """A message on what a `kill -9` of pqrun would leave behind, now or for a time.

        Empty if a watchdog was there all the time.
        """
        if not self.lost_for:
            return ""
        when = "for some time, jobs would have survived" if self.guarded else "jobs would survive"
        return f"{when} a kill -9 of this pqrun: {self.lost_for}"

    def fork(self) -> None:
        """Start the watchdogs as forks of this process. Only before any other thread exists."""
        self._begin(self._fork)

    def spawn(self) -> None:
        """Start the watchdogs as new Python processes, for programs that already have threads."""
        self._begin(lambda watchdog: self._adopt(lambda: self._spawn(watchdog)))

    def register(self, slot: int, pid: int, grace: float) -> None:
        """Note that the leader of the job in a slot runs as `pid`, and the job's grace in seconds."""
        cells = self._cells
        if cells is not None and slot < SLOTS:
            cells[slot] = cell_of(pid, grace if grace < self.longest else self.longest)
        if time.monotonic() >= self._look_at:
            self.look()

    def unregister(self, slot: int) -> None:
        """Remove the job in a slot. Call it before the leader is reaped."""
        cells = self._cells
        if cells is not None and slot < SLOTS:
            cells[slot] = 0

    def keep_terminal(self, **facts: Any) -> None:
        """Note how the watchdogs restore the terminal if pqrun is killed.

        `facts`: fields of `Terminal`.
        """
        with self._lock:
            self._terminal = self._terminal._replace(**facts)
            if self._table is not None and self._terminal_fd >= 0:
                with contextlib.suppress(OSError, ValueError):
                    self._table.put_terminal(self._terminal)

    def look(self) -> None:
        """Replace the watchdogs that have died or were stopped. Checks at most once a second.

        May be called on any thread.
        """
        now = time.monotonic()
        if now < self._look_at or not self._mending.acquire(blocking=False):
            return
        try:
            self._look_at = now + CHECK_INTERVAL_SECONDS
            for watchdog in self.watchdogs:
                self._check(watchdog, now)
            self._judge(now)
        finally:
            self._mending.release()

    def close(self) -> None:
        """End the watchdogs. Call it when no job runs any more.

        They are killed before their pipes close, because a watchdog takes a closed pipe for the death of
        pqrun.
        """
        with self._mending, self._lock:
            self._closed = True
            for watchdog in self.watchdogs:
                watchdog.kill()
            table, self._table, self._cells = self._table, None, None
            if table is not None:
                table.close()
            if self._terminal_fd >= 0:
                os.close(self._terminal_fd)
                self._terminal_fd = -1

    def _begin(self, start: Callable[[Watchdog], int]) -> None:
        try:
            self._table = table = SharedTable.create()
            self._cells = table.cells
        except OSError as error:
            self._why = error.strerror or str(error)
        else:
            self._terminal_fd = _open_terminal()
            for watchdog in self.watchdogs:
                self._start(watchdog, start)
        now = time.monotonic()
        self._look_at = now + CHECK_INTERVAL_SECONDS
        self._judge(now)

    def _start(self, watchdog: Watchdog, start: Callable[[Watchdog], int]) -> None:
        try:
            watchdog.pid = start(watchdog)
        except OSError as error:
            self._why = error.strerror or str(error)
            watchdog.kill()
            watchdog.retry_at = time.monotonic() + CHECK_INTERVAL_SECONDS
        watchdog.began = time.monotonic()

    def _fork(self, watchdog: Watchdog) -> int:
        assert self._table is not None
        reading, watchdog.pipe = os.pipe()
        try:
            pid = os.fork()
            if pid == 0:
                try:
                    run(reading, *self._facts(watchdog))
                finally:
                    os._exit(0)
        finally:
            os.close(reading)
        return pid

    def _spawn(self, watchdog: Watchdog) -> int:
        """Start a watchdog as a new Python process and return its pid.

        Its program goes through the pipe. As an argument it would contain the name pqrun, and `pkill -f
        pqrun` would kill the watchdog too.
        """
        import subprocess

        assert self._table is not None
        reading, watchdog.pipe = os.pipe()
        package = _above(os.path.abspath(__file__), 4)
        program = (
            f"import sys\nsys.path.insert(0, {package!a})\n"
            "from pqrun.executors.local.watchdog_process import run\n"
            f"run({reading}, *{self._facts(watchdog)!a})\n"
        )
        try:
            self._table.put_watchdog(watchdog.index, 0, 0)
            os.write(watchdog.pipe, program.encode())
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", f"import os\nexec(os.read({reading}, 65536))"],
                pass_fds=[fd for fd in (reading, self._table.fd, self._terminal_fd, *self._keep) if fd >= 0],
                start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        finally:
            os.close(reading)
        process.returncode = 0  # so that Popen never waits for the process: `Watchdog` reaps it by its pid
        return process.pid

    def _facts(self, watchdog: Watchdog) -> tuple[int, int, int, bytes, tuple[int, ...], float, int]:
        assert self._table is not None
        return (
            self._table.fd, watchdog.index, len(self.watchdogs), self._mark, self._keep, self.longest,
            self._terminal_fd,
        )  # fmt: skip

    def _mend(self, watchdog: Watchdog) -> None:
        with self._mending:
            now = time.monotonic()
            self._check(watchdog, now)
            self._judge(now)

    def _check(self, watchdog: Watchdog, now: float) -> None:
        """Replace the watchdog if it is lost.

        Watchdogs that die again and again are replaced after longer and longer delays.
        """
        if self._closed or self._table is None:
            return
        if watchdog.pid:
            if not watchdog.is_lost():
                return
            self._short_lives = self._short_lives + 1 if now - watchdog.began < SHORT_LIFE_SECONDS else 0
            watchdog.kill()
            excess = self._short_lives - MAX_SHORT_LIVES
            if excess > 0:
                self._why = "its watchdogs keep dying"
                watchdog.retry_at = now + min(MAX_RETRY_DELAY, CHECK_INTERVAL_SECONDS * 2.0 ** (excess - 1))
        if now >= watchdog.retry_at:
            last = watchdog.last_pid
            self._start(watchdog, lambda dog: self._adopt(lambda: self._spawn(dog), instead_of=last))

    def _judge(self, now: float) -> None:
        """Report when the last watchdog is lost, and when a new one has lived for a second."""
        if self._closed:
            return
        lives = [watchdog for watchdog in self.watchdogs if watchdog.pid]
        if self.guarded and not lives:
            self.guarded = False
            self.lost_for = self._why or "its watchdogs have died"
            self.tell(self.trouble)
        elif not self.guarded and any(now - watchdog.began >= SHORT_LIFE_SECONDS for watchdog in lives):
            self.guarded = True
            self.tell("a watchdog runs again: jobs end if this pqrun is killed")


def guard_terminal() -> WatchdogSupervisor:
    """Start a watchdog that guards only the terminal, for a program without jobs."""
    watchdogs = WatchdogSupervisor(b"", lambda start, **_: start(), count=1)
    watchdogs.spawn()
    return watchdogs


def _open_terminal() -> int:
    """Open the terminal of stderr again and return the descriptor, -1 if there is no terminal.

    A new open file is needed because O_NONBLOCK on the shared one would affect other programs too.
    """
    if not os.isatty(2):
        return -1
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    for path in ("/dev/tty", "/proc/self/fd/2"):
        with contextlib.suppress(OSError):
            return os.open(path, flags)
    return -1


def _above(path: str, levels: int) -> str:
    """The directory that is the given number of levels above a path."""
    for _ in range(levels):
        path = os.path.dirname(path)
    return path
