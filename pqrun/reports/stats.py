# SPDX-License-Identifier: LGPL-3.0-or-later
"""What running jobs take of the machine: CPUs and memory of each job's whole tree of processes.

Needs psutil. The kernel's own peak of a child (`ru_maxrss`) is never below ours, since a child begins
as a copy of us; so a peak is the highest of what was seen here.
"""

from __future__ import annotations

import os
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

import psutil

from pqrun.executors.processes import children_of
from pqrun.model import Key
from pqrun.reports.watch import Load

_HIGHEST = re.compile(rb"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


class Sampler:
    """Looks at the processes of running attempts; `leaders` says which lead them."""

    def __init__(self, leaders: Callable[[], Mapping[Key, int]], now: Callable[[], float]) -> None:
        self._leaders = leaders
        self._now = now
        self._looked = 0.0
        self._spent: dict[Key, float] = {}
        self._loads: dict[Key, Load] = {}

    def look(self) -> Mapping[Key, Load]:
        """By attempt, those that the last look saw too: the first may meet a child that is still us."""
        leaders = self._leaders()
        now = self._now()
        since, self._looked = max(now - self._looked, 1e-3), now
        spent: dict[Key, float] = {}
        loads: dict[Key, Load] = {}
        for key, tree in _trees(leaders).items():
            spent[key], memory, highest = _taken(tree)
            if key in self._spent:
                cpus = max(0.0, spent[key] - self._spent[key]) / since
                before = self._loads[key].peak if key in self._loads else 0
                loads[key] = Load(cpus, memory, max(memory, highest, before))
        self._spent, self._loads = spent, loads
        return loads


def _trees(leaders: Mapping[Key, int]) -> dict[Key, list[int]]:
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
