# SPDX-License-Identifier: LGPL-3.0-or-later
"""How many jobs may run at a time on this machine, and how people say so."""

from __future__ import annotations

import os

from pqrun.errors import UserError


def usable_cpus() -> int:
    """CPUs that this process may use: its affinity, cut to its control group's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(count, quota) if quota else count)


def _cgroup_quota() -> int | None:
    """Whole CPUs of the nearest quota, rounded up; None without one (or without control groups)."""
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
    """`4`, `50%`, `+2`, `-1` or `auto`, as a number of slots; at least one."""
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
        raise UserError("-j 0 would run nothing (accepted: 4, 50%, +2, -1, auto)")
    return number
