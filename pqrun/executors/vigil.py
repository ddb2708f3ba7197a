# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the warden does: it reads what runs, and when pqrun is gone, it ends all of that.

Nothing here may need anything that a killed pqrun has left half done.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator, Sequence

from pqrun.executors.processes import LINUX, Process, all_processes, environment_of, group_lives, send

GRACE = 3.0
NAP = 0.05
GIVE_UP = 60.0
LOOKS = 3  # one that is just executing its program shows nothing yet
DEAF_TO = (
    "SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGUSR1", "SIGUSR2",
    "SIGALRM", "SIGPIPE", "SIGXCPU", "SIGVTALRM", "SIGPROF",
)  # fmt: skip
NAME = b"pq-warden"


def main(arguments: Sequence[str]) -> None:
    """As a program: the pipe's descriptor, the mark, the longest grace, descriptors to hold."""
    reading, mark, grace, *keep = arguments
    keep_watch(int(reading), mark.encode(), [int(fd) for fd in keep], float(grace))


def keep_watch(reading: int, mark: bytes, keep: Sequence[int], longest: float = GRACE) -> None:
    """Reads until pqrun has gone, and returns when nothing is left of its jobs. No grace is longer than that."""
    for name in DEAF_TO:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.set_wakeup_fd(-1)
    if os.getsid(0) != os.getpid():
        os.setsid()
    _close_all_but({reading, *keep})
    _be_called(NAME)
    jobs: dict[int, float] = {}
    rest = b""
    hung_up = select.poll()
    hung_up.register(reading, 0)
    while data := os.read(reading, 65536):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            pid, _, grace = line[1:].partition(b" ")
            if line[:1] == b"+":
                jobs[int(pid)] = min(int(grace) / 1000, longest)
            else:
                jobs.pop(int(pid), None)
        hung_up.poll(NAP * 1000)  # many messages at a time: it must not cost what it guards
    if LINUX:
        end_all(jobs, mark, longest, looks=LOOKS)
    else:
        end_groups(jobs)


def end_all(jobs: dict[int, float], mark: bytes, longest: float = GRACE, *, looks: int = 1) -> None:
    """Asks every process of these jobs to end, kills it after the grace, until `looks` find none."""
    began = time.monotonic()
    kill_at = began + max(jobs.values(), default=longest)
    asked: dict[int, int] = {}
    denied: set[int] = set()
    empty = 0
    while empty < looks:
        left = False
        try:
            for process in _those_of(jobs, mark, asked):
                force = time.monotonic() >= kill_at
                if process.pid in denied:
                    continue
                left = True
                try:
                    if force:
                        _kill(process)
                    elif process.pid not in asked:
                        send(process, signal.SIGTERM, signal.SIGCONT)
                except PermissionError:
                    if force:
                        denied.add(process.pid)
                except OSError:
                    pass  # it is looked at again in a moment
                asked[process.pid] = process.born
        except OSError:  # no descriptors or memory to look with, which does not prove that none lives
            left = True
        empty = 0 if left else empty + 1
        if time.monotonic() > kill_at + GIVE_UP:
            return
        time.sleep(0.01)


def end_groups(jobs: dict[int, float]) -> None:
    """The same where groups are all that can be found."""
    kill_at = time.monotonic() + max(jobs.values(), default=GRACE)
    numbers: tuple[int, ...] = (signal.SIGTERM, signal.SIGCONT)
    while left := [group for group in jobs if group_lives(group)]:
        for number in numbers:
            for group in left:
                with contextlib.suppress(OSError):
                    os.killpg(group, number)
        numbers = (signal.SIGKILL,) if time.monotonic() >= kill_at else ()
        if time.monotonic() > kill_at + GIVE_UP:
            return
        time.sleep(0.01)


def _kill(process: Process) -> None:
    """Kills it, and its group in one go: what forks faster than we look can't get away within that."""
    if process.group != os.getpgid(0):
        with contextlib.suppress(OSError):
            os.killpg(process.group, signal.SIGKILL)
    send(process, signal.SIGKILL)


def _those_of(jobs: dict[int, float], mark: bytes, asked: dict[int, int]) -> Iterator[Process]:
    """What lives of them: by session, by the mark, below those, and whatever was found before.

    One after another as they are found: what forks to new numbers is gone a moment later.
    """
    found: set[int] = set()
    others: list[Process] = []
    for process in all_processes():
        if not process.lives or process.pid == os.getpid():
            continue
        if asked.get(process.pid) == process.born or _is_theirs(process, jobs, mark):
            found.add(process.pid)
            yield process
        else:
            others.append(process)
    grew = bool(found)
    while grew:
        below = [process for process in others if process.parent in found and process.pid not in found]
        found.update(process.pid for process in below)
        yield from below
        grew = bool(below)


def _is_theirs(process: Process, jobs: dict[int, float], mark: bytes) -> bool:
    if process.session in jobs or process.group in jobs:
        return True
    return mark in environment_of(process.pid)


def _be_called(name: bytes) -> None:
    """So that who ends all that is called pqrun does not end this."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "wb", buffering=0) as file:
        file.write(name)


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
