# SPDX-License-Identifier: LGPL-3.0-or-later
"""The reopening of a recorded run: its record, its remaining jobs, and the changes of the command line."""

from __future__ import annotations

import os
from collections.abc import Sequence

from pqrun.core import events as ev
from pqrun.core.errors import UserError
from pqrun.core.job import JobSpec, Pool
from pqrun.core.settings import RecordSettings, Settings
from pqrun.core.text import escape_controls
from pqrun.engine.machine_load import count_workers
from pqrun.input import JobInput
from pqrun.input.defaults import replaced
from pqrun.journal.recovery import RecoveredRun
from pqrun.journal.restart_plan import RestartPlan, plan_restart, runs_again
from pqrun.journal.run_record import RunRecord
from pqrun.output.writer import StreamWriter


def open_resumed(settings: Settings, edited: JobInput | None) -> tuple[JobInput, RunRecord, RestartPlan]:
    """Open and lock the recorded run `settings.record.resume`; return its input, record and restart plan.

    `edited`: job files given this time, whose jobs are matched with the recorded ones. Raises
    `UserError` if no job is recorded.
    """
    asked = settings.record
    assert asked.resume is not None
    specs = None if edited is None else edited.read_all()
    record, found = reopen(asked, asked.resume)
    if not found.jobs and not specs:
        record.close()
        raise UserError(f"cannot resume {asked.resume}: its journal has no jobs")
    if specs is None and asked.given_again:
        change_remaining(found, asked)
    keeps_blocks = _reopen_blocks(record, found, remove=not settings.place.dry_run)
    source = first_input(found) if edited is None else edited
    restart = plan_rest(found, settings, source, specs)
    said = restart.said
    if not said and not restart.tasks and (found.input_ended or is_queue(found)):
        said = "nothing is left to run: all jobs have ended"
    if said and not settings.output.quiet:
        StreamWriter(2, "standard error").note(said)
    complete = edited is not None or is_queue(found) or (found.table.input_complete and found.input_ended)
    rest = JobInput(
        workers=source.workers, max_queue=source.max_queue, complete=complete, keeps_blocks=keeps_blocks
    )
    return rest, record, restart


def reopen(settings: RecordSettings, name: str, *, keep: int | None = None) -> tuple[RunRecord, RecoveredRun]:
    """Lock the recorded run and read its journal; no process of an earlier pqrun is left then.

    `keep`: the number of ended jobs that the record of a queue keeps.
    """
    record = RunRecord.reopen(name, durable=settings.durable, keep=keep)
    assert record.found is not None
    end_survivors(record.found.tokens)
    return record, record.found


def plan_rest(
    found: RecoveredRun, settings: Settings, source: JobInput, specs: Sequence[JobSpec] | None = None
) -> RestartPlan:
    """Return the plan for the rest of a reopened run, with its workers and pools.

    `source` has the workers and pools of the job files. `specs`: the jobs of job files that were given this time.
    A file that a job may have left incomplete is put aside, except for a dry run.
    """
    if not settings.place.dry_run:
        put_half_made_aside(found)
    restart = plan_restart(found, found.last, failed=settings.record.failed, specs=specs)
    set_workers_and_pools(restart, found, settings, source, anew=specs is not None)
    return restart


def change_remaining(found: RecoveredRun, asked: RecordSettings) -> None:
    """Give the fields that this command line sets to the recorded jobs that are left to run."""
    for job in found.jobs.values():
        if job.outcome is None or runs_again(job, job.outcome, failed=asked.failed):
            job.spec = replaced(job.spec, asked.given_again)


def _reopen_blocks(record: RunRecord, found: RecoveredRun, *, remove: bool) -> bool:
    """Find the blocks of `each --pipe` again, and `remove` the others; return whether the run keeps any."""
    assert record.directory is not None
    if not os.path.isdir(record.directory.blocks):
        return False
    from pqrun.input.each.block_files import reopened_blocks

    return reopened_blocks(record.directory.blocks, found.jobs.values(), remove=remove)


def end_survivors(tokens: Sequence[str]) -> None:
    """Kill the processes of earlier processes of this run, found by the markers in their environment.

    Usually the watchdog has killed them already. It has not if it was killed together with pqrun.
    """
    if not os.path.isdir("/proc/self"):
        return
    from pqrun.executors.local.ownership import markers
    from pqrun.executors.local.watchdog_process import end_all

    for token in tokens:
        end_all({}, markers(token)[0])


def put_half_made_aside(found: RecoveredRun) -> None:
    """Rename the `creates` files of jobs that ran when pqrun was killed, because they may be incomplete.

    Called before the restart is planned: a job whose file exists would be skipped.
    """
    for job in found.jobs.values():
        ran = job.state == "running" and job.last < job.attempts
        if ran and (name := job.spec.creates) is not None:
            from pqrun.executors.local.created_file import move_aside, was_changed_since

            path = os.path.join(str(found.header["cwd"]), job.spec.work.cwd or "", name)
            if was_changed_since(path, job.submitted or 0.0):
                StreamWriter(2, "standard error").note(
                    f"job {escape_controls(job.spec.id)}: {escape_controls(move_aside(name, path))}"
                )


def is_queue(found: RecoveredRun) -> bool:
    """Return whether the run is a queue, which has no list of jobs that could be incomplete."""
    return "serve" in found.header


def first_input(found: RecoveredRun) -> JobInput:
    """Return the workers, queue size and pools that the first process read from its job files."""
    said = found.header.get("file") or {}
    pools = [Pool(name, size, tuple(items)) for name, size, items in said.get("pools", ())]
    return JobInput(workers=said.get("workers"), max_queue=said.get("max_queue"), pools=pools)


def set_workers_and_pools(
    restart: RestartPlan, found: RecoveredRun, settings: Settings, source: JobInput, *, anew: bool
) -> None:
    """Set the workers and pools of the restart: as the run was left, unless this command changes them.

    `anew`: whether `settings` and `source` are complete, because the job files were given this time.
    """
    by, now = "resume", found.last
    workers = settings.limits.jobs if anew or settings.record.again & {"jobs", "preset"} else None
    workers = workers or (source.workers if anew else None)
    if workers is None:
        restart.workers = found.workers
    elif found.workers is not None:
        restart.events.append(ev.WorkersChanged(now, count_workers(workers), by))
    said = settings.input.pools if anew or "pool" in settings.record.again else ()
    pools = {pool.name: pool for pool in (*source.pools, *(() if said else settings.input.pools))}
    for name, size in found.pools.items():
        if name not in pools or not (anew or pools[name].items):
            pools[name] = Pool(name, size)
    pools |= {pool.name: pool for pool in said}
    for pool in pools.values():
        if found.pools.get(pool.name, pool.size) != pool.size:
            restart.events.append(ev.PoolChanged(now, pool.name, pool.size, by))
    restart.pools = tuple(pools.values())
