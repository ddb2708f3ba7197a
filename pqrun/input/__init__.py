# SPDX-License-Identifier: LGPL-3.0-or-later
"""What to run: job files, read whole before anything starts, and lists of commands, read as they run."""

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
from pqrun.core.settings import Each, Settings
from pqrun.engine.engine import Engine
from pqrun.engine.reactor import Reactor
from pqrun.input.command_list import MARK, CommandList
from pqrun.input.reader import JobProducer, StreamReader, check_line
from pqrun.input.sources import read_all, read_some, refuse_twice

_MAX_KEY_BYTES = 4096  # bytes of one line: longer is no key
_TOP = "|".join(key.name for key in TOP_LEVEL_FIELDS) + r"|x-[\w.-]+"
_OPENS = re.compile(
    rf"(?:---(?:\s|$)|([\"']?)(?:{_TOP})\1\s*:(?:\s|$)|\{{\s*(?:$|[\"'}}]|(?:{_TOP})\s*:))".encode()
)


def looks_like_job_file(head: bytes, ended: bool) -> bool | None:
    """Whether the first line that is neither blank nor a comment opens a job file.

    `{` opens one where JSON or a flow mapping may follow: `{ echo a; echo b; }` is a command.
    `None`: the head does not say, more of it is needed; never when `ended`.
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
"""A list's name, its descriptor, and what has been read of it."""
Head = tuple[int, bytes, bool]
"""A descriptor, what has been read of it, and whether that is all."""


class JobInput:
    """Jobs that are known, and descriptors from which more come."""

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
        """The settings, and below them what the files say, which is then kept for a resume too."""
        said = {name: value for name, value in self._said.items() if getattr(settings, name) is None}
        if not said:
            return settings
        return settings._replace(**said, recorded={**said, **settings.recorded})

    @property
    def recorded(self) -> dict[str, Any]:
        """What the files say for the run itself, as JSON can hold it, for a later process to go on with."""
        said = {"workers": self.workers, "max_queue": self.max_queue, "pools": list(self.pools)}
        return {name: value for name, value in said.items() if value}

    def reads(self) -> Iterator[str]:
        """The files that are read, `-` standard input; those of jobs that are read later are not known."""
        yield from self._files
        for spec in self.jobs:
            if isinstance(work := spec.work, Command) and work.stdin is not None and "$" not in work.stdin:
                yield os.path.join(work.cwd or "", work.stdin)

    @property
    def wrong(self) -> str:
        """Why reading a list had to end early, if so."""
        return self._source.wrong if self._source else ""

    def unread(self) -> list[int]:
        """The descriptors that have not been read to their end, or until reading had to end."""
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
        """Puts in what is known, and has the rest read as there is room; what does not `fit` ends that."""
        jobs, self.jobs = self.jobs, ()
        if self.lines is None:
            engine.turn(ask=lambda scheduler, now: self._put_in(scheduler, jobs, now))
            return
        if jobs:
            engine.turn(ask=lambda s, now: s.add(jobs, now))
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
        """All jobs, read to the end."""
        scheduler = Scheduler()
        self.feed_all(scheduler)
        if self.wrong:
            raise UserError(self.wrong)
        return [task.spec for task in scheduler.tasks.values()]

    def feed_all(self, scheduler: Scheduler) -> None:
        """Puts in everything at once, for a dry run."""
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


def open_input(settings: Settings) -> JobInput:
    """Opens and tells apart what is to be read; `UserError` for all that is wrong with it."""
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


def _arguments(settings: Settings, each: Each) -> JobInput:
    """One job for each argument; few of them are known from the beginning, many come as there is room."""
    from pqrun.input.each import open_arguments

    if settings.only or settings.skip:
        raise UserError("--only and --skip choose among the jobs of a job file, not among arguments")
    arguments, parts = open_arguments(settings, each)
    if arguments.count is None or arguments.count > KNOWN_SUFFIXES:
        return JobInput((), arguments, parts, wants=_dealer(settings), files=arguments.files)
    jobs, warnings = _part_of(list(iter(arguments.take, None)), settings)
    return JobInput(jobs, None, (), warnings=warnings, files=arguments.files)


def _put_together(
    settings: Settings,
    job_files: list[str],
    lists: list[Part],
    heads: dict[str, list[Head]],
) -> JobInput:
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
            raise UserError(
                "--only and --skip choose among the jobs of a job file, not of a list of commands"
            )
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
        files=(*job_files, *(name for name, _fd, _head in lists), *reads),
        wants=_dealer(settings),
    )


def _look_through(
    settings: Settings,
    parts: Sequence[tuple[str, int, bytes]],
    jobs: Sequence[JobSpec],
    pools: Sequence[Pool],
) -> None:
    """Raises UserError for all comments of regular files that are wrong; a stream is read as it runs."""
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
    """What a regular file holds from where it was opened, without moving on in it."""
    if head:
        yield head
    at = os.lseek(fd, 0, os.SEEK_CUR)
    while piece := os.pread(fd, 1 << 20, at):
        yield piece
        at += len(piece)


def _has_comments(pieces: Iterable[bytes]) -> bool:
    """Whether there may be one of ours in it; as fast as it can be read."""
    before = b""
    for piece in pieces:
        if MARK in before + piece[: len(MARK)] or MARK in piece:
            return True
        before = piece[-len(MARK) :]
    return False


def read_whole(path: str) -> tuple[bool, Iterator[bytes]]:
    """Whether it is a job file, by its name or how it begins, and what it holds, in pieces."""
    named = path.endswith(JOB_FILES)
    fd, head, _ = _open(path, sniff=not named)
    rest = iter(partial(read_some, fd, 1 << 20), b"")
    return named or bool(looks_like_job_file(head, True)), chain((head,) if head else (), rest)


def _part_of(jobs: Sequence[JobSpec], settings: Settings) -> tuple[Sequence[JobSpec], tuple[str, ...]]:
    """This machine's part of the jobs, and what is to be said if that is none."""
    if settings.shard is None:
        return jobs, ()
    from pqrun.input.shard import assign_shard, describe_shard

    part = assign_shard(jobs, settings.shard)
    return part, describe_shard(part, jobs, settings.shard)


def _dealer(settings: Settings) -> Callable[[JobSpec], bool] | None:
    """Which lines are this machine's part."""
    if settings.shard is None:
        return None
    from pqrun.input.shard import ShardFilter

    return ShardFilter(settings.shard).takes_line


def _name_of(path: str) -> str:
    return "stdin" if path == "-" else path


def _open(path: str, *, sniff: bool) -> tuple[int, bytes, bool]:
    """A descriptor, and of what has to be known by its content so much as tells what it is."""
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
    """What to do, if somebody gave a command where a file of commands is expected."""
    from shutil import which

    if os.path.lexists(path) or not (" " in path or which(path)):
        return ""
    return " (`run` reads files; a command goes to its stdin, or after `pqrun each :::`)"


def _read(read: Callable[[], bytes], path: str) -> bytes:
    try:
        return read()
    except OSError as error:
        raise UserError(f"cannot read {_name_of(path)}: {error.strerror}") from None
