# SPDX-License-Identifier: LGPL-3.0-or-later
"""A dry run is just another runner: the same scheduler, and an executor that prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pqrun.core.errors import UserError
from pqrun.core.job import Attempt, format_command
from pqrun.core.scheduler import Scheduler
from pqrun.core.settings import MAX_QUEUE, Settings
from pqrun.core.text import escape_controls
from pqrun.engine.machine_load import count_workers
from pqrun.input import JobInput
from pqrun.output.writer import StreamWriter
from pqrun.testing import FakeClock, Fate, SimulatedExecutor, simulate

if TYPE_CHECKING:
    from pqrun.journal.restart_plan import RestartPlan
    from pqrun.journal.run_record import RunRecord


def dry_run(
    settings: Settings, source: JobInput, record: RunRecord | None = None, restart: RestartPlan | None = None
) -> int:
    """Prints the commands, one a line, in the order in which they would start.

    Of a run to go on with, those that are left of it: its record is let go of as it was found.
    """
    if record is not None:
        record.close()
    out = StreamWriter(1, "standard output")
    scheduler = Scheduler(
        pools=restart.pools if restart is not None else settings.pools or source.pools,
        max_queue=settings.max_queue or source.max_queue or MAX_QUEUE,
    )

    screen = out.is_terminal

    def show(attempt: Attempt) -> Fate:
        command = format_command(attempt.spec.work).replace("\n", "\\n")
        if screen:
            command = escape_controls(command, keep="\t")
        out.write(command.encode("utf-8", "surrogateescape") + b"\n")
        return Fate()

    clock = FakeClock()
    executor = SimulatedExecutor(clock, count_workers(settings.jobs or source.workers), show)
    if restart is not None:
        scheduler.restore(restart, clock.now())
    source.feed_all(scheduler)
    simulate(scheduler, executor, past=record.found.events if record is not None and record.found else ())
    if source.wrong:
        raise UserError(source.wrong)
    if out.failure:
        StreamWriter(2, "standard error").say(f"pqrun: {out.failure}")
        return 4
    return 0
