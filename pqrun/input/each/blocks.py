# SPDX-License-Identifier: LGPL-3.0-or-later
"""The jobs of `each --pipe` and `--pipe-part`: one for each block of the input, which it reads as its stdin.

The blocks of a stream are kept as files in the directory of the run until their jobs are ok, so that a retry or
`resume` can read a block again. The blocks of a file are offsets: the file is read where it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain, pairwise
from typing import Final

from pqrun.core.errors import UserError
from pqrun.core.job import InputBlock, JobSpec
from pqrun.core.scheduler import Scheduler
from pqrun.core.settings import Each, InputSettings
from pqrun.core.start_policy import STREAMED
from pqrun.engine.machine_load import count_workers
from pqrun.engine.reactor import Request
from pqrun.input.defaults import SpecBuilder, stamp
from pqrun.input.each import notation_of_each, split_sources
from pqrun.input.each.block_files import BlockFiles
from pqrun.input.each.pipe import Block, BlockCutter, RecordRules, record_rules, split_positions
from pqrun.input.each.template import Template
from pqrun.input.job_input import JobInput
from pqrun.input.reader import FedRun
from pqrun.input.sources import open_source, shown_name

DEFAULT_BLOCK_BYTES: Final = 1 << 20
BLOCKS_PER_WORKER: Final = 2
"""How many blocks of a stream may wait on the disk, for each worker."""
MAX_BLOCKS_PER_READ: Final = 100
_PIPE_CAPACITY_BYTES: Final = 1 << 20


class BlockJobs:
    """Maker of jobs from blocks. `name` is that of the input, for messages."""

    def __init__(self, settings: InputSettings, each: Each, command: str, name: str) -> None:
        notation = notation_of_each(each)
        self._template = Template(command, (), settings.given.get("shell"), notation=notation, reads=True)
        self._tag = None
        if each.tagstring is not None:
            self._tag = Template(each.tagstring, (), notation=notation, bare=True)
        plain = SpecBuilder(settings.given).make("", {}, id="", named=False, file=name, line=0)
        self._command = stamp(plain.work, "run", "stdin")
        self._plain = stamp(plain, "id", "work", "line", "label")

    def job(self, block: InputBlock) -> JobSpec:
        """Return the job that reads this block."""
        number = block.number
        label = None if self._tag is None else self._tag.command((), number)
        job: JobSpec = self._plain(
            str(number), self._command(self._template.command((), number), block), number, label
        )
        return job


class BlockReader:
    """Reactor source that cuts a stream into blocks, keeps them, and adds a job for each.

    Nothing is read while the queue is full. `want_input` is called with the queue room to wait for (0: none). `fit`
    raises UserError for a job that can't run where this run executes. Without `files`, blocks are only counted.
    `failed`: reading has ended because pqrun could not keep a block.
    """

    def __init__(
        self,
        fd: int,
        name: str,
        cutter: BlockCutter,
        jobs: BlockJobs,
        files: BlockFiles | None,
        *,
        scheduler: Scheduler,
        want_input: Callable[[int], None],
        fit: Callable[[JobSpec], None] | None = None,
    ) -> None:
        self.done = self.failed = False
        self.wrong = ""
        self._fd = fd
        self._name = name
        self._cutter = cutter
        self._jobs = jobs
        self._files = files
        self._scheduler = scheduler
        self._want_input = want_input
        self._fit = fit
        self._number = 0
        self._read_all = False
        self._enough = max(1, scheduler.max_queue // 2)

    def fileno(self) -> int:
        """Return the descriptor that is being read."""
        return self._fd

    def unread(self) -> list[int]:
        """Return the descriptors that have not been read to their end."""
        return [] if self._read_all or self.done else [self._fd]

    def is_at_end(self) -> bool:
        """Return False: the bytes of the last block wait for the end of the stream."""
        return False

    def wanted(self) -> bool:
        """Return whether the queue has room."""
        return not self.done and self._scheduler.queue_room > 0

    def pending(self) -> bool:
        """Return whether the bytes already read may contain another block."""
        return self._cutter.due

    def read(self) -> Iterable[Request]:
        """Read some bytes, unless there may be another block; return the request that adds the blocks' jobs."""
        specs: list[JobSpec] = []
        try:
            if not self.pending():
                self._feed(os.read(self._fd, self._cutter.room))
            self._cut(specs)
        except BlockingIOError:  # another program on the same pipe or terminal was faster
            return []
        except UserError as error:
            self.wrong = str(error)
        except OSError as error:
            where = (
                f"cannot keep a block: {error.filename}" if error.filename else f"cannot split {self._name}"
            )
            self.wrong = f"{where}: {error.strerror}"
            self.failed = error.filename is not None
        self.done = bool(self.wrong) or self._cutter.finished
        return [lambda scheduler, now: self._add(specs, scheduler, now)] if specs or self.done else []

    def _feed(self, data: bytes) -> None:
        self._cutter.feed(data)
        self._read_all = not data

    def _cut(self, specs: list[JobSpec]) -> None:
        """Keep the blocks that are complete, and append their jobs, as many as the queue has room for."""
        while len(specs) < min(self._scheduler.queue_room, MAX_BLOCKS_PER_READ):
            block = self._cutter.take()
            if block is None:
                return
            self._number += 1
            specs.append(self._job(self._kept(block)))

    def _job(self, block: InputBlock) -> JobSpec:
        """Return the job that reads this block. Raises UserError for a job that can't run here."""
        spec = self._jobs.job(block)
        if self._fit is not None:
            self._fit(spec)
        return spec

    def _kept(self, block: Block) -> InputBlock:
        header = self._cutter.header
        if self._files is not None:
            return self._files.write(self._number, header, block)
        return InputBlock(self._number, block.offset, len(block.data), self._name, len(header), kept=True)

    def _add(self, specs: Sequence[JobSpec], scheduler: Scheduler, now: float) -> None:
        """Add the jobs of blocks. The engine calls this within a turn."""
        scheduler.add(specs, now, origin=STREAMED)
        if self.done:
            scheduler.end_input(now, complete=not self.wrong, why=self.wrong)
        self._want_input(0 if self.done or scheduler.queue_room else self._enough)


class BlockInput(JobInput):
    """The jobs of `each --pipe`: the blocks of a stream. `name` is that of the stream, for messages."""

    def __init__(self, fd: int, name: str, cutter: BlockCutter, jobs: BlockJobs, workers: str | None) -> None:
        ahead = BLOCKS_PER_WORKER * count_workers(workers)
        files = ("-" if name == "stdin" else name,)
        super().__init__(files=files, max_queue=ahead, keeps_blocks=True)
        self._stream = fd
        self._reader: Callable[..., BlockReader] = partial(BlockReader, fd, name, cutter, jobs)

    def unread(self) -> list[int]:
        """Return the descriptor, until it has been read to its end."""
        return [self._stream] if self._source is None else self._source.unread()

    def feed(self, run: FedRun) -> None:
        """Cut the stream into blocks as the queue gets room."""
        self._source = self._reader(
            self._blocks, scheduler=run.scheduler, want_input=run.engine.want_input, fit=run.validate_job
        )
        run.reactor.add(self._source)

    def feed_all(self, scheduler: Scheduler) -> None:
        """Put a job for each block into the scheduler at once, for a dry run. No block is kept."""
        scheduler.max_queue = sys.maxsize
        self._source = source = self._reader(None, scheduler=scheduler, want_input=lambda _room: None)
        while not source.done:
            for ask in source.read():
                ask(scheduler, 0.0)


def open_blocks(settings: InputSettings, each: Each, kind: type[BlockInput]) -> JobInput:
    """Return the input of `each --pipe`, of this kind, or that of `--pipe-part`.

    Raises UserError for a wrong option or file.
    """
    if settings.shard is not None:
        raise UserError("--shard can't be combined with --pipe: it shares out arguments, not blocks")
    path, command = _source_of(each)
    name = shown_name(path)
    jobs = BlockJobs(settings, each, command, name)
    rules = record_rules(
        each.recstart,
        each.recend,
        regexp=each.regexp,
        records=each.max_args,
        lines=each.max_lines,
        removes=each.remove_rec_sep,
    )
    if each.pipe_part:
        return JobInput(_part_jobs(path, rules, each, jobs), files=(path,))
    fd = open_source(path)
    with contextlib.suppress(OSError, AttributeError):  # fewer reads; not every pipe may be so large
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_CAPACITY_BYTES)
    cutter = BlockCutter(rules, each.block or DEFAULT_BLOCK_BYTES, header=each.header)
    return kind(fd, name, cutter, jobs, each.workers)


def _source_of(each: Each) -> tuple[str, str]:
    """Return the path of the input and the command."""
    command, sources = split_sources(
        each.words, each.files, arg_sep=each.arg_sep, arg_file_sep=each.arg_file_sep
    )
    if any(source.path is None for source in sources):
        raise UserError(
            f"--pipe: jobs have no arguments ({each.arg_sep}): each one reads a block as its stdin"
        )
    if len(sources) > 1:
        raise UserError("--pipe reads one input: give one file, or several through `cat`")
    if not command:
        raise UserError("--pipe needs a command that reads a block as its stdin: `pqrun each --pipe wc -l`")
    path = str(sources[0].path) if sources else "-"
    if path == "-" and each.pipe_part:
        raise UserError("--pipe-part needs a file: -a FILE (a stream is split with --pipe)")
    if path == "-" and os.isatty(0):
        raise UserError("nothing to split: --pipe reads stdin, or a file (-a FILE)")
    return path, command


def _part_jobs(path: str, rules: RecordRules, each: Each, jobs: BlockJobs) -> list[JobSpec]:
    """Return the jobs for all parts of a file."""
    fd = open_source(path)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise UserError(f"--pipe-part: {path} is not a regular file: split it with --pipe")
        size = os.fstat(fd).st_size
        header = _header_size(fd) if each.header else 0
        step = each.block or DEFAULT_BLOCK_BYTES
        if step < 0:
            step = max(1, -(-(size - header) // (count_workers(each.workers) * -step)))
        ends = split_positions(lambda most, at: os.pread(fd, most, at), header, size, step, rules)
        file = os.path.abspath(path)
        return [
            jobs.job(InputBlock(number, begin, end - begin, file, header))
            for number, (begin, end) in enumerate(pairwise(chain((header,), ends)), 1)
        ]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    finally:
        os.close(fd)


def _header_size(fd: int) -> int:
    """Return the bytes of a file's first line; 0 if it does not end in a newline."""
    size = 0
    while data := os.pread(fd, DEFAULT_BLOCK_BYTES, size):
        if end := data.find(b"\n") + 1:
            return size + end
        size += len(data)
    return 0
