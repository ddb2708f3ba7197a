# SPDX-License-Identifier: LGPL-3.0-or-later
"""The plan for a recovered run: which jobs run again, with which attempts and retries counted.

Jobs of an edited file are matched by id and command, jobs without an id by their command and the number of
its occurrence. Positions in the file are never compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf

from pqrun.core import events as ev
from pqrun.core.job import CountedAs, JobSpec, Outcome, Pool, StopReason
from pqrun.core.start_policy import ADDED, LISTED
from pqrun.core.states import Pending, Queued, State, Waiting
from pqrun.core.task import Task
from pqrun.journal.recovery import RecoveredJob, RecoveredRun, cut_short


@dataclass(slots=True)
class RestartPlan:
    """The start state of the scheduler: events to record first, jobs to run, and jobs that have ended.

    `ended` holds id, outcome and whether the failure was allowed; `jobs` is the highest job number; `said`
    sums up, for the user, how an edited list differs.
    """

    events: list[ev.Event] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    ended: list[tuple[str, Outcome, bool]] = field(default_factory=list)
    jobs: int = 0
    paused: bool = False
    workers: int | None = None
    pools: tuple[Pool, ...] = ()
    said: str = ""


def plan_restart(
    found: RecoveredRun, now: float, *, failed: bool, specs: Sequence[JobSpec] | None = None
) -> RestartPlan:
    """Plan the rest of a run. New events get the time `now`, on the wall clock.

    With `failed`, every ended job that is not ok runs again. `specs` is the edited list of jobs.
    """
    restart = RestartPlan(jobs=found.highest, paused=found.paused)
    for job in found.jobs.values():
        _tell(restart, found, _unfinished(job, now))
    order = list(found.jobs.values())
    if specs is not None:
        order = _match(restart, found, specs, now)
    for job in order:
        _decide(restart, found, job, now, failed=failed)
    if specs is None:
        restart.tasks.sort(key=lambda task: task.place or inf)  # keeps the order of the queue
    if found.paused:
        _tell(restart, found, [ev.RunPaused(now, True, "resume")])
    return restart


def _tell(restart: RestartPlan, found: RecoveredRun, events: Iterable[ev.Event]) -> None:
    for event in events:
        found.fold(event)
        restart.events.append(event)


def _unfinished(job: RecoveredJob, now: float) -> list[ev.Event]:
    """Return the events that a crash kept from being recorded."""
    if job.state == "running":
        return cut_short(job, now)
    if job.state != "ended":
        return []
    match job.counted:
        case CountedAs.RETRIED:
            return [ev.JobWaiting(now, job.seq, job.attempts + 1, now)]
        case CountedAs.COMPLETED:
            outcome = Outcome.OK
        case CountedAs.FAILED:
            outcome = Outcome.FAILED
        case CountedAs.TIMEOUT:
            outcome = Outcome.TIMEOUT
        case _:
            cancelled = job.asked is StopReason.CANCELLED
            outcome = Outcome.CANCELLED if cancelled else Outcome.INTERRUPTED
    allowed = job.spec.allow_failure and outcome in (Outcome.FAILED, Outcome.TIMEOUT)
    return [ev.JobEnded(now, job.seq, outcome, job.attempts, allowed)]


def _decide(
    restart: RestartPlan, found: RecoveredRun, job: RecoveredJob, now: float, *, failed: bool
) -> None:
    if job.state == "done" and job.outcome is not None:
        again = failed and job.outcome is not Outcome.OK
        if job.outcome is Outcome.INTERRUPTED and job.spec.rerun:
            again = True
        if not again:
            restart.ended.append((job.spec.id, job.outcome, job.allowed))
            return
        fresh = failed or job.outcome is not Outcome.INTERRUPTED
        _tell(restart, found, [ev.JobReopened(now, job.seq, job.outcome, job.spec)])
        if fresh:
            job.retries = job.lost = job.place = 0
    added = job.by or "serve" in found.header
    task = Task(job.seq, job.spec, ADDED if added else LISTED)
    task.attempts, task.retries, task.lost, task.place = job.attempts, job.retries, job.lost, job.place
    task.state = _state(job, now)
    restart.tasks.append(task)


def _state(job: RecoveredJob, now: float) -> State:
    if job.state == "queued":
        return Queued(job.attempts + 1, now)
    if job.state == "waiting":
        return Waiting(job.attempts + 1, job.until)
    return Pending()


def _match(
    restart: RestartPlan, found: RecoveredRun, specs: Sequence[JobSpec], now: float
) -> list[RecoveredJob]:
    """Match the edited list with the recorded jobs, and return the jobs in the new order.

    Records which jobs are dropped, changed or added.
    """
    by_id = {job.spec.id: job for job in found.jobs.values() if job.spec.named}
    by_work: dict[object, list[RecoveredJob]] = defaultdict(list)
    for job in found.jobs.values():
        if not job.spec.named:
            by_work[job.spec.work].append(job)
    for left in by_work.values():
        left.reverse()
    kept: list[tuple[JobSpec, RecoveredJob | None]] = []
    for spec in specs:
        if spec.named:
            known = by_id.get(spec.id)
            known = known if known is not None and known.spec.work == spec.work else None
        else:
            known = by_work[spec.work].pop() if by_work.get(spec.work) else None
        kept.append((spec, known))
    used = {known.seq for _, known in kept if known is not None}
    gone = [job for job in found.jobs.values() if job.seq not in used]
    old_ids = {job.spec.id for job in gone if job.spec.named}
    _tell(restart, found, [ev.JobDropped(now, job.seq, job.outcome) for job in gone])
    order = [_settle(restart, found, spec, known, now) for spec, known in kept]
    changed = sum(1 for spec, known in kept if known is None and spec.named and spec.id in old_ids)
    new = sum(1 for _, known in kept if known is None) - changed
    removed = len(gone) - changed
    restart.said = f"{len(used)} jobs unchanged, {changed} changed, {new} new, {removed} removed"
    return order


def _settle(
    restart: RestartPlan, found: RecoveredRun, spec: JobSpec, known: RecoveredJob | None, now: float
) -> RecoveredJob:
    if known is None:
        restart.jobs += 1
        _tell(restart, found, [ev.JobAdded(now, restart.jobs, spec)])
        return found.jobs[restart.jobs]
    if known.spec != spec:
        _tell(restart, found, [ev.JobChanged(now, known.seq, spec, "the edited file")])
    return known
