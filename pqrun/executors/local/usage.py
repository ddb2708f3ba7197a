# SPDX-License-Identifier: LGPL-3.0-or-later
"""The CPU and memory that running jobs use, measured once a second with psutil.

The measurements run in a thread of their own, so that a blocked stdout does not stop them. They begin
when the run is a second old, so that short runs pay nothing for them.
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
COST_SHARE = 20  # sampling may take 1/20 of a CPU, however many processes there are
CLOSE_TIMEOUT_SECONDS = 0.5


class JobUsage(NamedTuple):
    """The usage of one attempt.

    `cpus`: the CPUs that it kept busy since the last sample. `memory`: bytes now. `peak`: the most bytes so
    far.
    """

    cpus: float
    memory: int
    peak: int


def is_possible() -> bool:
    """Say whether psutil is installed."""
    return find_spec("psutil") is not None


class UsageMonitor:
    """A thread that samples the usage of running attempts.

    `leaders` returns the pids of the running attempts' leaders; `now` returns seconds.
    """

    def __init__(self, leaders: Callable[[], Mapping[AttemptId, int]], now: Callable[[], float]) -> None:
        self._leaders = leaders
        self._now = now
        self._loads: Mapping[AttemptId, JobUsage] = {}
        self._over = Event()
        self._thread = Thread(target=self._sample_repeatedly, name="pqrun-watch", daemon=True)

    def start(self) -> None:
        """Start the thread. Without room for another thread nothing is measured."""
        try:
            start_thread(self._thread)
        except NoThread:  # run without measurements: the jobs need the remaining threads
            self._over.set()

    def spare(self) -> None:
        """Stop measuring, because the jobs need the thread. Earlier samples stay available.

        May be called on any thread.
        """
        self._over.set()

    def close(self) -> None:
        """Stop measuring and wait up to 0.5 seconds for the thread."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_TIMEOUT_SECONDS)

    def loads(self) -> Mapping[AttemptId, JobUsage]:
        """Return the last sample, by attempt. An attempt appears in it from its second sample on."""
        return self._loads

    def peak_of(self, key: AttemptId) -> int | None:
        """Return the most memory that the attempt was seen with, in bytes; None before its second sample."""
        load = self._loads.get(key)
        return None if load is None else load.peak

    def _sample_repeatedly(self) -> None:
        if self._over.wait(EVERY) or not is_possible():
            return
        try:
            pass
        except (ImportError, OSError):  # psutil is installed but can't be loaded
            return
        sampler, looks, pause = UsageSampler(self._leaders, self._now), 0, 0.0
        while not self._over.wait(pause):
            began = time.thread_time()
            try:
                self._loads = sampler.sample()
            except OSError:
                pass  # perhaps no descriptor is left; the next sample may succeed
            looks += 1
            pause = max(EVERY if looks > 1 else SOON, COST_SHARE * (time.thread_time() - began))


_HIGHEST = re.compile(rb"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


class UsageSampler:
    """Samples of the processes of running attempts. `leaders` returns the pids of their leaders."""

    def __init__(self, leaders: Callable[[], Mapping[AttemptId, int]], now: Callable[[], float]) -> None:
        self._leaders = leaders
        self._now = now
        self._looked = 0.0
        self._spent: dict[AttemptId, float] = {}
        self._loads: dict[AttemptId, JobUsage] = {}

    def sample(self) -> Mapping[AttemptId, JobUsage]:
        """Take a sample and return it, by attempt.

        It leaves out attempts that the last sample did not see, because a new child may not have executed its
        program yet and then shows the memory of pqrun.
        """
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
    """Return the processes of each attempt: the descendants of its leader, and its orphans.

    Orphans are children of pqrun in the session of the leader.
    """
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
    """Say whether the kernel lists the children of a process.

    Otherwise the children have to be found among all processes.
    """
    return os.path.exists(f"/proc/self/task/{threading.get_native_id()}/children")


def _scanned() -> dict[int, list[int]]:
    children: dict[int, list[int]] = defaultdict(list)
    for process in psutil.process_iter(["ppid"]):
        children[process.info["ppid"]].append(process.pid)
    return children


def _below(roots: list[int], children: Callable[[int], Iterable[int]]) -> list[int]:
    """Return the roots and their descendants, each once.

    A pid that is reused during the search may appear as its own ancestor, which would make the search
    endless.
    """
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
    """Return CPU seconds, bytes of memory now, and the highest memory that one of the processes had.

    The CPU seconds include children that have ended.
    """
    seconds, memory, highest = 0.0, 0, 0
    for pid in tree:
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                times = process.cpu_times()
                memory += process.memory_info().rss
        except psutil.Error:
            continue  # the process has ended meanwhile, or we are not permitted to read it
        highest = max(highest, _highest(pid))
        seconds += times.user + times.system
        seconds += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return seconds, memory, highest


def _highest(pid: int) -> int:
    """Return the most memory that the process had since its exec, in bytes; 0 if unknown.

    This also covers the time between two samples.
    """
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            found = _HIGHEST.search(file.read())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0
