# SPDX-License-Identifier: LGPL-3.0-or-later
"""A process that outlives pqrun when pqrun is killed, and ends its jobs.

Forked first of all, in a session of its own, deaf to signals that ask. It reads a pipe: `+PID GRACE`
a job's leader runs, `-PID` it is over, `q` farewell. When the pipe closes without a farewell, all
that was announced, and all that carries the run's mark in its environment, is asked to end, and
killed after its grace. Only then the warden lets go of what it inherited, the run's lock among it.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Sequence

GRACE = 3.0
NAP = 0.05
DEAF_TO = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGUSR1", "SIGUSR2", "SIGPIPE")  # fmt: skip


class Warden:
    """pqrun's end of the pipe."""

    def __init__(self, mark: bytes, keep: Sequence[int] = ()) -> None:
        self.pid = 0
        self._mark = mark
        self._keep = tuple(keep)
        self._pipe = -1
        self._announced: dict[int, float] = {}

    def fork(self) -> None:
        """Starts it as a copy of this process; only before there are threads."""
        reading, self._pipe = os.pipe()
        os.set_blocking(self._pipe, False)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self._pipe)
                _serve(reading, self._mark, self._keep)
            finally:
                os._exit(0)
        os.close(reading)

    def spawn(self) -> None:
        """Starts it anew with its own Python: threads run by now. Announces what runs again."""
        import subprocess

        reading, pipe = os.pipe()
        os.set_blocking(pipe, False)
        here = os.path.abspath(__file__)
        process = subprocess.Popen(
            [sys.executable, "-S", "-E", here, str(reading), self._mark.decode(), *map(str, self._keep)],
            pass_fds=(reading, *self._keep), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(reading)
        old, self._pipe = self._pipe, pipe
        os.close(old)
        self.pid = process.pid
        process.returncode = 0  # reaped by `close`, not by its object
        for pid, grace in list(self._announced.items()):
            self._tell(b"+%d %d\n" % (pid, int(grace * 1000)))

    def announce(self, pid: int, grace: float) -> None:
        """A job's leader runs."""
        self._announced[pid] = grace
        self._tell(b"+%d %d\n" % (pid, int(min(grace, GRACE) * 1000)))

    def dismiss(self, pid: int) -> None:
        """A job is over, before its leader is reaped."""
        self._announced.pop(pid, None)
        self._tell(b"-%d\n" % pid)

    def close(self) -> None:
        """Farewell; waits until it has gone."""
        if self._pipe >= 0:
            os.set_blocking(self._pipe, True)
            self._tell(b"q\n")
            os.close(self._pipe)
            self._pipe = -1
            try:
                os.waitpid(self.pid, 0)
            except ChildProcessError:
                pass  # it had died, and was replaced or reaped

    def _tell(self, message: bytes) -> None:
        try:
            os.write(self._pipe, message)
        except OSError:
            pass  # dead or stuck: the mark in the jobs' environment finds them all the same


def _serve(reading: int, mark: bytes, keep: Sequence[int]) -> None:
    for name in DEAF_TO:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.set_wakeup_fd(-1)
    if os.getsid(0) != os.getpid():
        os.setsid()
    _close_all_but({reading, *keep})
    jobs: dict[int, float] = {}
    rest = b""
    hung_up = select.poll()
    hung_up.register(reading, 0)
    while data := os.read(reading, 65536):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line == b"q":
                return
            pid, _, grace = line[1:].partition(b" ")
            if line[:1] == b"+":
                jobs[int(pid)] = min(int(grace) / 1000, GRACE)
            else:
                jobs.pop(int(pid), None)
        hung_up.poll(NAP * 1000)  # many messages at a time: it must not cost what it guards
    end_all(jobs, mark)


def end_all(jobs: dict[int, float], mark: bytes) -> None:
    """Asks every process of these jobs to end, kills it after the grace, until none is left."""
    began = time.monotonic()
    grace = max(jobs.values(), default=GRACE)
    asked: set[int] = set()
    while left := _processes_of(jobs, mark):
        force = time.monotonic() >= began + grace
        for pid in left:
            if force or pid not in asked:
                for number in (signal.SIGKILL,) if force else (signal.SIGTERM, signal.SIGCONT):
                    try:
                        os.kill(pid, number)
                    except OSError:
                        pass  # gone already
        asked |= left
        if time.monotonic() > began + grace + 60:
            return
        time.sleep(0.01)


def _processes_of(jobs: dict[int, float], mark: bytes) -> set[int]:
    """What lives of them: by session, by the mark, and below those."""
    if not os.path.isdir("/proc/self"):
        return {pid for pid in jobs if _group_lives(pid)}
    found, parents = set(), {}
    for name in os.listdir("/proc"):
        if not name.isdecimal() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb", buffering=0) as file:
                text = file.read(4096)
            facts = text[text.rfind(b")") + 2 :].split()
            if facts[0] in (b"Z", b"X"):
                continue
            parents[int(name)] = int(facts[1])
            if int(facts[3]) in jobs or int(facts[2]) in jobs:
                found.add(int(name))
                continue
            with open(f"/proc/{name}/environ", "rb", buffering=0) as file:
                if b"\0" + mark in b"\0" + file.read(1 << 20):
                    found.add(int(name))
        except (OSError, IndexError, ValueError):
            continue
    grew = True
    while grew:
        more = {pid for pid, parent in parents.items() if parent in found and pid not in found}
        found |= more
        grew = bool(more)
    return found


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except OSError:
        return False
    return True


def _close_all_but(kept: set[int]) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        if fd not in kept:
            os.dup2(null, fd)
    limit = os.sysconf("SC_OPEN_MAX")
    low = 3
    for fd in (*sorted(kept), limit):
        if fd >= low:
            os.closerange(low, fd)
            low = fd + 1


if __name__ == "__main__":
    _serve(int(sys.argv[1]), sys.argv[2].encode(), [int(fd) for fd in sys.argv[3:]])
