# SPDX-License-Identifier: LGPL-3.0-or-later
"""The jobs of a run as one object, which puts them into the scheduler: at once, or as the queue gets room."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from pqrun.core.errors import UserError
from pqrun.core.job import OPEN_STDIN, Command, JobSpec, Pool
from pqrun.core.settings import Settings
from pqrun.input.reader import FedRun, JobProducer, StreamReader
from pqrun.input.sources import OpenedFile

if TYPE_CHECKING:
    from pqrun.core.events import Observer
    from pqrun.core.scheduler import Scheduler
    from pqrun.engine.live_run import InputStream
    from pqrun.input.each.block_files import BlockFiles
    from pqrun.input.job_count import JobCount

NO_SETTINGS: Mapping[str, Any] = MappingProxyType({})


class InputReader(Protocol):
    """A source of the reactor that reads jobs: `wrong` says why it ended early, or is empty.

    `failed`: it ended because of pqrun's own files, not of the input.
    """

    wrong: str
    failed: bool

    def unread(self) -> list[int]:
        """Return the descriptors that have not been read to their end."""

    def is_at_end(self) -> bool:
        """Return whether all jobs have been read, and only the end of the input was not."""


class JobInput:
    """The jobs of a run: the known jobs, and the descriptors from which more jobs are read.

    `lines` turns the bytes of `parts` into jobs. `complete` is False if the list of jobs was cut short;
    `open_end` keeps the input open after the known jobs, because clients of a queue add more. `said` holds
    the run settings of the job files, `files` the names of the files read. Jobs that `wants` rejects are
    skipped. `count`: how many jobs `lines` produces, if that is known. `keeps_blocks`: whether jobs read blocks that
    are kept on the disk.
    """

    def __init__(
        self,
        jobs: Sequence[JobSpec] = (),
        lines: JobProducer | None = None,
        parts: Sequence[OpenedFile] = (),
        *,
        workers: str | None = None,
        max_queue: int | None = None,
        pools: Sequence[Pool] = (),
        complete: bool = True,
        open_end: bool = False,
        warnings: Sequence[str] = (),
        said: Mapping[str, Any] = NO_SETTINGS,
        wants: Callable[[JobSpec], bool] | None = None,
        files: Sequence[str] = (),
        count: int | None = None,
        keeps_blocks: bool = False,
    ) -> None:
        self.jobs = jobs
        self.workers = workers
        self.max_queue = max_queue
        self.pools = tuple(pools)
        self.lines = lines
        self.complete = complete
        self.warnings = warnings
        self._files = files
        self._said = said
        self._wants = wants
        self._count = count
        self._open_end = open_end
        self._parts = parts
        self._keeps_blocks = keeps_blocks
        self._blocks: BlockFiles | None = None
        self._source: InputReader | None = None

    def observers(self, blocks: str, *, recorded: bool) -> list[Observer]:
        """Return the observers that the input needs: one if it keeps blocks (`each --pipe`), in the directory `blocks`.

        `recorded`: whether the run can be resumed. Call this before `feed`.
        """
        if not self._keeps_blocks:
            return []
        from pqrun.input.each.block_files import BlockFiles

        self._blocks = BlockFiles(blocks, recorded=recorded)
        return [self._blocks]

    def input_stream(self, number: int) -> InputStream | None:
        """Return the stream that the job of this block of the input reads, None if there is none."""
        return None

    def apply_to(self, settings: Settings) -> Settings:
        """Fill in the settings that only the job files give, and record them for a later `resume`."""
        said = {name: value for name, value in self._said.items() if settings.value_of(name) is None}
        if not said:
            return settings
        return settings.with_values({**said, "recorded": {**said, **settings.record.recorded}})

    @property
    def recorded(self) -> dict[str, Any]:
        """The job files' values for the run itself, as JSON can hold them, for a later `resume`."""
        said = {"workers": self.workers, "max_queue": self.max_queue, "pools": list(self.pools)}
        return {name: value for name, value in said.items() if value}

    def reads(self) -> Iterator[str]:
        """Yield the paths of the files read by the input; standard input is `-` or `stdin`.

        The stdin files of jobs that are read later are missing, since they are not known yet.
        """
        yield from self._files
        for spec in self.jobs:
            stdin = spec.work.stdin if isinstance(spec.work, Command) else None
            if isinstance(stdin, str) and stdin != OPEN_STDIN and "$" not in stdin:
                yield os.path.join(spec.work.cwd or "", stdin)

    @property
    def wrong(self) -> str:
        """The reason why reading a list ended early; empty if it did not."""
        return self._source.wrong if self._source else ""

    @property
    def failed(self) -> bool:
        """Whether reading ended early because of pqrun's own files, not of the input."""
        return self._source is not None and self._source.failed

    def is_at_end(self) -> bool:
        """Return whether all jobs have been read, and only the end of the input was not. For a run that is over."""
        return self._source is not None and self._source.is_at_end()

    def unread(self) -> list[int]:
        """Return the descriptors that have not been read to their end."""
        if self._source is not None:
            return self._source.unread()
        return [part.fd for part in self._parts] if self.lines is not None else []

    def job_count(self) -> JobCount | None:
        """Return the count of all jobs of the input; None if it is not known before all are read.

        Only regular files can be counted, since they can be read twice. Call this before `feed`.
        """
        from pqrun.input.job_count import JobCount

        if self.lines is None or self._wants is not None:
            return None
        if self._count is not None:
            return JobCount(len(self.jobs) + self._count)
        counter = self.lines.counter() if all(part.is_regular() for part in self._parts) else None
        try:
            return None if counter is None else JobCount(len(self.jobs), counter, self._parts)
        except OSError:  # no descriptor is free; the run can do without a total
            return None

    def feed(self, run: FedRun) -> None:
        """Put the known jobs into the scheduler, and read the others as the queue gets room.

        Reading ends at a job that can't run where the run executes.
        """
        jobs, self.jobs = self.jobs, ()
        if self.lines is None:
            run.engine.turn(request=lambda scheduler, now: self._put_in(scheduler, jobs, now))
            return
        if jobs:
            run.engine.turn(request=lambda scheduler, now: scheduler.add(jobs, now))
        self._source = StreamReader(
            self.lines, self._parts, scheduler=run.scheduler, want_input=run.engine.want_input, wants=self._wants,
            fit=run.validate_job,
        )  # fmt: skip
        run.reactor.add(self._source)

    def _put_in(self, scheduler: Scheduler, jobs: Sequence[JobSpec], now: float) -> None:
        scheduler.add(jobs, now)
        if not self._open_end:
            scheduler.end_input(
                now, complete=self.complete, why="" if self.complete else "the run was stopped"
            )

    def read_all(self) -> list[JobSpec]:
        """Read the whole input and return its jobs. Raises UserError if reading ends early."""
        from pqrun.core.scheduler import Scheduler

        scheduler = Scheduler()
        self.feed_all(scheduler)
        if self.wrong:
            raise UserError(self.wrong)
        return [task.spec for task in scheduler.tasks.values()]

    def feed_all(self, scheduler: Scheduler) -> None:
        """Put every job into the scheduler at once, for a dry run."""
        scheduler.add(self.jobs, 0.0)
        if self.lines is not None:
            scheduler.max_queue = sys.maxsize
            self._source = StreamReader(
                self.lines, self._parts, scheduler=scheduler, want_input=lambda _room: None, wants=self._wants
            )
            while not self._source.done:
                for ask in self._source.read():
                    ask(scheduler, 0.0)
        scheduler.end_input(0.0)
