# SPDX-License-Identifier: LGPL-3.0-or-later
"""The jobs of a run: from job files, from lists of commands, and from the arguments of `each`.

Job files are read whole before any job starts; lists and arguments are read while jobs run. From outside,
call `open_input`; its `JobInput` puts the jobs into the scheduler. `read_whole` serves `pqrun check`.

  command_list  parses a list of commands, one per line  list_check  checks the comments of lists early
  defaults      merges layers of settings into JobSpecs  reader      feeds the queue while jobs run
  shard         selects one machine's share of the jobs  sources     reads descriptors, rejects duplicates
  each/         turns arguments into jobs                jobfile/    reads YAML and JSON job files
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, compress
from stat import S_ISREG
from types import MappingProxyType
from typing import Any

from pqrun.core.errors import UserError
from pqrun.core.job import Command, JobSpec, Pool
from pqrun.core.job_fields import TOP_LEVEL_FIELDS
from pqrun.core.scheduler import Scheduler
from pqrun.core.settings import Each, InputSettings, Settings
from pqrun.engine.engine import Engine
from pqrun.engine.reactor import Reactor
from pqrun.input.command_list import MARK, CommandList
from pqrun.input.reader import JobProducer, StreamReader, check_line
from pqrun.input.sources import read_all, read_some, refuse_twice

_MAX_KEY_BYTES = 4096  # a longer line can't be a key
_TOP = "|".join(key.name for key in TOP_LEVEL_FIELDS) + r"|x-[\w.-]+"
_OPENS = re.compile(
    rf"(?:---(?:\s|$)|([\"']?)(?:{_TOP})\1\s*:(?:\s|$)|\{{\s*(?:$|[\"'}}]|(?:{_TOP})\s*:))".encode()
)


def looks_like_job_file(head: bytes, ended: bool) -> bool | None:
    """Return whether a file that begins with `head` is a job file.

    The first line that is neither blank nor a comment decides. `{` opens a job file only where JSON or a flow
    mapping can follow: `{ echo a; echo b; }` is a command. Returns None if more bytes are needed, but never
    if `ended` says that `head` is the whole file.
    """
    lines = head.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    for number, line in enumerate(lines, 1):
        text = line.strip()
        whole = number < len(lines) or ended or len(text) > _MAX_KEY_BYTES
        if whole and text and not text.startswith(b"#"):
            return bool(_OPENS.match(text))
    return False if ended else None


READ_CHUNK_BYTES = 65536
KNOWN_SUFFIXES = 10_000
NO_SETTINGS: Mapping[str, Any] = MappingProxyType({})
JOB_FILES = (".yaml", ".yml", ".json")
Part = tuple[str, int, bytes]
"""A list's name, its descriptor, and the bytes already read from it."""
Head = tuple[int, bytes, bool]
"""A descriptor, the bytes already read from it, and whether they are the whole file."""


class JobInput:
    """The jobs of a run: the known jobs, and the descriptors from which more jobs are read.


    `lines` turns the bytes of `parts` into jobs. `complete` is False if the list of jobs was cut short;
    `open_end` keeps the input open after the known jobs, because clients of a queue add more. `said` holds
    the run settings of the job files, `files` the names of the files read. Jobs that `wants` rejects are
    skipped.
    """

    def __init__(
        self,
        jobs: Sequence[JobSpec],
        lines: JobProducer | None,
        parts: Sequence[tuple[str, int, bytes]],
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
        self._open_end = open_end
        self._parts = parts
        self._source: StreamReader | None = None

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
            if isinstance(work := spec.work, Command) and work.stdin is not None and "$" not in work.stdin:
                yield os.path.join(work.cwd or "", work.stdin)

    @property
    def wrong(self) -> str:
        """The reason why reading a list ended early; empty if it did not."""
        return self._source.wrong if self._source else ""

    def unread(self) -> list[int]:
        """Return the descriptors that have not been read to their end."""
        if self._source is not None:
            return self._source.unread()
        return [fd for _, fd, _ in self._parts] if self.lines is not None else []

    def feed(
        self,
        engine: Engine,
        scheduler: Scheduler,
        reactor: Reactor,
        fit: Callable[[JobSpec], None] | None = None,
    ) -> None:
        """Put the known jobs into the scheduler, and read the others as the queue gets room.

        `fit` raises UserError for a job that can't run where this run executes; reading ends there.
        """
        jobs, self.jobs = self.jobs, ()
        if self.lines is None:
            engine.turn(request=lambda scheduler, now: self._put_in(scheduler, jobs, now))
            return
        if jobs:
            engine.turn(request=lambda s, now: s.add(jobs, now))
        self._source = StreamReader(
            self.lines, self._parts, scheduler=scheduler, hungry=engine.want_input, wants=self._wants, fit=fit
        )
        reactor.add(self._source)

    def _put_in(self, scheduler: Scheduler, jobs: Sequence[JobSpec], now: float) -> None:
        scheduler.add(jobs, now)
        if not self._open_end:
            scheduler.end_input(
                now, complete=self.complete, why="" if self.complete else "the run was stopped"
            )

    def read_all(self) -> list[JobSpec]:
        """Read the whole input and return its jobs. Raises UserError if reading ends early."""
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
                self.lines, self._parts, scheduler=scheduler, hungry=lambda _room: None, wants=self._wants
            )
            while not self._source.done:
                for ask in self._source.read():
                    ask(scheduler, 0.0)
        scheduler.end_input(0.0)


def open_input(settings: InputSettings) -> JobInput:
    """Open the inputs of a run and tell job files from lists. Raises UserError with every error found."""
    if settings.each is not None:
        return _arguments(settings, settings.each)
    paths = settings.files or ("-",)
    refuse_twice(paths)
    job_files: list[str] = []
    lists: list[Part] = []
    heads: dict[str, list[Head]] = {}
    for path in paths:
        kind = settings.format or ("yaml" if path.endswith(JOB_FILES) else None)
        if kind in ("yaml", "json"):
            job_files.append(path)
            continue
        fd, head, ended = _open(path, sniff=kind is None)
        if kind == "lines" or settings.null or not looks_like_job_file(head, True):
            lists.append((_name_of(path), fd, head))
        else:
            job_files.append(path)
            heads.setdefault(path, []).append((fd, head, ended))
    return _put_together(settings, job_files, lists, heads)


def _arguments(settings: InputSettings, each: Each) -> JobInput:
    """Return the input of `each`: few jobs are built at once, many are built as the queue gets room."""
    from pqrun.input.each import open_arguments

    if settings.only or settings.skip:
        raise UserError("--only and --skip need a job file: they can't select arguments")
    arguments, parts = open_arguments(settings, each)
    if arguments.count is None or arguments.count > KNOWN_SUFFIXES:
        return JobInput((), arguments, parts, wants=_dealer(settings), files=arguments.files)
    jobs, warnings = _part_of(list(iter(arguments.take, None)), settings)
    return JobInput(jobs, None, (), warnings=warnings, files=arguments.files)


def _put_together(
    settings: InputSettings,
    job_files: list[str],
    lists: list[Part],
    heads: dict[str, list[Head]],
) -> JobInput:
    """Load the job files, check the lists, and apply `--only`, `--skip` and `--shard`."""
    jobs: Sequence[JobSpec] = ()
    workers, max_queue = None, None
    warnings: tuple[str, ...] = ()
    pools: tuple[Pool, ...] = ()
    said: Mapping[str, Any] = NO_SETTINGS
    reads: tuple[str, ...] = ()
    if job_files:
        from pqrun.input.jobfile import load

        def read(path: str) -> bytes:
            opened = heads.get(path)
            fd, head, ended = opened.pop(0) if opened else _open(path, sniff=False)
            return head if ended else head + _read(lambda: read_all(fd), path)

        loaded = load(job_files, settings.given, read=read, pools=settings.pools)
        jobs, workers, max_queue, pools = loaded.jobs, loaded.workers, loaded.max_queue, loaded.pools
        warnings, said = loaded.warnings, loaded.settings
        reads = loaded.reads
    lines = None
    if lists:
        lines = CommandList(settings.given, null=settings.null, file=lists[0][0], after=len(jobs))
    _look_through(settings, lists, jobs, pools)
    if settings.only or settings.skip:
        from pqrun.core.selectors import select

        if lists:
            raise UserError("--only and --skip need a job file: they can't select commands of a list")
        jobs = select(list(jobs), settings.only, settings.skip)
    jobs, empty = _part_of(jobs, settings)
    return JobInput(
        jobs,
        lines,
        lists,
        warnings=(*warnings, *empty),
        workers=workers,
        max_queue=max_queue,
        pools=pools,
        said=said,
        files=(*job_files, *("-" if fd == 0 else name for name, fd, _head in lists), *reads),
        wants=_dealer(settings),
    )


def _look_through(
    settings: InputSettings,
    parts: Sequence[tuple[str, int, bytes]],
    jobs: Sequence[JobSpec],
    pools: Sequence[Pool],
) -> None:
    """Raise UserError for the wrong comments in regular files; a stream is checked as it is read."""
    regular = [S_ISREG(os.fstat(fd).st_mode) for _, fd, _ in parts]
    pieces = [partial(_pieces, fd, head) for _, fd, head in parts]
    if settings.null or not any(_has_comments(read()) for read in compress(pieces, regular)):
        return
    from pqrun.input.list_check import ListPart, check_list

    found = [
        ListPart(part[0], pieces[place], whole=all(regular[:place]))
        for place, part in enumerate(parts)
        if regular[place]
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


def _pieces(fd: int, head: bytes) -> Iterator[bytes]:
    """Yield a regular file's bytes from the current offset on, without moving the offset."""
    if head:
        yield head
    at = os.lseek(fd, 0, os.SEEK_CUR)
    while piece := os.pread(fd, 1 << 20, at):
        yield piece
        at += len(piece)


def _has_comments(pieces: Iterable[bytes]) -> bool:
    """Return whether the bytes may contain a `# pqrun:` comment: a fast search before the slow check."""
    before = b""
    for piece in pieces:
        if MARK in before + piece[: len(MARK)] or MARK in piece:
            return True
        before = piece[-len(MARK) :]
    return False


def read_whole(path: str) -> tuple[bool, Iterator[bytes]]:
    """Return whether a file is a job file, by its name or its beginning, and an iterator over its bytes."""
    named = path.endswith(JOB_FILES)
    fd, head, _ = _open(path, sniff=not named)
    rest = iter(partial(read_some, fd, 1 << 20), b"")
    return named or bool(looks_like_job_file(head, True)), chain((head,) if head else (), rest)


def _part_of(jobs: Sequence[JobSpec], settings: InputSettings) -> tuple[Sequence[JobSpec], tuple[str, ...]]:
    """Return this shard's jobs, and a warning if it has none."""
    if settings.shard is None:
        return jobs, ()
    from pqrun.input.shard import assign_shard, describe_shard

    part = assign_shard(jobs, settings.shard)
    return part, describe_shard(part, jobs, settings.shard)


def _dealer(settings: InputSettings) -> Callable[[JobSpec], bool] | None:
    """Return the function that selects this shard's lines; None without `--shard`."""
    if settings.shard is None:
        return None
    from pqrun.input.shard import ShardFilter

    return ShardFilter(settings.shard).takes_line


def _name_of(path: str) -> str:
    return "stdin" if path == "-" else path


def _open(path: str, *, sniff: bool) -> tuple[int, bytes, bool]:
    """Open a file; return its descriptor, the bytes read to `sniff` its kind, and whether it has ended."""
    if path == "-":
        fd = 0
    else:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}{_hint(path)}") from None
        if os.path.isdir(path):
            os.close(fd)
            raise UserError(f"cannot read {path}: it is a directory")
    head, ended = b"", False
    while sniff and not ended and looks_like_job_file(head, False) is None:
        data = _read(lambda: read_some(fd, READ_CHUNK_BYTES), path)
        head += data
        ended = not data
    return fd, head, ended


def _hint(path: str) -> str:
    """Return a hint for a user who gave a command where a file of commands is expected."""
    from shutil import which

    if os.path.lexists(path) or not (" " in path or which(path)):
        return ""
    return " (`run` reads files: give a command on stdin, or after `pqrun each :::`)"


def _read(read: Callable[[], bytes], path: str) -> bytes:
    try:
        return read()
    except OSError as error:
        raise UserError(f"cannot read {_name_of(path)}: {error.strerror}") from None
