# SPDX-License-Identifier: LGPL-3.0-or-later
"""The jobs of `each --pipe --round-robin`: one for each worker, to which the blocks of a stream are dealt out.

The stdin of such a job is a file that grows, which a thread sends to the job. Loaded only for this option.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from threading import Condition
from typing import Any, Final

from pqrun.core.errors import UserError
from pqrun.core.job import UNKNOWN_SIZE, InputBlock, JobSpec
from pqrun.core.scheduler import Scheduler
from pqrun.engine.engine import Request
from pqrun.engine.machine_load import count_workers
from pqrun.input.each.blocks import BlockInput, BlockJobs, BlockReader, write_and_close
from pqrun.input.each.pipe import BlockCutter
from pqrun.input.reader import FedRun

_CHUNK_BYTES: Final = 1 << 20


class GrowingFile:
    """A file to which the main thread appends blocks, while a thread sends all of it to the job.

    The file keeps what was sent, because a retry reads everything from the beginning. `wake` is called on any thread
    when less than `low` bytes wait to be sent.
    """

    def __init__(self, path: str, *, low: int, wake: Callable[[], None]) -> None:
        self.path = path
        self.written = 0
        self.closed = False
        self._low = low
        self._wake = wake
        self._changed = Condition()
        self._sent = 0
        self._sender = 0
        self._ended = False

    @property
    def wants_more(self) -> bool:
        """Whether the job has read nearly all of the file."""
        return not self.closed and self.backlog < self._low

    @property
    def backlog(self) -> int:
        """How many bytes wait to be sent."""
        return self.written - self._sent

    def append(self, data: bytes) -> None:
        """Write data for the job. Raises OSError."""
        try:
            append_to_file(self.path, data)
        except FileNotFoundError:
            if not self.closed:  # else the job has just ended, and its file was removed
                raise
        with self._changed:
            self.written += len(data)
            self._changed.notify_all()

    def end(self) -> None:
        """End the input of the job: nothing more is appended."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Note that the job has ended for good. Called on the dispatcher thread."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()
        self._wake()

    def send(self, file: int, pipe: int) -> None:
        """Write the whole file, which is open as `file`, into a pipe.

        Called on a thread for each attempt. A later attempt begins again, and its sender ends an earlier one. Raises
        OSError, BrokenPipeError if the job no longer reads.
        """
        with self._changed:
            self._sender += 1
            sender, sent, self._sent = self._sender, 0, 0
            self._changed.notify_all()
        while self._more(sender, sent):
            sent += self._send_some(file, pipe, sent)
            with self._changed:
                if sender == self._sender:
                    self._sent = sent
            if self.wants_more:
                self._wake()

    def _more(self, sender: int, sent: int) -> bool:
        """Wait until there is more to send; return False if there never will be."""
        with self._changed:
            self._changed.wait_for(
                lambda: self.written > sent or self._ended or self.closed or sender != self._sender
            )
            return self.written > sent and not self.closed and sender == self._sender

    def _send_some(self, file: int, pipe: int, at: int) -> int:
        data = os.pread(file, min(_CHUNK_BYTES, self.written - at), at)
        if not data:
            raise OSError(errno.ENODATA, "it is shorter than it was")
        return os.write(pipe, data)


def append_to_file(path: str, data: bytes) -> None:
    """Append data to a file. It is not kept open: there is one for each worker. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
    write_and_close(path, fd, data)


class DealingReader(BlockReader):
    """Reactor source that deals the blocks of a stream out to jobs that stay: each to the job that waits for least."""

    def __init__(self, *words: Any, growing: Sequence[GrowingFile], **options: Any) -> None:
        super().__init__(*words, **options)
        self._growing = growing

    def wanted(self) -> bool:
        """Return whether a job wants more, or no job is left. A run that stops ends the input of its jobs."""
        if self._scheduler.stopping and not self.done:
            self.done = True
            self._end_all()
        return not self.done and (any(one.wants_more for one in self._growing) or self._all_ended())

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
        return all(one.closed for one in self._growing)

    def _cut(self, specs: list[JobSpec]) -> None:
        while waiting := [one for one in self._growing if one.wants_more]:
            block = self._cutter.take()
            if block is None:
                return
            first = min(waiting, key=lambda one: one.backlog)
            if not first.written:
                first.append(self._cutter.header)
            first.append(block.data)
        if self._all_ended() and not self._cutter.finished:
            raise UserError("all jobs have ended, and nothing reads the rest of the input")


class DealtInput(BlockInput):
    """The jobs of `each --pipe --round-robin`: one for each worker, which stays until the stream ends."""

    def __init__(self, fd: int, name: str, cutter: BlockCutter, jobs: BlockJobs, workers: str | None) -> None:
        super().__init__(fd, name, cutter, jobs, workers)
        self._reader = partial(DealingReader, fd, name, cutter, jobs)
        self._job = jobs.job
        self._low = cutter.room
        self._workers = count_workers(workers)

    def feed(self, run: FedRun) -> None:
        """Add the jobs, and deal out the blocks as the jobs read them."""
        assert self._blocks is not None
        growing = [
            GrowingFile(self._blocks.create_empty(number), low=self._low, wake=run.reactor.wake)
            for number in range(1, self._workers + 1)
        ]
        self._blocks.growing.update(enumerate(growing, 1))
        specs = self._specs([one.path for one in growing])
        run.engine.turn(request=lambda scheduler, now: scheduler.add(specs, now))
        self._source = self._reader(
            self._blocks, growing=growing, scheduler=run.scheduler, hungry=run.engine.want_input,
            fit=run.validate_job,
        )  # fmt: skip
        run.reactor.add(self._source)

    def feed_all(self, scheduler: Scheduler) -> None:
        """Put the jobs into the scheduler, for a dry run. Nothing is read."""
        scheduler.add(self._specs([""] * self._workers), 0.0)
        scheduler.end_input(0.0)

    def input_stream(self, number: int) -> GrowingFile | None:
        """Return the file that grows while the job of this block reads it; None once the job has ended."""
        growing = None if self._blocks is None else self._blocks.growing.get(number)
        return None if growing is None or growing.closed else growing

    def _specs(self, paths: Sequence[str]) -> list[JobSpec]:
        return [
            self._job(InputBlock(number, 0, UNKNOWN_SIZE, path, kept=True))
            for number, path in enumerate(paths, 1)
        ]
