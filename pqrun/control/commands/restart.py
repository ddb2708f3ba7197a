# SPDX-License-Identifier: LGPL-3.0-or-later
"""The verb `restart`: run ended jobs again, in place, with the dependents that were skipped because of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pqrun.control.commands.add import check_pools
from pqrun.control.protocol import FULL, GONE, JOBS_PER_TURN, ClientRequest, flag, origin_of
from pqrun.core.dependencies import UnknownNeed, needs_first
from pqrun.core.errors import Rejected
from pqrun.core.job_row import JobRow
from pqrun.core.scheduler import Scheduler
from pqrun.core.selectors import ended_jobs, selectors_of
from pqrun.core.start_policy import ADDED, LISTED
from pqrun.core.task import EndedTask, Task

if TYPE_CHECKING:
    from pqrun.control.protocol import IncrementalAnswer
    from pqrun.engine.live_run import LiveRun


def restart(run: LiveRun, request: ClientRequest, scheduler: Scheduler, now: float) -> IncrementalAnswer:
    """Reopen the selected jobs that have ended: all jobs of a request, or none.

    The run forgets a job when it ends, so the jobs are looked up in the journal, a part in each turn.
    """
    failed = flag(request, "failed")
    selectors = selectors_of({"jobs": [], **request})
    if not (selectors or failed):
        raise Rejected("`jobs` names no job, and `failed` is not set")
    by = origin_of(request) or "restart"
    history = run.history()
    if history is None:
        raise Rejected("the run keeps no journal, in which ended jobs could be looked up")
    now = yield  # what this turn has decided is in the journal in the next one
    while not history.read():
        now = yield
    found, skipped = ended_jobs(history.rows.values(), selectors, failed=failed)
    rows = [*found, *skipped]
    _check(rows, scheduler, endless=run.endless)
    rows = _needs_first(rows)
    for start in range(0, len(rows), JOBS_PER_TURN):
        if start:
            now = yield
            if scheduler.stopping is not None:
                raise Rejected(f"the run stopped when {start} of {len(rows)} jobs were restarted", GONE)
        some = rows[start : start + JOBS_PER_TURN]
        scheduler.reopen([_ended(row, endless=run.endless) for row in some], now, by)
    return {"count": len(found), "dependents": len(skipped)}


def _needs_first(rows: list[JobRow]) -> list[JobRow]:
    """Return the rows in the order of their numbers, but each job after those that it needs.

    A dependent that is reopened first would find the old end of the job that it needs.
    """
    by_id = {row.spec.id: row for row in sorted(rows, key=lambda row: row.seq)}
    specs = [row.spec._replace(named=True) for row in by_id.values()]
    return [by_id[spec.id] for spec in needs_first(specs)]


def _check(rows: list[JobRow], scheduler: Scheduler, *, endless: bool) -> None:
    """Raise `Rejected` if the jobs can't all run again.

    The run is stopping or has no room for added jobs, a pool became too small, or the jobs need each other.
    """
    if scheduler.stopping is not None:
        raise Rejected("the run is stopping and starts no more jobs", GONE)
    added, most = sum(_is_added(row, endless=endless) for row in rows), scheduler.max_queue
    if added and scheduler.backlog.added + added > most:
        full = f"the queue is full ({scheduler.backlog.added} of {most})"
        raise Rejected(f"{full}: no room for {added} jobs", FULL)
    for row in rows:
        check_pools(row.spec, scheduler.ready.pools.sizes)
    try:
        scheduler.graph.check_reopened([row.spec for row in rows])
    except UnknownNeed as error:
        raise Rejected(f"these jobs can't run again: {error}") from None


def _is_added(row: JobRow, *, endless: bool) -> bool:
    return bool(row.by) or endless


def _ended(row: JobRow, *, endless: bool) -> EndedTask:
    task = Task(row.seq, row.spec, ADDED if _is_added(row, endless=endless) else LISTED)
    task.attempts = row.attempts
    assert row.outcome is not None
    return task, row.outcome, row.allowed
