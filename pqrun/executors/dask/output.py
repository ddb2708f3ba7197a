# SPDX-License-Identifier: LGPL-3.0-or-later
"""The output of attempts on a cluster: small outputs come with the report, larger ones in pieces.

All of it runs on the connection's thread. A worker holds its slot until the output was fetched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from pqrun.core.errors import InternalFailure
from pqrun.core.job import AttemptId
from pqrun.core.notices import OutputAdvanced
from pqrun.engine.executor import Reporter
from pqrun.executors.dask.attempts import RemoteAttempt
from pqrun.executors.dask.connection import SchedulerConnection
from pqrun.output.store import Capture, Logs

Submit = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class RemoteOutputs:
    """The fetching of attempts' outputs.

    `follow`: fetch output while attempts run, and report it with `OutputAdvanced`. `do` starts a coroutine as
    a task.
    """

    def __init__(
        self,
        link: SchedulerConnection,
        reporter: Reporter,
        logs: Logs,
        *,
        follow: bool,
        do: Submit,
    ) -> None:
        self._link = link
        self._reporter = reporter
        self._logs = logs
        self._follow = follow
        self._do = do
        self._following: dict[AttemptId, asyncio.Task[None]] = {}

    def grew(self, live: RemoteAttempt, worker: str) -> None:
        """Start to fetch the new output that a running attempt has at its worker."""
        if live.attempt.key not in self._following:
            self._following[live.attempt.key] = self._do(self._take_some(live, worker))

    def take_at_once(self, live: RemoteAttempt, within: tuple[bytes, bytes]) -> bool:
        """Store an output that came complete with the report.

        Returns False if a part of it was or is being fetched already; the caller then fetches the rest.
        """
        if live.output is not None or live.attempt.key in self._following:
            return False
        live.output = capture = Capture(self._logs, live.attempt.key)
        for stream, data in ((capture.out, within[0]), (capture.err, within[1])):
            if data:
                stream.put(data, by_line=self._follow)
        return True

    async def take_rest(self, live: RemoteAttempt, worker: str, sizes: tuple[int, int]) -> bool:
        """Fetch all output that is not here yet. `sizes`: the bytes of stdout and stderr.

        Returns False if it can't be fetched any more.
        """
        while (following := self._following.get(live.attempt.key)) is not None:
            await asyncio.wait([following])
        for number, size in enumerate(sizes, 1):
            if not await self._take(live, worker, number, size):
                return False
        return True

    def finish(self, live: RemoteAttempt) -> None:
        """Close the attempt's output, when no more will come."""
        if live.output is not None:
            try:
                live.output.finish()
            except InternalFailure as failure:
                self._reporter.fail(failure)

    async def _take_some(self, live: RemoteAttempt, worker: str) -> None:
        for number in (1, 2):
            await self._take(live, worker, number)
        self._following.pop(live.attempt.key, None)

    async def _take(self, live: RemoteAttempt, worker: str, number: int, size: int | None = None) -> bool:
        """Fetch the new output of stream `number`: all up to `size`, if known, else what there is.

        Returns False if it can't be fetched any more.
        """
        key = live.attempt.key
        more = True
        while more and not live.over:
            live.output = live.output or Capture(self._logs, key)
            stream = live.output.stream(number)
            if stream.size == size:
                break
            answer = await self._link.read(worker, key, number, stream.size)
            if live.over:
                break
            if answer is None:
                return False
            data, more = answer
            if not data:
                return size is None
            try:
                stream.put(data, by_line=self._follow)
            except InternalFailure as failure:
                self._reporter.fail(failure)
                return True
            except OSError as error:
                self._reporter.fail(InternalFailure(f"cannot write {stream.path}: {error.strerror}"))
                return True
            if self._follow and stream.last_line_end:
                self._reporter.post(OutputAdvanced(key, number, stream.last_line_end, stream))
        return True
