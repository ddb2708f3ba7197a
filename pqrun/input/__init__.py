# SPDX-License-Identifier: LGPL-3.0-or-later
"""The jobs of a run: from job files, from lists of commands, and from the arguments of `each`.

Job files are read whole before any job starts; lists and arguments are read while jobs run. From outside,
call `open_input`; its `JobInput` puts the jobs into the scheduler. `sources.read_whole` serves `pqrun check`.

  command_list  parses a list of commands, one per line  list_check  checks the comments of lists early
  defaults      merges layers of settings into JobSpecs  reader      feeds the queue while jobs run
  shard         selects one machine's share of the jobs  sources     opens files, tells job files from lists
  each/         turns arguments into jobs                jobfile/    reads YAML and JSON job files
  job_count     counts the jobs for the live table
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pqrun.core.errors import UserError
from pqrun.core.job import OPEN_STDIN, Command, JobSpec, Pool
from pqrun.core.settings import Each, InputSettings, Settings
from pqrun.input.command_list import MARK, CommandList
from pqrun.input.reader import FedRun, JobProducer, StreamReader, check_line
from pqrun.input.sources import (
    JOB_FILES,
    OpenedFile,
    looks_like_job_file,
    open_file,
    read_to_end,
    refuse_twice,
)

if TYPE_CHECKING:
    from pqrun.core.events import Observer
    from pqrun.core.past import KnownDurations
    from pqrun.core.scheduler import Scheduler
    from pqrun.engine.live_run import InputStream
    from pqrun.input.each.blocks import BlockFiles, BlockReader
    from pqrun.input.job_count import JobCount
    from pqrun.input.jobfile import JobFile

__all__ = ["JobInput", "open_input"]
KNOWN_SUFFIXES = 10_000
NO_SETTINGS: Mapping[str, Any] = MappingProxyType({})


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
        self._source: StreamReader | BlockReader | None = None

    def observers(self, blocks: str, *, recorded: bool) -> list[Observer]:
        """Return the observers that the input needs: one if it keeps blocks (`each --pipe`), in the directory `blocks`.

        `recorded`: whether the run can be resumed. Call this before `feed`.
        """
        if not self._keeps_blocks:
            return []
        from pqrun.input.each.blocks import BlockFiles

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


def open_input(settings: InputSettings, past: KnownDurations | None = None) -> JobInput:
    """Open the inputs of a run and tell job files from lists. Raises UserError with every error found.

    `past`: the times of earlier runs, for `--by-time`.
    """
    if settings.each is not None:
        return _arguments(settings, settings.each, past)
    paths = settings.files or ("-",)
    refuse_twice(paths)
    job_files: list[str] = []
    opened: dict[str, list[OpenedFile]] = {}
    lists: list[OpenedFile] = []
    for path in paths:
        kind = settings.format or ("yaml" if path.endswith(JOB_FILES) else None)
        if kind in ("yaml", "json"):
            job_files.append(path)
            continue
        file = open_file(path, sniff=kind is None)
        if kind == "lines" or settings.null or not looks_like_job_file(file.head, True):
            lists.append(file)
        else:
            job_files.append(path)
            opened.setdefault(path, []).append(file)
    loaded = _load(settings, job_files, opened) if job_files else None
    files = (*job_files, *("-" if file.fd == 0 else file.name for file in lists))
    return _put_together(settings, files, loaded, lists, past)


def _arguments(settings: InputSettings, each: Each, past: KnownDurations | None) -> JobInput:
    """Return the input of `each`: few jobs are built at once, many are built as the queue gets room."""
    if settings.only or settings.skip:
        raise UserError("--only and --skip need a job file: they can't select arguments")
    if each.pipe or each.pipe_part:
        from pqrun.input.each.blocks import open_blocks

        return open_blocks(settings, each)
    from pqrun.input.each import open_arguments

    arguments, parts = open_arguments(settings, each)
    if arguments.count is None or arguments.count > KNOWN_SUFFIXES:
        return JobInput(
            (), arguments, parts, wants=_dealer(settings), files=arguments.files, count=arguments.count,
            warnings=arguments.warnings,
        )  # fmt: skip
    jobs, warnings = _part_of(list(iter(arguments.take, None)), settings, past)
    return JobInput(jobs, warnings=warnings, files=arguments.files)


def _load(settings: InputSettings, paths: list[str], opened: Mapping[str, list[OpenedFile]]) -> JobFile:
    """Read the job files; some of them are `opened` already."""
    from pqrun.input.jobfile import load

    def read(path: str) -> bytes:
        files = opened.get(path)
        return read_to_end(files.pop(0) if files else open_file(path, sniff=False))

    return load(paths, settings.given, read=read, pools=settings.pools)


def _put_together(
    settings: InputSettings,
    files: Sequence[str],
    loaded: JobFile | None,
    lists: Sequence[OpenedFile],
    past: KnownDurations | None,
) -> JobInput:
    """Check the lists, apply `--only`, `--skip` and `--shard`, and return the input."""
    jobs: Sequence[JobSpec] = () if loaded is None else loaded.jobs
    _check_comments(settings, lists, jobs, () if loaded is None else loaded.pools)
    lines = None
    if lists:
        lines = CommandList(settings.given, null=settings.null, file=lists[0].name, after=len(jobs))
    if settings.only or settings.skip:
        from pqrun.core.selectors import select

        if lists:
            raise UserError("--only and --skip need a job file: they can't select commands of a list")
        jobs = select(list(jobs), settings.only, settings.skip)
    jobs, empty = _part_of(jobs, settings, past)
    if loaded is None:
        return JobInput(jobs, lines, lists, warnings=empty, files=files, wants=_dealer(settings))
    return JobInput(
        jobs,
        lines,
        lists,
        warnings=(*loaded.warnings, *empty),
        workers=loaded.workers,
        max_queue=loaded.max_queue,
        pools=loaded.pools,
        said=loaded.settings,
        files=(*files, *loaded.reads),
        wants=_dealer(settings) if lists else None,
    )


def _check_comments(
    settings: InputSettings, lists: Sequence[OpenedFile], jobs: Sequence[JobSpec], pools: Sequence[Pool]
) -> None:
    """Raise UserError for the wrong comments in regular files; a stream is checked as it is read."""
    regular = [file for file in lists if file.is_regular()]
    if settings.null or not any(_has_comments(file.pieces()) for file in regular):
        return
    from pqrun.input.list_check import ListPart, check_list

    found = [
        ListPart(file.name, file.pieces, whole=lists[place] is file) for place, file in enumerate(regular)
    ]
    sizes = {pool.name: pool.size for pool in (*pools, *settings.pools)}
    ids = {job.id for job in jobs if job.named}
    dealer = _dealer(settings)

    def fits(job: JobSpec) -> None:
        if dealer is not None:
            dealer(job)
        check_line(job, job.id in ids, sizes)

    lines = CommandList(settings.given, file=found[0].name, after=len(jobs))
    check_list(lines, found, fits=fits)


def _has_comments(pieces: Iterable[bytes]) -> bool:
    """Return whether the bytes may contain a `# pqrun:` comment: a fast search before the slow check."""
    before = b""
    for piece in pieces:
        if MARK in before + piece[: len(MARK)] or MARK in piece:
            return True
        before = piece[-len(MARK) :]
    return False


def _part_of(
    jobs: Sequence[JobSpec], settings: InputSettings, past: KnownDurations | None
) -> tuple[Sequence[JobSpec], tuple[str, ...]]:
    """Return this shard's jobs, and a warning if it has none."""
    if settings.shard is None:
        return jobs, ()
    from pqrun.input.shard import assign_shard, describe_shard

    part = assign_shard(jobs, settings.shard, past if settings.by_time else None)
    return part, describe_shard(part, jobs, settings.shard)


def _dealer(settings: InputSettings) -> Callable[[JobSpec], bool] | None:
    """Return the function that selects this shard's lines; None without `--shard`."""
    if settings.shard is None:
        return None
    if settings.by_time:
        raise UserError(
            "--by-time needs all jobs before the first one starts: a job file, or arguments after :::"
        )
    from pqrun.input.shard import ShardFilter

    return ShardFilter(settings.shard).takes_line
