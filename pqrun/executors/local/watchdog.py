# SPDX-License-Identifier: LGPL-3.0-or-later
"""Processes that outlive pqrun when pqrun is killed, and end its jobs: the watchdogs.

There are two, forked first of all, each in a session of its own, with a name of its own, deaf to
signals that ask. Each waits for its pipe to close. Then one of them asks all that is noted in the
`SharedTable`, and all that carries the run's mark in its environment, to end, and kills it after its
grace; the other takes over if that one dies. Only then they let go of what they inherited, the run's
lock among it. A pqrun that is done ends them first.

This is pqrun's side, which replaces a watchdog that dies or is stopped; `vigil` is a watchdog's side.
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

from pqrun.executors.local.watchdog_process import GRACE_SECONDS, run
from pqrun.executors.local.watchdog_table import SharedTable, Terminal

CHECK_INTERVAL_SECONDS = 1.0
SHORT_LIFE_SECONDS = 1.0
MAX_SHORT_LIVES = 3
MAX_RETRY_DELAY = 30.0


class Adopting(Protocol):
    """Starts a child of ours that no sweep takes for a job's."""

    def __call__(self, start: Callable[[], int], *, instead_of: int = 0) -> int: ...


class Watchdog:
    """One of them, as something that the reactor reads from: readable when it has died."""

    def __init__(self, index: int, mend: Callable[[Watchdog], None]) -> None:
        self.index = index
        self.pid = 0  # 0: there is none now
        self.pipe = -1
        self.last_pid = 0
        self.began = 0.0
        self.retry_at = 0.0
        self._mend = mend

    def fileno(self) -> int:
        """The end that is never written to, which tells when there is no reader."""
        return self.pipe

    def wanted(self) -> bool:
        """Whether there is one."""
        return self.pid != 0

    def pending(self) -> bool:
        """Never: only its end is news."""
        return False

    def read(self) -> Iterable[Callable[..., None]]:
        """It is dead: another takes its place."""
        self._mend(self)
        return ()

    def is_lost(self) -> bool:
        """Whether it has died, or was stopped: stopped it is no use."""
        poll = select.poll()
        poll.register(self.pipe, 0)
        if poll.poll(0):
            return True
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
        except ChildProcessError:
            return False  # another part of the program has reaped it: its pipe will tell
        if pid and not os.WIFSTOPPED(status):  # reaped: its number may be another's from now on
            self.last_pid, self.pid = pid, 0
        return pid != 0

    def kill(self) -> None:
        """Kills and reaps it."""
        if self.pid:
            killed = True
            try:
                os.kill(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            except OSError:
                killed = False  # not permitted: it ends by itself when its pipe closes, and is not waited for
            with contextlib.suppress(OSError):
                os.waitpid(self.pid, 0 if killed else os.WNOHANG)
        self.last_pid, self.pid = self.pid or self.last_pid, 0
        if self.pipe >= 0:
            os.close(self.pipe)
            self.pipe = -1


class WatchdogSupervisor:
    """Starts the watchdogs, tells them what runs, and replaces those that are lost.

    `keep`: descriptors that are held until no job is left. `longest`: how many seconds what they end may
    take to end by itself, at most. `tell` hears, in any thread, that there is no watchdog, and that there
    is one again. Without a `mark` they guard no jobs, only the terminal.
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
        self.lost_for = ""  # why there was none for a time
        self._mark = mark
        self._adopt = adopt
        self._keep = tuple(keep)
        self._table: SharedTable | None = None
        self._terminal_fd = -1
        self._terminal = Terminal()
        self._lock = Lock()  # of the table
        self._mending = Lock()
        self._closed = False
        self._look_at = 0.0
        self._short_lives = 0
        self._why = ""

    @property
    def trouble(self) -> str:
        """What a `kill -9` of pqrun would do, or would have done for a time; empty if all was well."""
        if not self.lost_for:
            return ""
        when = "for a time jobs would have outlived" if self.guarded else "jobs would outlive"
        return f"{when} a kill -9 of this pqrun: {self.lost_for}"

    def fork(self) -> None:
        """Starts them as copies of this process; only before there are threads."""
        self._begin(self._fork)

    def spawn(self) -> None:
        """The same with a Python of their own, where threads run already."""
        self._begin(lambda watchdog: self._adopt(lambda: self._spawn(watchdog)))

    def register(self, pid: int, grace: float) -> None:
        """A job's leader runs."""
        with self._lock, contextlib.suppress(OSError):  # no memory: it is found by its environment
            if self._table is not None:
                self._table.add(pid, min(grace, self.longest))
        self.look()

    def unregister(self, pid: int) -> None:
        """A job is over, before its leader is reaped."""
        with self._lock, contextlib.suppress(OSError):
            if self._table is not None:
                self._table.remove(pid)

    def keep_terminal(self, **facts: Any) -> None:
        """Notes how the terminal is to be put right if pqrun is killed: fields of `Terminal`."""
        with self._lock:
            self._terminal = self._terminal._replace(**facts)
            if self._table is not None and self._terminal_fd >= 0:
                with contextlib.suppress(OSError, ValueError):
                    self._table.put_terminal(self._terminal)

    def look(self) -> None:
        """Replaces a watchdog that has died or was stopped; looks once a second at most, in any thread."""
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
        """Nothing runs any more: they go before they can take the end of the pipe for ours."""
        with self._mending, self._lock:
            self._closed = True
            for watchdog in self.watchdogs:
                watchdog.kill()
            table, self._table = self._table, None
            if table is not None:
                table.close()
            if self._terminal_fd >= 0:
                os.close(self._terminal_fd)
                self._terminal_fd = -1

    def _begin(self, start: Callable[[Watchdog], int]) -> None:
        try:
            self._table = SharedTable.create()
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
        """What it is told comes through its pipe: as an argument it would make it one of pqrun's processes."""
        import subprocess

        assert self._table is not None
        reading, watchdog.pipe = os.pipe()
        package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        program = (
            f"import sys\nsys.path.insert(0, {package!a})\n"
            "from pqrun.executors.local.watchdog_process import keep_watch\n"
            f"keep_watch({reading}, *{self._facts(watchdog)!a})\n"
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
        process.returncode = 0  # reaped by its number, not by its object
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
        """Replaces it if it is lost; those that die again and again are given more and more time to do so."""
        if self._closed or self._table is None:
            return
        if watchdog.pid:
            if not watchdog.is_lost():
                return
            self._short_lives = self._short_lives + 1 if now - watchdog.began < SHORT_LIFE_SECONDS else 0
            watchdog.kill()
            excess = self._short_lives - MAX_SHORT_LIVES
            if excess > 0:
                self._why = "its watchdogs die again and again"
                watchdog.retry_at = now + min(MAX_RETRY_DELAY, CHECK_INTERVAL_SECONDS * 2.0 ** (excess - 1))
        if now >= watchdog.retry_at:
            last = watchdog.last_pid
            self._start(watchdog, lambda dog: self._adopt(lambda: self._spawn(dog), instead_of=last))

    def _judge(self, now: float) -> None:
        """Tells when the last one is lost, and when one has stayed."""
        if self._closed:
            return
        lives = [watchdog for watchdog in self.watchdogs if watchdog.pid]
        if self.guarded and not lives:
            self.guarded = False
            self.lost_for = self._why or "its watchdogs have died"
            self.tell(self.trouble)
        elif not self.guarded and any(now - watchdog.began >= SHORT_LIFE_SECONDS for watchdog in lives):
            self.guarded = True
            self.tell("there is a watchdog again: jobs end if this pqrun is killed")


def guard_terminal() -> WatchdogSupervisor:
    """One that guards only the terminal, for what has no jobs of its own."""
    watchdogs = WatchdogSupervisor(b"", lambda start, **_: start(), count=1)
    watchdogs.spawn()
    return watchdogs


def _open_terminal() -> int:
    """The terminal of our stderr, opened anew, so that not to wait for it concerns nobody else; -1: none."""
    if not os.isatty(2):
        return -1
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    for path in ("/dev/tty", "/proc/self/fd/2"):
        with contextlib.suppress(OSError):
            return os.open(path, flags)
    return -1
