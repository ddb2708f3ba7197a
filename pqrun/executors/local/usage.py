# SPDX-License-Identifier: LGPL-3.0-or-later
"""Looks once a second at what running jobs take, if psutil is there; without it nothing is known.

In a thread of its own, which loads psutil when the run is a second old: short runs pay nothing, and
a reader of stdout that is stuck keeps nobody from looking.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from threading import Event, Thread
from typing import NamedTuple

import psutil

from pqrun.core.job import AttemptId
from pqrun.engine.threads import NoThread, start_thread
from pqrun.executors.local.procfs import children_of

EVERY, SOON = 1.0, 0.25
COST_SHARE = 20  # looks may take this part of a CPU, however many processes there are
CLOSE_TIMEOUT_SECONDS = 0.5


class JobUsage(NamedTuple):
    """`cpus` that it kept busy since the last look; bytes of memory now, and at most so far."""

    cpus: float
    memory: int
    peak: int


def is_possible() -> bool:
    """Whether anything can be known."""
    return find_spec("psutil") is not None


class UsageMonitor:
    """`leaders` says which processes lead the running attempts, `now` what time it is."""

    def __init__(self, leaders: Callable[[], Mapping[AttemptId, int]], now: Callable[[], float]) -> None:
        self._leaders = leaders
        self._now = now
        self._loads: Mapping[AttemptId, JobUsage] = {}
        self._over = Event()
        self._thread = Thread(target=self._sample_repeatedly, name="pqrun-watch", daemon=True)

    def start(self) -> None:
        """Begins to look."""
        try:
            start_thread(self._thread)
        except NoThread:  # the jobs need what there is
            self._over.set()

    def spare(self) -> None:
        """From any thread: looks no more, since the jobs need the thread; what was seen stays known."""
        self._over.set()

    def close(self) -> None:
        """Looks no more."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_TIMEOUT_SECONDS)

    def loads(self) -> Mapping[AttemptId, JobUsage]:
        """By attempt, as of the last look; an attempt is in it from its second look on."""
        return self._loads

    def peak_of(self, key: AttemptId) -> int | None:
        """Most memory that an attempt was seen with; None if it ended before its second look."""
        load = self._loads.get(key)
        return None if load is None else load.peak

    def _sample_repeatedly(self) -> None:
        if self._over.wait(EVERY) or not is_possible():
            return
        try:
            pass
        except (ImportError, OSError):  # it is there, but of no use
            return
        sampler, looks, pause = UsageSampler(self._leaders, self._now), 0, 0.0
        while not self._over.wait(pause):
            began = time.thread_time()
            try:
                self._loads = sampler.sample()
            except OSError:
                pass  # out of descriptors, perhaps: the next look may do better
            looks += 1
            pause = max(EVERY if looks > 1 else SOON, COST_SHARE * (time.thread_time() - began))


_HIGHEST = re.compile(rb"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


class UsageSampler:
    """Looks at the processes of running attempts; `leaders` says which lead them."""

    def __init__(self, leaders: Callable[[], Mapping[AttemptId, int]], now: Callable[[], float]) -> None:
        self._leaders = leaders
        self._now = now
        self._looked = 0.0
        self._spent: dict[AttemptId, float] = {}
        self._loads: dict[AttemptId, JobUsage] = {}

    def sample(self) -> Mapping[AttemptId, JobUsage]:
        """By attempt, those that the last look saw too: the first may meet a child that is still us."""
        leaders = self._leaders()
        now = self._now()
        since, self._looked = max(now - self._looked, 1e-3), now
        spent: dict[AttemptId, float] = {}
        loads: dict[AttemptId, JobUsage] = {}
        for key, tree in _trees(leaders).items():
            spent[key], memory, highest = _taken(tree)
            if key in self._spent:
                cpus = max(0.0, spent[key] - self._spent[key]) / since
                before = self._loads[key].peak if key in self._loads else 0
                loads[key] = JobUsage(cpus, memory, max(memory, highest, before))
        self._spent, self._loads = spent, loads
        return loads


def _trees(leaders: Mapping[AttemptId, int]) -> dict[AttemptId, list[int]]:
    """The processes below each leader, and those of its session that have lost their parent to us."""
    if not leaders:
        return {}
    children = children_of if _are_listed() else _scanned().__getitem__
    orphans: dict[int, list[int]] = defaultdict(list)
    of_leaders = set(leaders.values())
    for pid in children(os.getpid()):
        if pid not in of_leaders:
            orphans[_session(pid)].append(pid)
    return {key: _below([pid, *orphans[pid]], children) for key, pid in leaders.items()}


def _are_listed() -> bool:
    """Whether the kernel tells the children of a process: else all processes must be looked at."""
    return os.path.exists(f"/proc/self/task/{threading.get_native_id()}/children")


def _scanned() -> dict[int, list[int]]:
    children: dict[int, list[int]] = defaultdict(list)
    for process in psutil.process_iter(["ppid"]):
        children[process.info["ppid"]].append(process.pid)
    return children


def _below(roots: list[int], children: Callable[[int], Iterable[int]]) -> list[int]:
    """Each once: a number that was given out again while we looked may be its own grandparent."""
    tree, seen = list(roots), set(roots)
    for pid in tree:
        new = [child for child in children(pid) if child not in seen]
        seen.update(new)
        tree += new
    return tree


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def _taken(tree: Iterable[int]) -> tuple[float, int, int]:
    """CPU seconds, those of children that have ended included; memory; the highest that one of them had."""
    seconds, memory, highest = 0.0, 0, 0
    for pid in tree:
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                times = process.cpu_times()
                memory += process.memory_info().rss
        except psutil.Error:
            continue  # it has ended meanwhile, or is not ours to look at
        highest = max(highest, _highest(pid))
        seconds += times.user + times.system
        seconds += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return seconds, memory, highest


def _highest(pid: int) -> int:
    """Most memory that a process had since it began its program, between two looks too; 0 if unknown."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            found = _HIGHEST.search(file.read())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0
