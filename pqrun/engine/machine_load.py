# SPDX-License-Identifier: LGPL-3.0-or-later
"""Load, free memory and usable CPUs of the machine, and the limits that follow from them.

Load, memory and swapping are measured at most once a second. Each measurement gives the number of attempts that
may run until the next one, on the assumption that each new attempt takes its share of what was free.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sized

from pqrun.core.errors import UserError
from pqrun.core.start_policy import UNLIMITED, Headroom

CHECK_INTERVAL_SECONDS = 1.0
LOAD = "/proc/loadavg"
MEMORY = "/proc/meminfo"
PAGING = "/proc/vmstat"


class LoadMonitor:
    """The limits `load` (number of processes that run or are ready to) and `memfree` (bytes) on starts.

    With `noswap`, nothing starts while the machine swaps, both in and out.

    Raises:
        UserError: The system does not tell how much memory is free, or how much it has swapped.
    """

    def __init__(
        self, load: float | None = None, memfree: int | None = None, *, noswap: bool = False
    ) -> None:
        self.next_check_at = -math.inf
        self._load = load
        self._memfree = memfree
        self._headroom = UNLIMITED
        self._swapped = swapped_pages() if noswap else None
        if memfree is not None and free_memory() is None:
            raise UserError("--memfree: this system does not report how much memory is free")
        if noswap and self._swapped is None:
            raise UserError("--noswap: this system does not report how much it swaps")

    def headroom(self, now: float, running: Callable[[], Sized]) -> Headroom:
        """Return how many attempts may run at once. The next measurement is due at `next_check_at`.

        `running` returns the running attempts.
        """
        if now >= self.next_check_at:
            self.next_check_at = now + CHECK_INTERVAL_SECONDS
            count = len(running())
            self._headroom = min(self._by_load(count), self._by_memory(count), self._by_swapping())
        return self._headroom

    def _by_load(self, running: int) -> Headroom:
        if self._load is None:
            return UNLIMITED
        load = busy_processes()
        room = math.ceil(self._load - load)
        return Headroom(
            running + room if room > 0 else 0, f"the load is {load:g} (--load {self._load:g})", "load"
        )

    def _by_memory(self, running: int) -> Headroom:
        if self._memfree is None:
            return UNLIMITED
        free = free_memory() or 0
        room = free // max(self._memfree, 1)
        why = f"{format_bytes(free)} of memory are free (--memfree {format_bytes(self._memfree)})"
        return Headroom(running + room if room > 0 else 0, why, "memfree")

    def _by_swapping(self) -> Headroom:
        if self._swapped is None:
            return UNLIMITED
        before, self._swapped = self._swapped, swapped_pages() or self._swapped
        swaps = all(late > early for early, late in zip(before, self._swapped, strict=True))
        return Headroom(0, "the machine swaps (--noswap)", "noswap") if swaps else UNLIMITED


def busy_processes() -> float:
    """Return how many processes run or are ready to run, without this one.

    Return the load average of the last minute if the system does not tell the present number.
    """
    try:
        with open(LOAD, encoding="ascii") as file:
            return max(0.0, float(file.read().split()[3].partition("/")[0]) - 1)
    except (OSError, IndexError, ValueError):
        return os.getloadavg()[0]


def free_memory() -> int | None:
    """Return the bytes of memory that can be used without swapping, or None if the system does not tell."""
    try:
        with open(MEMORY, encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, IndexError, ValueError):
        pass
    return None


def swapped_pages() -> tuple[int, int] | None:
    """Return the pages swapped in and out since the boot, or None if the system does not tell."""
    try:
        with open(PAGING, encoding="ascii") as file:
            found = dict(line.split() for line in file if line.startswith("pswp"))
        return int(found["pswpin"]), int(found["pswpout"])
    except (OSError, KeyError, ValueError):
        return None


def load_limit(text: str, cpus: int) -> float:
    """Return the limit of load for `8`, `1.5`, or `80%` of `cpus`."""
    return float(text[:-1]) * cpus / 100 if text.endswith("%") else float(text)


def format_bytes(size: int) -> str:
    """Return a number of bytes as `512M` or `1.5G`."""
    for power, letter in ((3, "G"), (2, "M"), (1, "K")):
        if size >= 1024**power:
            return f"{size / 1024**power:.1f}".removesuffix(".0") + letter
    return f"{size} bytes"


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use: its affinity, cut to its control group's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(count, quota) if quota else count)


def _cgroup_quota() -> int | None:
    """Return the smallest quota of the control groups in whole CPUs, rounded up, or None without a quota."""
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            paths = [line.strip().split(":", 2) for line in file]
    except OSError:
        return None
    quotas = []
    for _, controllers, path in paths:
        if controllers == "":
            folder = path
            while True:
                quotas.append(_read_numbers(f"/sys/fs/cgroup{folder}/cpu.max"))
                if folder in ("/", ""):
                    break
                folder = os.path.dirname(folder)
        elif "cpu" in controllers.split(","):
            quota = _read_numbers(f"/sys/fs/cgroup/cpu{path}/cpu.cfs_quota_us")
            period = _read_numbers(f"/sys/fs/cgroup/cpu{path}/cpu.cfs_period_us")
            quotas.append(quota + period)
    whole = [
        -(-found[0] // found[1]) for found in quotas if len(found) == 2 and found[0] > 0 and found[1] > 0
    ]
    return min(whole, default=None)


def _read_numbers(path: str) -> list[int]:
    try:
        with open(path, encoding="utf-8") as file:
            return [int(word) for word in file.read().split()]
    except (OSError, ValueError):
        return []


def count_workers(text: str | None, cpus: int | None = None) -> int:
    """Return the number of slots for `4`, `50%`, `+2`, `-1` or `auto`; at least 1.

    Raises:
        UserError: The text is no number of workers.
    """
    cpus = usable_cpus() if cpus is None else cpus
    if text is None or text == "auto":
        return cpus
    digits = text.strip().lstrip("+-").removesuffix("%")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 6:
        raise UserError(f"not a number of jobs: `{text}` (accepted: 4, 50%, +2, -1, auto)")
    number = int(digits)
    if text.endswith("%"):
        return max(1, cpus * number // 100)
    if text.startswith("+"):
        return cpus + number
    if text.startswith("-"):
        return max(1, cpus - number)
    if number < 1:
        raise UserError("-j 0 would run no jobs (accepted: 4, 50%, +2, -1, auto)")
    return number
