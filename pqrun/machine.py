# SPDX-License-Identifier: LGPL-3.0-or-later
"""How busy the machine is and how much memory is free, looked at no more than once a second.

Answers with how many attempts may run until the next look: of what was free then, each attempt
that starts meanwhile is expected to take its part.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sized

from pqrun.errors import UserError
from pqrun.limits import BEARS_ALL, Bearing

EVERY = 1.0
LOAD = "/proc/loadavg"
MEMORY = "/proc/meminfo"


class Machine:
    """Watched for whoever gave `load` (processes that run or want to) or `memfree` (bytes)."""

    def __init__(self, load: float | None = None, memfree: int | None = None) -> None:
        self.looks_at = -math.inf
        self._load = load
        self._memfree = memfree
        self._bearing = BEARS_ALL
        if memfree is not None and free_memory() is None:
            raise UserError("--memfree: this system does not tell how much memory is free")

    def bearing(self, now: float, running: Callable[[], Sized]) -> Bearing:
        """How many attempts it bears, with those that are `running`; it will look again at `looks_at`."""
        if now >= self.looks_at:
            self.looks_at = now + EVERY
            count = len(running())
            self._bearing = min(self._by_load(count), self._by_memory(count))
        return self._bearing

    def _by_load(self, running: int) -> Bearing:
        if self._load is None:
            return BEARS_ALL
        load = busy_processes()
        room = math.ceil(self._load - load)
        return Bearing(
            running + room if room > 0 else 0, f"the load is {load:g} (--load {self._load:g})", "load"
        )

    def _by_memory(self, running: int) -> Bearing:
        if self._memfree is None:
            return BEARS_ALL
        free = free_memory() or 0
        room = free // max(self._memfree, 1)
        why = f"{shown(free)} of memory are free (--memfree {shown(self._memfree)})"
        return Bearing(running + room if room > 0 else 0, why, "memfree")


def busy_processes() -> float:
    """Processes that run or could, ourselves left out; where that isn't told, the mean of a minute."""
    try:
        with open(LOAD, encoding="ascii") as file:
            return max(0.0, float(file.read().split()[3].partition("/")[0]) - 1)
    except (OSError, IndexError, ValueError):
        return os.getloadavg()[0]


def free_memory() -> int | None:
    """Bytes that can be had without swapping; None if nobody knows."""
    try:
        with open(MEMORY, encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, IndexError, ValueError):
        pass
    return None


def load_limit(text: str, cpus: int) -> float:
    """`8`, `1.5`, or `80%` of so many CPUs."""
    return float(text[:-1]) * cpus / 100 if text.endswith("%") else float(text)


def shown(size: int) -> str:
    """`512M`, `1.5G`."""
    for power, letter in ((3, "G"), (2, "M"), (1, "K")):
        if size >= 1024**power:
            return f"{size / 1024**power:.1f}".removesuffix(".0") + letter
    return f"{size} bytes"
