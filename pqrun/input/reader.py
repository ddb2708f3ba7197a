# SPDX-License-Identifier: LGPL-3.0-or-later
"""The reader of lists and arguments while jobs run, only as far ahead as the queue has room."""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from pqrun.core.dependencies import UnknownNeed
from pqrun.core.errors import UserError
from pqrun.core.job import JobSpec
from pqrun.core.start_policy import STREAMED
from pqrun.input.sources import READ_CHUNK_BYTES, OpenedFile

if TYPE_CHECKING:
    from pqrun.core.scheduler import Scheduler
    from pqrun.engine.engine import Engine
    from pqrun.engine.reactor import Reactor, Request

MAX_JOBS_PER_TURN = 1000


class JobParser(Protocol):
    """Parser that turns bytes into jobs."""

    def begin(self, file: str) -> None: ...
    def feed(self, data: bytes) -> None: ...
    def end(self) -> None: ...
    def take(self) -> JobSpec | None: ...


class JobProducer(JobParser, Protocol):
    """Parser of a list of commands, or of the arguments of a template."""

    def counter(self) -> JobParser | None:
        """Return a parser that takes as many jobs from the same bytes, all alike; None if there can be none."""


class FedRun(Protocol):
    """The parts of a run that its input feeds.

    `validate_job` raises UserError for a job that can't run where the run executes; None accepts every job.
    """

    @property
    def engine(self) -> Engine: ...
    @property
    def scheduler(self) -> Scheduler: ...
    @property
    def reactor(self) -> Reactor: ...
    @property
    def validate_job(self) -> Callable[[JobSpec], None] | None: ...


class StreamReader:
    """Reactor source that reads descriptors one after another and fills the scheduler's queue.

    `parts` are the inputs. Without parts, `lines` produces jobs without any bytes. `want_input` is
    called with the queue room to wait for (0: none).
    Jobs that `wants` rejects are skipped; `fit` raises UserError for a job that can't run where this run
    executes. `failed`: pqrun could not keep what was read; a list is not kept.
    """

    failed = False

    def __init__(
        self,
        lines: JobProducer,
        parts: Iterable[OpenedFile],
        *,
        scheduler: Scheduler,
        want_input: Callable[[int], None],
        wants: Callable[[JobSpec], bool] | None = None,
        fit: Callable[[JobSpec], None] | None = None,
    ) -> None:
        self.done = False
        self.wrong = ""
        self._lines = lines
        self._parts = list(parts)
        self._scheduler = scheduler
        self._want_input = want_input
        self._wants = wants
        self._fit = fit
        self._enough = max(1, scheduler.max_queue // 2)
        self._may_hold_more = True
        self._ended = False
        if self._parts:
            lines.feed(self._parts[0].head)

    def fileno(self) -> int:
        """Return the descriptor that is being read."""
        return self._parts[0].fd

    def unread(self) -> list[int]:
        """Return the descriptors that have not been read to their end."""
        return [] if self.done else [part.fd for part in self._parts]

    def is_at_end(self) -> bool:
        """Return whether all jobs have been read, and only the end of the input was not.

        Called when the run is over: a run that is stopped early may not have come to read the end.
        """
        if self.done or len(self._parts) > 1:
            return False
        if self._parts and not is_drained(self._parts[0].fd):
            return False
        try:
            if self._parts:
                self._lines.end()
            return self._lines.take() is None
        except UserError:  # a wrong line that the run did not come to
            return False

    def wanted(self) -> bool:
        """Return whether the queue has room."""
        return not self.done and self._scheduler.queue_room > 0

    def pending(self) -> bool:
        """Return whether the bytes already read may contain more jobs."""
        return self._may_hold_more

    def read(self) -> Iterable[Request]:
        """Read a chunk if the bytes read before are used up; return the request that adds its jobs."""
        if not self._may_hold_more:
            try:
                data = os.read(self._parts[0].fd, READ_CHUNK_BYTES)
            except BlockingIOError:  # another program on the same pipe or terminal was faster
                return []
            except OSError as error:
                self.wrong, self.done = f"cannot read {self._parts[0].name}: {error.strerror}", True
                return [self.add]
            if data:
                self._lines.feed(data)
            else:
                self._end_of_file()
            self._may_hold_more = True
        return [self.add]

    def add(self, scheduler: Scheduler, now: float) -> None:
        """Add as many jobs as the queue has room for. The engine calls this request within a turn."""
        specs = []
        try:
            for _ in range(0 if self.done else min(scheduler.queue_room, MAX_JOBS_PER_TURN)):
                spec = self._lines.take()
                if spec is None:
                    self._may_hold_more = self._open_next()
                    break
                if self._wants is None or self._wants(spec):
                    if spec.named or spec.pools or self._fit is not None:
                        self._check(spec, scheduler)
                    specs.append(spec)
        except UserError as error:
            self.wrong = str(error)
            self.done = True
        try:
            scheduler.add(specs, now, origin=STREAMED)
        except UnknownNeed as error:
            self.wrong, self.done = str(error), True
        if self.done or (not self._parts and not self._may_hold_more):
            self.done = True
            scheduler.end_input(now, complete=not self.wrong, why=self.wrong)
        self._want_input(0 if self.done or scheduler.queue_room else self._enough)

    def _check(self, spec: JobSpec, scheduler: Scheduler) -> None:
        """Raise UserError for an error that shows only beside the rest of the run."""
        check_line(spec, spec.named and scheduler.knows(spec.id), scheduler.ready.pools.sizes)
        if self._fit is not None:
            self._fit(spec)

    def _open_next(self) -> bool:
        """Move on to the next list if the current one is at its end. Returns whether there was a next one."""
        if not self._ended or not self._parts:
            return False
        self._ended = False
        part = self._parts[0]
        self._lines.begin(part.name)
        self._lines.feed(part.head)
        return True

    def _end_of_file(self) -> None:
        _let_go(self._parts.pop(0).fd)
        self._lines.end()
        self._ended = True


def check_line(spec: JobSpec, twice: bool, pools: Mapping[str, int]) -> None:
    """Raise UserError for a job with a wrong id or pools. `twice`: another job has the same id."""
    if twice and spec.named:
        raise UserError(f"{spec.file}:{spec.line}: duplicate id `{spec.id}`")
    for name, count in spec.pools:
        size = pools.get(name)
        if size is None:
            raise UserError(
                f"{spec.file}:{spec.line}: unknown pool `{name}` (create it with --pool {name}={count})"
            )
        if count > size:
            raise UserError(f"{spec.file}:{spec.line}: {count} of the pool `{name}`, which has {size}")


def is_drained(fd: int) -> bool:
    """Return whether a pipe or a regular file has no more data, without reading. Others count as unfinished."""
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return os.lseek(fd, 0, os.SEEK_CUR) >= os.fstat(fd).st_size
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return [happened for _, happened in poll.poll(0)] == [select.POLLHUP]
    except OSError:
        return False


def _let_go(fd: int) -> None:
    """Close a descriptor, but replace standard input by /dev/null.

    Otherwise the next file to be opened would become standard input.
    """
    if fd == 0:
        try:
            null = os.open(os.devnull, os.O_RDONLY)
        except OSError:
            return  # no descriptor is free: standard input stays open as it is
        os.dup2(null, fd)
        fd = null
    os.close(fd)
