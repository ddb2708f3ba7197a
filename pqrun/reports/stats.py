# SPDX-License-Identifier: LGPL-3.0-or-later
"""What running jobs take of the machine: CPUs and memory of each job's whole tree of processes.

Needs psutil. The kernel's own peak of a child (`ru_maxrss`) is never below ours, since a child begins
as a copy of us; so a peak is the highest of what was seen here.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

import psutil

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


def _trees(leaders: Mapping[Key, int]) -> dict[Key, list[psutil.Process]]:
    """The processes below each leader, and those of its session that have lost their parent to us."""
    if not leaders:
        return {}
    children: dict[int, list[psutil.Process]] = defaultdict(list)
    known: dict[int, psutil.Process] = {}
    for process in psutil.process_iter(["ppid"]):
        known[process.pid] = process
        children[process.info["ppid"]].append(process)
    orphans: dict[int, list[psutil.Process]] = defaultdict(list)
    of_leaders = set(leaders.values())
    for process in children[os.getpid()]:
        if process.pid not in of_leaders:
            orphans[_session(process.pid)].append(process)
    trees = {}
    for key, pid in leaders.items():
        trees[key] = _below([known[pid], *orphans[pid]] if pid in known else [], children)
    return trees


def _below(roots: list[psutil.Process], children: Mapping[int, list[psutil.Process]]) -> list[psutil.Process]:
    """Each once: a number that was given out again while we looked may be its own grandparent."""
    tree, seen = list(roots), {process.pid for process in roots}
    for process in tree:
        for child in children.get(process.pid, ()):
            if child.pid not in seen:
                seen.add(child.pid)
                tree.append(child)
    return tree


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def _taken(tree: Iterable[psutil.Process]) -> tuple[float, int, int]:
    """CPU seconds, those of children that have ended included; memory; the highest that one of them had."""
    seconds, memory, highest = 0.0, 0, 0
    for process in tree:
        try:
            with process.oneshot():
                times = process.cpu_times()
                memory += process.memory_info().rss
        except psutil.Error:
            continue  # it has ended meanwhile, or is not ours to look at
        highest = max(highest, _highest(process.pid))
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
