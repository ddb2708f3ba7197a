# SPDX-License-Identifier: LGPL-3.0-or-later
"""`--dry-run`: the scheduler and engine of a real run, with an executor that prints the commands."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING

from pqrun.core.errors import UserError
from pqrun.core.job import Attempt, AttemptId, Command, ExitedWith, JobSpec, format_command
from pqrun.core.job_fields import STORED_FIELDS, value_of
from pqrun.core.metrics import MetricsCollector
from pqrun.core.notices import ProcessFinished, ProcessStarted
from pqrun.core.scheduler import Scheduler
from pqrun.core.settings import MAX_QUEUE, Settings
from pqrun.core.text import escape_controls
from pqrun.engine.engine import Engine, NoJournal, Request
from pqrun.engine.machine_load import count_workers
from pqrun.input import JobInput
from pqrun.output.writer import StreamWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pqrun.core.events import Event
    from pqrun.journal.restart_plan import RestartPlan
    from pqrun.journal.run_record import RunRecord

JOB_SECONDS = 1.0
USUAL = JobSpec("", Command(""))


class PrintingExecutor:
    """An executor that prints each command and reports its success after one second of simulated time.

    It is also the engine's clock, reactor and dispatcher: to wait is to set the time to the next end
    or timer.
    """

    backlogged = False

    def __init__(self, slots: int, show: Callable[[Attempt], None]) -> None:
        self.engine: Engine | None = None
        self._slots = slots
        self._show = show
        self._time = 0.0
        self._ends: deque[tuple[float, AttemptId]] = deque()

    def now(self) -> float:
        """Return the simulated seconds since the dry run began."""
        return self._time

    def wall(self, at: float) -> float:
        """Return the time unchanged, because the simulated time has no date."""
        return at

    def put(self, events: Sequence[Event]) -> None:
        """Drop the events, because a dry run has no observers."""

    def capacity(self) -> int:
        """Return the number of slots."""
        return self._slots

    def start(self, attempt: Attempt) -> None:
        """Print the command of the attempt."""
        assert self.engine is not None
        self._show(attempt)
        self.engine.post(ProcessStarted(attempt.key, self._time, "slot"))
        self._ends.append((self._time + JOB_SECONDS, attempt.key))

    def stop(self, key: AttemptId, *, force: bool) -> None:
        """Report the end of the attempt at once."""
        assert self.engine is not None
        for end in [end for end in self._ends if end[1] == key]:
            self._ends.remove(end)
            self.engine.post(ProcessFinished(key, ExitedWith(0), True, self._time, self._time))

    def close(self) -> None:
        """Do nothing: no job runs and nothing is open."""

    def wake(self) -> None:
        """Do nothing: there is only one thread."""

    def wait(self, seconds: float) -> list[Request]:
        """Set the time to the next end or timer, and report the ends that are due."""
        assert self.engine is not None
        self._time = max(self._time, min(self._time + seconds, self._ends[0][0] if self._ends else inf))
        while self._ends and self._ends[0][0] <= self._time:
            end, key = self._ends.popleft()
            self.engine.post(ProcessFinished(key, ExitedWith(0), False, end - JOB_SECONDS, end))
        return []


def _comment(spec: JobSpec) -> str:
    """Return the comment of a command line that sets the fields that a dry run shows; empty if none is set."""
    shown = [
        f"{field.flat_name}={value}"
        for field in STORED_FIELDS
        if field.shown and (value := value_of(spec, field)) != value_of(USUAL, field)
    ]
    return f" # pqrun: {' '.join(shown)}" if shown else ""


def dry_run(
    settings: Settings, source: JobInput, record: RunRecord | None = None, restart: RestartPlan | None = None
) -> int:
    """Print the commands, one on each line, in the order in which they would start; return the exit code.

    Of a resumed run only the remaining jobs are printed, and its record is left unchanged.
    """
    if record is not None:
        record.close()
    out = StreamWriter(1, "standard output")
    scheduler = Scheduler(
        pools=restart.pools if restart is not None else settings.pools or source.pools,
        max_queue=settings.max_queue or source.max_queue or MAX_QUEUE,
    )

    screen = out.is_terminal

    def show(attempt: Attempt) -> None:
        command = format_command(attempt.spec.work).replace("\n", "\\n") + _comment(attempt.spec)
        if screen:
            command = escape_controls(command, keep="\t")
        out.write(command.encode("utf-8", "surrogateescape") + b"\n")

    executor = PrintingExecutor(count_workers(settings.jobs or source.workers), show)
    if restart is not None:
        scheduler.restore(restart, executor.now())
    source.feed_all(scheduler)
    metrics = MetricsCollector(executor.now())
    metrics.fold(record.found.events if record is not None and record.found else ())
    engine = Engine(
        clock=executor,
        scheduler=scheduler,
        reactor=executor,
        journal=NoJournal(),
        metrics=metrics,
        dispatcher=executor,
        machine=None,
    )
    engine.executor = executor
    executor.engine = engine
    engine.run()
    if engine.broken:
        raise engine.broken
    if source.wrong:
        raise UserError(source.wrong)
    if out.failure:
        StreamWriter(2, "standard error").say(f"pqrun: {out.failure}")
        return 4
    return 0
