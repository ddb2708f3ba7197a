# SPDX-License-Identifier: LGPL-3.0-or-later
"""What running jobs take of the machine: CPUs and memory of each job's whole tree of processes.

Needs psutil. The kernel's own peak of a child is never below ours, since a child begins as a copy of
us; so a peak is the highest of what was seen here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import NamedTuple

import psutil

from pqrun.model import Key

AT_LEAST = 1.0  # seconds between two looks: each costs a few milliseconds


class Load(NamedTuple):
    """`cpus` that it kept busy since the last look; bytes of memory now, and at most so far."""

    cpus: float
    memory: int
    peak: int


class Sampler:
    """Looks at the processes of running attempts; `pids` says which are their leaders."""

    def __init__(self, pids: Callable[[], Mapping[Key, int]], now: Callable[[], float]) -> None:
        self._pids = pids
        self._now = now
        self._looked = -AT_LEAST
        self._spent: dict[Key, float] = {}
        self._loads: dict[Key, Load] = {}

    def loads(self) -> Mapping[Key, Load]:
        """By attempt, at most a second old; an attempt is in it from its second look on."""
        now = self._now()
        if now - self._looked >= AT_LEAST:
            self._look(now - self._looked)
            self._looked = now
        return self._loads

    def _look(self, since: float) -> None:
        children: dict[int, list[psutil.Process]] = defaultdict(list)
        known: dict[int, psutil.Process] = {}
        for process in psutil.process_iter(["ppid"]):
            known[process.pid] = process
            children[process.info["ppid"]].append(process)
        spent: dict[Key, float] = {}
        loads: dict[Key, Load] = {}
        for key, pid in self._pids().items():
            tree = [known[pid]] if pid in known else []
            for process in tree:
                tree += children[process.pid]
            spent[key], memory = _taken(tree)
            if key in self._spent:
                cpus = max(0.0, spent[key] - self._spent[key]) / since
                before = self._loads[key].peak if key in self._loads else 0
                loads[key] = Load(cpus, memory, max(memory, before))
        self._spent, self._loads = spent, loads


def _taken(tree: list[psutil.Process]) -> tuple[float, int]:
    """CPU seconds, those of children that have ended included, and memory."""
    seconds, memory = 0.0, 0
    for process in tree:
        try:
            with process.oneshot():
                times = process.cpu_times()
                memory += process.memory_info().rss
        except psutil.Error:
            continue  # it has ended meanwhile, or is not ours to look at
        seconds += times.user + times.system
        seconds += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return seconds, memory
