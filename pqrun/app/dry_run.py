# SPDX-License-Identifier: LGPL-3.0-or-later
"""`--dry-run`: the scheduler and engine of a real run, in simulated time; each start prints the command."""

from __future__ import annotations

import time
from math import inf
from typing import TYPE_CHECKING

from pqrun.core.errors import OK, OWN_FAILURE, UserError
from pqrun.core.job import Attempt, Command, JobSpec, format_command
from pqrun.core.job_fields import STORED_FIELDS, value_of
from pqrun.core.scheduler import Scheduler
from pqrun.core.text import escape_controls
from pqrun.engine.machine_load import count_workers
from pqrun.executors.simulated import FakeClock, Fate, NoObservers, SimulatedExecutor, run_simulated
from pqrun.output.writer import StreamWriter

if TYPE_CHECKING:
    from pqrun.app.parts import RunPlan
    from pqrun.journal.run_record import RunRecord

JOB_SECONDS = 1.0
USUAL = JobSpec("", Command(""))


class CommandPrinter:
    """The fate of the attempts of a dry run: each prints its command and succeeds within its time limits.

    `tag`: print the job's id before the command, as before each line of output.
    """

    def __init__(self, out: StreamWriter, *, tag: bool = False) -> None:
        self._out = out
        self._tag = tag
        self._escape = out.is_terminal

    def fate(self, attempt: Attempt) -> Fate:
        """Print the command of the attempt, one line."""
        label = attempt.spec.id if self._tag and attempt.spec.label is None else attempt.spec.label
        tag = "" if label is None else f"{label}\t"
        command = tag + format_command(attempt.spec.work) + _comment(attempt.spec)
        command = command.replace("\n", "\\n")
        if self._escape:
            command = escape_controls(command, keep="\t")
        self._out.write(command.encode("utf-8", "surrogateescape") + b"\n")
        return Fate(min(JOB_SECONDS, (attempt.spec.timeout or inf) / 2))


def _comment(spec: JobSpec) -> str:
    """Return the comment of a command line that sets the fields that a dry run shows; empty if none is set."""
    shown = [
        f"{field.flat_name}={str(value).lower() if isinstance(value, bool) else value}"
        for field in STORED_FIELDS
        if field.shown and (value := value_of(spec, field)) != value_of(USUAL, field)
    ]
    return f" # pqrun: {' '.join(shown)}" if shown else ""


def dry_run(plan: RunPlan, record: RunRecord | None = None) -> int:
    """Print the commands, one on each line, in the order in which they would start; return the exit code.

    Of a resumed run only the remaining jobs are printed, and its record is left unchanged.
    """
    settings, source, restart = plan.settings, plan.source, plan.restart
    if record is not None:
        record.close()
    out = StreamWriter(1, "standard output")
    scheduler = Scheduler(pools=plan.pools, max_queue=plan.max_queue, past=plan.times_for_order)
    slots = count_workers(settings.limits.jobs or source.workers)
    printer = CommandPrinter(out, tag=settings.output.tag)
    executor = SimulatedExecutor(FakeClock(time.time()), slots, printer.fate)
    if restart is not None:
        scheduler.restore(restart, executor.clock.now())
    source.feed_all(scheduler)
    before = record.found.events if record is not None and record.found else ()
    run_simulated(scheduler, executor, NoObservers(), past=before)
    err = StreamWriter(2, "standard error")
    for warning in source.warnings:
        err.say(warning)
    if source.wrong:
        raise UserError(source.wrong)
    if out.failure:
        err.note(out.failure)
        return OWN_FAILURE
    return OK
