# SPDX-License-Identifier: LGPL-3.0-or-later
"""One sample of the CPU time and memory of running jobs, from psutil.

A module of its own, because psutil is optional and takes time to load: the monitor's thread imports it.
"""

from __future__ import annotations

import os
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

import psutil

from pqrun.core.job import AttemptId
from pqrun.engine.live_run import JobUsage
from pqrun.executors.local.procfs import children_of

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
