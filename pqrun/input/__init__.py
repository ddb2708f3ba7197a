# SPDX-License-Identifier: LGPL-3.0-or-later
"""The jobs of a run: from job files, from lists of commands, and from the arguments of `each`.

Job files are read whole before any job starts; lists and arguments are read while jobs run. From outside,
call `open_input`; its `JobInput` puts the jobs into the scheduler. `sources.read_whole` serves `pqrun check`.

  command_list  parses a list of commands, one per line  list_check  checks the comments of lists early
  defaults      merges layers of settings into JobSpecs  reader      feeds the queue while jobs run
  shard         selects one machine's share of the jobs  sources     opens files, tells job files from lists
  each/         turns arguments into jobs                jobfile/    reads YAML and JSON job files
  job_input     the jobs as one object                   job_count   counts the jobs for the live table
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from pqrun.core.errors import UserError
from pqrun.core.job import JobSpec, Pool
from pqrun.core.settings import Each, InputSettings
from pqrun.input.command_list import MARK, CommandList
from pqrun.input.job_input import JobInput
from pqrun.input.reader import check_line
from pqrun.input.sources import (
    JOB_FILES,
    OpenedFile,
    looks_like_job_file,
    open_file,
    read_to_end,
    refuse_twice,
)

if TYPE_CHECKING:
    from pqrun.core.past import KnownDurations
    from pqrun.input.jobfile.loading import JobFile

__all__ = ["JobInput", "open_input"]
KNOWN_SUFFIXES = 10_000


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
        from pqrun.input.each.blocks import BlockInput, open_blocks

        if not each.round_robin:
            return open_blocks(settings, each, BlockInput)
        from pqrun.input.each.dealing import DealtInput

        return open_blocks(settings, each, DealtInput)
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
