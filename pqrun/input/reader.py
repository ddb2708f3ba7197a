# SPDX-License-Identifier: LGPL-3.0-or-later
"""A list of commands or arguments as something to read from while jobs run: never too far ahead."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from pqrun.core.errors import UserError
from pqrun.core.job import JobSpec
from pqrun.core.scheduler import Scheduler, UnknownNeed
from pqrun.core.start_policy import STREAMED
from pqrun.engine.engine import Request

READ_CHUNK_BYTES = 65536
MAX_JOBS_PER_TURN = 1000


class JobProducer(Protocol):
    """What bytes become: commands, or arguments in a template."""

    def begin(self, file: str) -> None: ...
    def feed(self, data: bytes) -> None: ...
    def end(self) -> None: ...
    def take(self) -> JobSpec | None: ...


class StreamReader:
    """Feeds the queue from descriptors, one after another; each with what was read of it before.

    Without any, from what needs no bytes.
    `room` says how many more jobs the queue takes; `hungry` is told how much room to wait for. Jobs
    that it does not `want` are passed over; `fit` raises UserError for what can't run where the run is.
    """

    def __init__(
        self,
        lines: JobProducer,
        parts: Iterable[tuple[str, int, bytes]],
        *,
        scheduler: Scheduler,
        hungry: Callable[[int], None],
        wants: Callable[[JobSpec], bool] | None = None,
        fit: Callable[[JobSpec], None] | None = None,
    ) -> None:
        self.done = False
        self.wrong = ""
        self._lines = lines
        self._parts = list(parts)
        self._scheduler = scheduler
        self._want_input = hungry
        self._wants = wants
        self._fit = fit
        self._enough = max(1, scheduler.max_queue // 2)
        self._may_hold_more = True
        self._ended = False
        if self._parts:
            lines.feed(self._parts[0][2])

    def fileno(self) -> int:
        """The descriptor that is being read."""
        return self._parts[0][1]

    def unread(self) -> list[int]:
        """All descriptors that have not been read to their end."""
        return [] if self.done else [fd for _, fd, _ in self._parts]

    def wanted(self) -> bool:
        """Whether there is room in the queue."""
        return not self.done and self._scheduler.queue_room > 0

    def pending(self) -> bool:
        """Whether more jobs may be in what was read already."""
        return self._may_hold_more

    def read(self) -> Iterable[Request]:
        """Reads a piece, if what was read before is used up."""
        if not self._may_hold_more:
            try:
                data = os.read(self._parts[0][1], READ_CHUNK_BYTES)
            except BlockingIOError:  # another program has read what was there
                return []
            except OSError as error:
                self.wrong, self.done = f"cannot read {self._parts[0][0]}: {error.strerror}", True
                return [self.add]
            if data:
                self._lines.feed(data)
            else:
                self._end_of_file()
            self._may_hold_more = True
        return [self.add]

    def add(self, scheduler: Scheduler, now: float) -> None:
        """Ask: as many jobs as there is room for."""
        specs = []
        try:
            for _ in range(0 if self.done else min(scheduler.queue_room, MAX_JOBS_PER_TURN)):
                spec = self._lines.take()
                if spec is None:
                    self._may_hold_more = self._open_next()
                    break
                if self._wants is None or self._wants(spec):
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
        """Raises UserError for what can't be told without the rest of the run."""
        check_line(spec, spec.named and scheduler.knows(spec.id), scheduler.ready.pools.sizes)
        if self._fit is not None:
            self._fit(spec)

    def _open_next(self) -> bool:
        """Moves on to the next list if this one has been read; whether there was one."""
        if not self._ended or not self._parts:
            return False
        self._ended = False
        name, _, head = self._parts[0]
        self._lines.begin(name)
        self._lines.feed(head)
        return True

    def _end_of_file(self) -> None:
        _let_go(self._parts.pop(0)[1])
        self._lines.end()
        self._ended = True


def check_line(spec: JobSpec, twice: bool, pools: Mapping[str, int]) -> None:
    """Raises UserError for a job whose id or pools can't be; `twice`: another job has its id."""
    if twice and spec.named:
        raise UserError(f"{spec.file}:{spec.line}: the id `{spec.id}` is given twice")
    for name, count in spec.pools:
        size = pools.get(name)
        if size is None:
            raise UserError(f"{spec.file}:{spec.line}: unknown pool `{name}` (say --pool {name}={count})")
        if count > size:
            raise UserError(f"{spec.file}:{spec.line}: {count} of the pool `{name}`, which has {size}")


def _let_go(fd: int) -> None:
    """Closes it; standard input stays something, else whatever is opened next would get its number."""
    if fd == 0:
        try:
            null = os.open(os.devnull, os.O_RDONLY)
        except OSError:
            return  # out of descriptors: it stays what it was
        os.dup2(null, fd)
        fd = null
    os.close(fd)
