# SPDX-License-Identifier: LGPL-3.0-or-later
"""The jobs of `each --pipe --round-robin`: up to one for each worker, to which the blocks of a stream are dealt out.

The stdin of such a job is a file that grows, which a thread sends to the job. Loaded only for this option.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from pqrun.core.errors import UserError
from pqrun.core.job import UNKNOWN_SIZE, InputBlock, JobSpec
from pqrun.core.scheduler import Scheduler
from pqrun.engine.machine_load import count_workers
from pqrun.engine.reactor import Request
from pqrun.input.each.block_files import GrowingFile
from pqrun.input.each.blocks import BlockInput, BlockJobs, BlockReader
from pqrun.input.each.pipe import BlockCutter
from pqrun.input.reader import FedRun


class DealingReader(BlockReader):
    """Reactor source that deals the blocks of a stream out to jobs that stay.

    While there are fewer jobs than `workers`, a block gets a job of its own; then it goes to the job that waits for
    least. A job wants more when less than `low` bytes wait for it; then `wake` is called, on any thread.
    """

    def __init__(self, *words: Any, workers: int, low: int, wake: Callable[[], None], **options: Any) -> None:
        super().__init__(*words, **options)
        self._workers = workers
        self._grow = partial(GrowingFile, low=low, wake=wake)
        self._growing: list[GrowingFile] = []

    def wanted(self) -> bool:
        """Return whether a block finds a job, or no job is left. A run that stops ends the input of its jobs."""
        if self._scheduler.stopping and not self.done:
            self.done = True
            self._end_all()
        return not self.done and (
            self._has_room() or any(one.wants_more for one in self._growing) or self._all_ended()
        )

    def read(self) -> Iterable[Request]:
        """Read some bytes, unless there may be another block, and deal out the blocks."""
        asks = super().read()
        if self.done:
            self._end_all()
        return asks

    def _end_all(self) -> None:
        for one in self._growing:
            one.end()

    def _all_ended(self) -> bool:
        return len(self._growing) == self._workers and all(one.closed for one in self._growing)

    def _cut(self, specs: list[JobSpec]) -> None:
        while self._has_room() or (waiting := [one for one in self._growing if one.wants_more]):
            block = self._cutter.take()
            if block is None:
                return
            if self._has_room():
                specs.append(self._new_job(block.data))
            else:
                min(waiting, key=lambda one: one.backlog).append(block.data)
        if self._all_ended() and not self._cutter.finished:
            raise UserError("all jobs have ended, and nothing reads the rest of the input")

    def _has_room(self) -> bool:
        """Return whether the next block gets a job of its own."""
        return len(self._growing) < self._workers

    def _new_job(self, data: bytes) -> JobSpec:
        """Return a new job whose input begins with this block. Raises OSError if the block can't be kept."""
        assert self._files is not None
        number = len(self._growing) + 1
        one = self._grow(self._files.create_empty(number))
        one.append(self._cutter.header + data)
        self._growing.append(one)
        self._files.growing[number] = one
        return self._job(InputBlock(number, 0, UNKNOWN_SIZE, one.path, kept=True))


class DealtInput(BlockInput):
    """The jobs of `each --pipe --round-robin`: up to one for each worker, which stays until the stream ends."""

    def __init__(self, fd: int, name: str, cutter: BlockCutter, jobs: BlockJobs, workers: str | None) -> None:
        super().__init__(fd, name, cutter, jobs, workers)
        self._workers = count_workers(workers)
        self._reader = partial(DealingReader, fd, name, cutter, jobs, workers=self._workers, low=cutter.room)
        self._job = jobs.job

    def feed(self, run: FedRun) -> None:
        """Deal out the blocks as the jobs read them."""
        self._reader = partial(self._reader, wake=run.reactor.wake)
        super().feed(run)

    def feed_all(self, scheduler: Scheduler) -> None:
        """Put a job for each worker into the scheduler, for a dry run. Nothing is read."""
        blocks = [
            InputBlock(number, 0, UNKNOWN_SIZE, "", kept=True) for number in range(1, self._workers + 1)
        ]
        scheduler.add(list(map(self._job, blocks)), 0.0)
        scheduler.end_input(0.0)

    def input_stream(self, number: int) -> GrowingFile | None:
        """Return the file that grows while the job of this block reads it; None once the job has ended."""
        growing = None if self._blocks is None else self._blocks.growing.get(number)
        return None if growing is None or growing.closed else growing
