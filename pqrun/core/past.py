# SPDX-License-Identifier: LGPL-3.0-or-later
"""How jobs went in earlier runs, and what follows: the time left, flaky rates, the longest first, equal parts.

No clock, process or file. A run that nobody watches and that has no option for the past does not load this module.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import median
from typing import Final, NamedTuple

from pqrun.core.job import JobSpec, Need, Outcome, Pool, is_gone, run_of
from pqrun.core.job_row import RUNNING, WAITING, JobRow
from pqrun.core.ready_queue import ReadyQueue
from pqrun.core.task import Task

MAX_MILLISECONDS: Final = 10**13
"""More than the longest time limit, so that no place in the queue becomes negative."""
MAX_ROWS: Final = 20_000
"""The most jobs whose times are added up for each picture of the live table."""
MAX_CHAINED_JOBS: Final = 2_000
"""The most jobs, and needs of jobs, that are followed for each picture of the live table: 1.5 ms."""
MIN_KNOWN_SHARE: Final = 0.5
"""The share of the jobs left that earlier runs must know, for an estimate of the time left."""


def key_of(spec: JobSpec) -> str:
    """Return what makes a job the same in several runs."""
    return past_key(spec.id, run_of(spec), named=spec.named)


def past_key(job_id: str, run: str | tuple[str, ...] | None, *, named: bool) -> str:
    """Return what makes a job the same in several runs: its id, if it has one, and its command."""
    command = run if isinstance(run, str) else "\0".join(run or ())
    return f"{job_id}\0\0{command}" if named else command


class KnownDurations:
    """The seconds that jobs took before, by their keys. The time of an unknown job is the median of all."""

    def __init__(self, seconds: Mapping[str, float]) -> None:
        self._seconds = seconds
        self._usual = median(seconds.values()) if seconds else 0.0

    @property
    def usual(self) -> float:
        """The median of all known times; 0 without any."""
        return self._usual

    def known(self, spec: JobSpec) -> float | None:
        """Return the seconds that the job took before, None if it is unknown."""
        return self._seconds.get(key_of(spec))

    def estimate(self, spec: JobSpec) -> float:
        """Return the seconds that the job is expected to take."""
        seconds = self.known(spec)
        return self._usual if seconds is None else seconds


class RunResult(NamedTuple):
    """How a job went in one run: whether one of its attempts failed, and whether the job ended `ok`.

    A job that succeeded at a retry did both. Attempts that were lost with their worker or machine, or that were
    stopped, are no failures, and a job that is run again by hand begins anew.
    """

    failed: bool
    passed: bool


def run_result(state: str, retries: int, *, gone: bool) -> RunResult | None:
    """Return how a job went in a run; None if the run says nothing about the job. `gone`: its last attempt was lost."""
    passed = state == Outcome.OK
    failed = retries > 0 or (state in (Outcome.FAILED, Outcome.TIMEOUT) and not gone)
    return RunResult(failed, passed) if failed or passed else None


def result_of(row: JobRow) -> RunResult | None:
    """Return how the job of this row has gone so far."""
    return run_result(row.state, row.retries, gone=is_gone(row.exit))


class FlakyRate(NamedTuple):
    """In how many of its last runs a job failed. It is flaky if it both failed and passed in them."""

    runs: int
    failed: int
    flaky: bool

    def __str__(self) -> str:
        return f"failed {self.failed} of its last {self.runs} runs"


def flaky_rate(results: Collection[RunResult]) -> FlakyRate | None:
    """Return the rate over several runs; None if there are not several, or if the job never failed."""
    failed = sum(result.failed for result in results)
    if not failed or len(results) < 2:
        return None
    return FlakyRate(len(results), failed, any(result.passed for result in results))


class EarlierRuns(NamedTuple):
    """The usual times of some jobs and their results in earlier runs, one for each run, by key."""

    durations: KnownDurations
    results: Mapping[str, Sequence[RunResult]]

    def rates(self, rows: Iterable[JobRow]) -> dict[int, FlakyRate]:
        """Return the rates of those of the jobs that have failed in their run, too, by number."""
        found = {}
        for row in rows:
            here = result_of(row)
            if here is not None and here.failed:
                rate = flaky_rate([here, *self.results.get(key_of(row.spec), ())])
                if rate is not None:
                    found[row.seq] = rate
        return found


class LongestFirstQueue(ReadyQueue):
    """The ready jobs, of equals in urgency the one that took longest before; then first come, first served."""

    def __init__(self, pools: Iterable[Pool], known: Mapping[int, Task], past: KnownDurations) -> None:
        super().__init__(pools, known)
        self._past = past

    def enter(self, job: Task, *, again: bool = False) -> None:
        """Put a job in the queue by its expected time; with `again`, at the place that it had before."""
        if not again:
            job.place = MAX_MILLISECONDS - round(1000 * self._past.estimate(job.spec))
        super().enter(job, again=True)


def expected_seconds(
    past: KnownDurations,
    rows: Collection[JobRow],
    workers: int,
    now: float,
    *,
    left: int,
    average: float = 0.0,
) -> float | None:
    """Return the seconds until `left` jobs have ended, of which `rows` has those that were read; None if unknown.

    That is the work that is left, shared out among the workers, but at least the longest chain of needs. A job that earlier
    runs don't know counts as the `average`, if the run itself has one, else as their usual job. The time is unknown
    if too few jobs are known, if there are very many, or if the jobs run longer than ever.
    """
    if len(rows) > MAX_ROWS or not workers:
        return None
    usual = average or past.usual
    known, read = 0, 0
    total = longest = 0.0
    each: dict[str, float] = {}
    needs: dict[str, Sequence[Need]] = {}
    for row in list(rows):  # another thread may change the table meanwhile
        if row.outcome is not None:
            continue
        read += 1
        before = past.known(row.spec)
        known += before is not None
        seconds = usual if before is None else before
        job = left_job(row)
        total += job.rest(seconds, now) * row.spec.slots
        each[row.spec.id] = seconds = job.seconds_left(seconds, now)
        longest = max(longest, seconds)
        if row.spec.needs:
            needs[row.spec.id] = row.spec.needs
    if not average and known < MIN_KNOWN_SHARE * left:
        return None
    total += max(0, left - read) * usual
    return max(total / workers, longest, longest_chain(each, needs)) or None


class LeftJob(NamedTuple):
    """An unfinished job. `started`: when its attempt began. `until`: when a waiting job is ready. Times in seconds."""

    id: str
    state: str
    started: float | None
    until: float
    needs: Sequence[Need]

    def rest(self, seconds: float, now: float) -> float:
        """Return the rest of the seconds that the job takes; 0 if it runs longer."""
        if self.state != RUNNING or self.started is None:
            return seconds
        return max(0.0, seconds - (now - self.started))

    def seconds_left(self, seconds: float, now: float) -> float:
        """Return when the job has ended, from now on: it takes these seconds after its wait."""
        wait = max(0.0, self.until - now) if self.state == WAITING else 0.0
        return wait + self.rest(seconds, now)


def left_job(row: JobRow) -> LeftJob:
    """Return an unfinished job of a run."""
    return LeftJob(row.spec.id, row.state, row.started, row.until, row.spec.needs)


def chain_of(jobs: Iterable[LeftJob], count: int, *, average: float, now: float) -> float:
    """Return the seconds of the longest chain of needs, if each of these `count` unfinished jobs takes the average."""
    if not average or count > MAX_CHAINED_JOBS:
        return 0.0
    each, needs = {}, {}
    for job in jobs:
        each[job.id] = job.seconds_left(average, now)
        if job.needs:
            needs[job.id] = job.needs
    return longest_chain(each, needs)


def longest_chain(seconds: Mapping[str, float], needs: Mapping[str, Sequence[Need]]) -> float:
    """Return the seconds until the last of some jobs ends if only their needs hold them up; 0 for very many jobs.

    `seconds`: how long each unfinished job still takes, by id. `needs`: what the jobs need, of those that need any.
    """
    if not needs or max(len(seconds), sum(map(len, needs.values()))) > MAX_CHAINED_JOBS:
        return 0.0
    ends: dict[str, float] = {}
    begun: set[str] = set()
    path = list(needs)[::-1]  # a job usually comes after those that it needs
    while path:
        job = path[-1]
        before, missing = 0.0, []
        for need, _ in needs[job]:
            if need not in needs:
                before = max(before, seconds.get(need, 0.0))
            elif need in ends:
                before = max(before, ends[need])
            elif need not in begun:
                missing.append(need)
        if missing:
            begun.add(job)
            path += missing
        else:
            path.pop()
            ends[job] = seconds[job] + before
    return max(ends.values())


def parts_by_time(jobs: Sequence[JobSpec], past: KnownDurations, parts: int) -> dict[str, int]:
    """Return the part of each job by id, counted from 0: known times are balanced, other jobs by number.

    The longest job goes first, always into the part with the least time. The order of the jobs does not
    matter, unless two without an id have the same command.
    """
    known = [(past.known(job), job) for job in jobs]
    timed = sorted(
        ((-seconds, key_of(job), job.id) for seconds, job in known if seconds is not None),
        key=lambda one: one[:2],
    )
    others = sorted(
        ((key_of(job), job.id) for seconds, job in known if seconds is None), key=lambda one: one[0]
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
