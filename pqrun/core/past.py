# SPDX-License-Identifier: LGPL-3.0-or-later
"""How long jobs took in earlier runs, and what follows from it: the longest first, and parts of equal time.

No clock, process or file. Only a run with `--order longest-first` or `--by-time` uses this module.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import median
from typing import Final

from pqrun.core.job import Command, JobSpec, Pool
from pqrun.core.job_row import RUNNING, JobRow
from pqrun.core.ready_queue import ReadyJob, ReadyQueue, ShapeHead
from pqrun.core.task import Task

MAX_MILLISECONDS: Final = 10**13
"""More than the longest time limit, so that no place in the queue becomes negative."""
MAX_ROWS: Final = 20_000
"""The most jobs whose times are added up for each picture of the live table."""


def past_key(job_id: str, run: str | tuple[str, ...] | None, *, named: bool) -> str:
    """Return what makes a job the same in several runs: its id, if it has one, and its command."""
    command = run if isinstance(run, str) else "\0".join(run or ())
    return f"{job_id}\0\0{command}" if named else command


class KnownDurations:
    """The seconds that jobs took before, by their keys. The time of an unknown job is the median of all."""

    def __init__(self, seconds: Mapping[str, float]) -> None:
        self._seconds = seconds
        self._usual = median(seconds.values()) if seconds else 0.0

    def known(self, spec: JobSpec) -> float | None:
        """Return the seconds that the job took before, None if it is unknown."""
        run = spec.work.run if isinstance(spec.work, Command) else None
        return self._seconds.get(past_key(spec.id, run, named=spec.named))

    def estimate(self, spec: JobSpec) -> float:
        """Return the seconds that the job is expected to take."""
        seconds = self.known(spec)
        return self._usual if seconds is None else seconds


class LongestFirstQueue(ReadyQueue):
    """The ready jobs, of equals in urgency the one that took longest before; then first come, first served."""

    def __init__(self, pools: Iterable[Pool], known: Mapping[int, ShapeHead], past: KnownDurations) -> None:
        super().__init__(pools, known)
        self._past = past

    def enter(self, job: ReadyJob, *, again: bool = False) -> None:
        """Put a job in the queue by its expected time; with `again`, at the place that it had before."""
        if not again:
            assert isinstance(job, Task)
            job.place = MAX_MILLISECONDS - round(1000 * self._past.estimate(job.spec))
        super().enter(job, again=True)


def expected_seconds(
    past: KnownDurations, rows: Collection[JobRow], workers: int, now: float
) -> float | None:
    """Return the seconds until all these jobs have ended, None if the time of one is unknown, or if they are many.

    That is the work that is left, shared out among the workers, but at least the longest job.
    """
    if len(rows) > MAX_ROWS or not workers:
        return None
    total = longest = 0.0
    for row in rows:
        if row.outcome is not None:
            continue
        seconds = past.known(row.spec)
        if seconds is None:
            return None
        if row.state == RUNNING and row.started is not None:
            seconds = max(0.0, seconds - (now - row.started))
        total += seconds
        longest = max(longest, seconds)
    return max(total / workers, longest)


def parts_by_time(jobs: Sequence[JobSpec], past: KnownDurations, parts: int) -> dict[str, int]:
    """Return the part of each job by id, counted from 0: known times are balanced, other jobs by number.

    The longest job goes first, always into the part with the least time. The order of the jobs does not
    matter, unless two without an id have the same command.
    """
    known = [(past.known(job), job) for job in jobs]
    timed = sorted(
        ((-seconds, _name(job), job.id) for seconds, job in known if seconds is not None),
        key=lambda one: one[:2],
    )
    others = sorted(
        ((_name(job), job.id) for seconds, job in known if seconds is None), key=lambda one: one[0]
    )
    found: dict[str, int] = {}
    totals, counts = [0.0] * parts, [0] * parts
    for seconds, _, job_id in timed:
        part = min(range(parts), key=lambda one: (totals[one], one))
        totals[part] -= seconds
        found[job_id] = part
    by_time = sorted(range(parts), key=lambda one: (totals[one], one))
    for _, job_id in others:
        part = min(by_time, key=lambda one: counts[one])
        counts[part] += 1
        found[job_id] = part
    return found


def _name(job: JobSpec) -> str:
    run = job.work.run if isinstance(job.work, Command) else None
    return past_key(job.id, run, named=job.named)
