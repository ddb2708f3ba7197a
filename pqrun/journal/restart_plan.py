# SPDX-License-Identifier: LGPL-3.0-or-later
"""The plan for a recovered run: which jobs `resume` runs again, and why. Read it from the top.

1. The events that a crash kept from the journal are added: an attempt that ran is interrupted, an attempt
   whose end was recorded without its consequence gets the consequence.
2. An edited list is matched with the recorded jobs: by id and command, or for jobs without an id by their
   command and the number of its occurrence. Positions in the file are never compared. Jobs that requests added
   stay.
3. A job that has ended stays ended, except for an interrupted one, and a failed one with `--failed`.
4. All others continue in their state, with attempts and retries counted on, in the order of the queue.

Each decision is an event, folded into the rows of the job table like those of the journal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import inf

from pqrun.core import events as ev
from pqrun.core.job import CountedAs, JobSpec, LostExit, Outcome, Pool, SelfReport, StopReason, Usage
from pqrun.core.job_row import FullRow, JobRow
from pqrun.core.selectors import may_be_met, skipped_dependents
from pqrun.core.start_policy import ADDED, LISTED
from pqrun.core.states import Delayed, Held, Pending, Queued, State, Waiting
from pqrun.core.task import Task
from pqrun.core.text import count_of
from pqrun.journal.recovery import RecoveredRun


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
    for row in found.jobs.values():
        _tell(restart, found, _unrecorded(row, now))
    order = list(found.jobs.values())
    unskipped: set[str] = set()
    if specs is not None:
        order = _match(restart, found, specs, now)
        unskipped = _unskipped(order, failed=failed)
        if unskipped:
            restart.said += f"; no longer skipped: {count_of(len(unskipped), 'job')}"
    for row in order:
        outcome = row.outcome
        if outcome is None or row.spec.id in unskipped or runs_again(row, outcome, failed=failed):
            if outcome is not None:
                _tell(restart, found, [ev.JobReopened(now, row.seq, outcome, row.spec)])
                if failed:
                    assert isinstance(row, FullRow)
                    row.retries = row.lost = row.place = 0
            _tell(restart, found, _delay(row, now))
            restart.tasks.append(_task(row, now, added=bool(row.by or "serve" in found.header)))
        else:
            restart.ended.append((row.spec.id, outcome, row.allowed))
    if specs is None:
        restart.tasks.sort(key=lambda task: task.place or inf)  # keeps the order of the queue
    if found.paused:
        _tell(restart, found, [ev.RunPaused(now, True, "resume")])
    return restart


def _tell(restart: RestartPlan, found: RecoveredRun, events: Iterable[ev.Event]) -> None:
    for event in events:
        found.table.fold(event)
        restart.events.append(event)


def _unrecorded(row: JobRow, now: float) -> list[ev.Event]:
    """Return the events that a crash kept from being recorded."""
    if row.state != "running":
        return []
    if row.last < row.attempts:
        return cut_short(row, now)
    match row.counted:
        case CountedAs.RETRIED:
            return [ev.JobWaiting(now, row.seq, row.attempts + 1, now)]
        case CountedAs.COMPLETED:
            outcome = Outcome.OK
        case CountedAs.FAILED:
            outcome = Outcome.FAILED
        case CountedAs.TIMEOUT:
            outcome = Outcome.TIMEOUT
        case _:
            cancelled = row.asked is StopReason.CANCELLED
            outcome = Outcome.CANCELLED if cancelled else Outcome.INTERRUPTED
    allowed = row.spec.allow_failure and outcome in (Outcome.FAILED, Outcome.TIMEOUT)
    return [ev.JobEnded(now, row.seq, outcome, row.attempts, allowed)]


def cut_short(row: JobRow, now: float) -> list[ev.Event]:
    """Return the events that end a job which was running when pqrun died."""
    lost = LostExit("pqrun was killed while it ran")
    since = row.submitted or now
    return [
        ev.AttemptEnded(
            now, row.seq, row.attempts, CountedAs.STOPPED, lost, StopReason.INTERRUPTED, since, since,
            Usage(), SelfReport(),
        ),
        ev.JobEnded(now, row.seq, Outcome.INTERRUPTED, row.attempts),
    ]  # fmt: skip


def _delay(row: JobRow, now: float) -> list[ev.Event]:
    """Return the events that delay a job until its time, if that differs from what is recorded.

    The edited list has another time, or the wall clock was set while the time was waited for.
    """
    until = row.spec.not_before
    if until is None:
        return []
    delayed = ev.JobDelayed(now, row.seq, row.attempts + 1, until)
    if row.is_delayed and row.until != until:
        return [delayed]
    if row.state == "queued" and until > now:
        return [ev.JobRemoved(now, row.seq), delayed]
    return []


def runs_again(row: JobRow, outcome: Outcome, *, failed: bool) -> bool:
    """Return whether the rest of a run has a job that has ended."""
    if outcome is Outcome.INTERRUPTED and row.spec.rerun:
        return True
    return failed and outcome is not Outcome.OK


def _unskipped(order: Sequence[JobRow], *, failed: bool) -> set[str]:
    """Return the ids of the skipped jobs whose needs can all be met now that the list was edited."""
    latest = {row.spec.id: row for row in order}
    again = {
        row.spec.id for row in order if row.outcome is None or runs_again(row, row.outcome, failed=failed)
    }
    found = {
        row.spec.id
        for row in order
        if row.outcome is Outcome.SKIPPED and all(may_be_met(need, latest, again) for need in row.spec.needs)
    }
    return (found | {row.spec.id for row in skipped_dependents(latest, again | found)}) - again


def _task(row: JobRow, now: float, *, added: bool) -> Task:
    """Return the job as the scheduler continues it."""
    task = Task(row.seq, row.spec, ADDED if added else LISTED)
    task.attempts, task.retries, task.lost, task.place = row.attempts, row.retries, row.lost, row.place
    task.state = _state(row, now)
    task.unmet = int(isinstance(task.state, Held))
    return task


def _state(row: JobRow, now: float) -> State:
    if row.state == "queued":
        return Queued(row.attempts + 1, now)
    if row.is_delayed:
        return Delayed(row.attempts + 1, row.spec.not_before or now)
    if row.state == "waiting":
        return Waiting(row.attempts + 1, row.until)
    if row.state == "held":
        return Held()
    return Pending()


def _match(restart: RestartPlan, found: RecoveredRun, specs: Sequence[JobSpec], now: float) -> list[JobRow]:
    """Match the edited list with the recorded jobs, and return the jobs in the new order.

    Records which jobs are dropped, changed or added.
    """
    by_id = {job.spec.id: job for job in found.jobs.values() if job.spec.named}
    by_work: dict[object, list[JobRow]] = defaultdict(list)
    for job in found.jobs.values():
        if not job.spec.named:
            by_work[job.spec.work].append(job)
    for left in by_work.values():
        left.reverse()
    kept: list[tuple[JobSpec, JobRow | None]] = []
    for spec in specs:
        if spec.named:
            known = by_id.get(spec.id)
            known = known if known is not None and known.spec.work == spec.work else None
        else:
            known = by_work[spec.work].pop() if by_work.get(spec.work) else None
        kept.append((spec, known))
    used = {known.seq for _, known in kept if known is not None}
    added = _added(found, used, specs)
    staying = used.union(job.seq for job in added)
    gone = [job for job in found.jobs.values() if job.seq not in staying]
    old_ids = {job.spec.id for job in gone if job.spec.named}
    _tell(restart, found, [ev.JobDropped(now, job.seq, job.outcome) for job in gone])
    order = [_settle(restart, found, spec, known, now) for spec, known in kept]
    changed = sum(1 for spec, known in kept if known is None and spec.named and spec.id in old_ids)
    new = sum(1 for _, known in kept if known is None) - changed
    removed = len(gone) - changed
    restart.said = f"{count_of(len(used), 'job')} unchanged, {changed} changed, {new} new, {removed} removed"
    if added:
        restart.said += f", {len(added)} from `add` kept"
        _tell(restart, found, _renumbered(added, specs, restart.jobs, now))
    return order + added


def _added(found: RecoveredRun, used: Collection[int], specs: Sequence[JobSpec]) -> list[JobRow]:
    """Return the jobs that requests added to the run. They stay, although the list does not have them.

    A job of the list takes the place of an added one with its id. An added job goes with a job that it needs.
    """
    names = {spec.id for spec in specs if spec.named}
    jobs = [job for job in found.jobs.values() if job.by and job.seq not in used]
    jobs = [job for job in jobs if not (job.spec.named and job.spec.id in names)]
    while True:
        ids = {spec.id for spec in specs}.union(job.spec.id for job in jobs)
        stay = [job for job in jobs if all(need.job in ids for need in job.spec.needs)]
        if len(stay) == len(jobs):
            return jobs
        jobs = stay


def _renumbered(added: list[JobRow], specs: Sequence[JobSpec], last: int, now: float) -> list[ev.Event]:
    """Return the events that give new numbers to added jobs whose number is that of a line in the edited list."""
    lines = {spec.id for spec in specs}
    numbers = count(max(last, len(specs)) + 1)
    new = {job.spec.id: str(next(numbers)) for job in added if job.spec.id in lines}
    events: list[ev.Event] = []
    for job in added:
        needs = tuple(need._replace(job=new.get(need.job, need.job)) for need in job.spec.needs)
        spec = job.spec._replace(id=new.get(job.spec.id, job.spec.id), needs=needs)
        if spec != job.spec:
            events.append(ev.JobChanged(now, job.seq, spec, "the edited file"))
    return events


def _settle(
    restart: RestartPlan, found: RecoveredRun, spec: JobSpec, known: JobRow | None, now: float
) -> JobRow:
    if known is None:
        restart.jobs += 1
        _tell(restart, found, [ev.JobAdded(now, restart.jobs, spec)])
        return found.jobs[restart.jobs]
    if known.spec != spec:
        _tell(restart, found, [ev.JobChanged(now, known.seq, spec, "the edited file")])
    return known
