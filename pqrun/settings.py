# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a run is asked to be, as plain values; no thought about how."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pqrun.errors import UserError
from pqrun.model import Halt, Pool, Rate, Shard

MAX_QUEUE = 1000


class Each(NamedTuple):
    """What `each` is to run: the words after its options, and how arguments are written."""

    words: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    delimiter: str | None = None
    colsep: str | None = None
    header: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """Times in seconds. `given` holds what the command line says for all jobs, by field name."""

    files: tuple[str, ...] = ()
    format: str | None = None
    null: bool = False
    each: Each | None = None
    jobs: str | None = None
    max_queue: int | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
    pools: tuple[Pool, ...] = ()
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    halt: Halt | None = None
    deadline: float | None = None
    delay: float = 0.0
    rate: Rate | None = None
    load: str | None = None
    memfree: int | None = None
    shard: Shard | None = None
    cwd: str | None = None
    output: str = "group"
    keep_order: bool = False
    tag: bool = False
    show: str = "all"
    progress: str = "auto"
    quiet: bool = False
    verbose: bool = False
    color: str = "auto"
    results: str | None = None
    ci: str = "auto"
    junit: str | None = None
    trace: str | None = None
    summary: str | None = None
    metrics: str | None = None
    metrics_listen: str | None = None
    joblog: str | None = None
    events: str | None = None
    on_finish: str | None = None
    on_failure: str | None = None
    json: bool = False
    dry_run: bool = False
    run_dir: str | None = None
    journal: bool = True
    durable: bool = False
    resume: str | None = None
    failed: bool = False
    serve: str | None = None
    given_again: dict[str, Any] = field(default_factory=dict)
    recorded: dict[str, Any] = field(default_factory=dict)


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
