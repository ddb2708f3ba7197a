# SPDX-License-Identifier: LGPL-3.0-or-later
"""Workers of a Dask cluster as a place where attempts run.

Never blocks a turn: whatever is asked is handed to the link's thread, which sends it, hears the
answers, and posts them. Priorities, retries and limits stay pqrun's; Dask gets a short window.
"""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Coroutine
from typing import Any

from pqrun.capture import Capture, Logs
from pqrun.clock import Clock
from pqrun.errors import OwnFailure
from pqrun.executors import Reporter
from pqrun.executors.dask_book import Book, Live
from pqrun.executors.dask_link import Ears, Link
from pqrun.executors.dask_worker import Errand, read_here, run_attempt, stop_here
from pqrun.model import Attempt, Command, Key
from pqrun.news import Ended, Grew, News, Refused

WINDOW = 4
PATIENCE_FOR_RESOURCES = 3.0
LOOK_FOR_RESOURCES = 0.25
LONGEST_SILENCE = 30.0
LONGEST_GOODBYE = 8.0
MORE_URGENT = 10


class DaskExecutor:
    """Runs attempts on a cluster's workers; `limit`: no more than so many at a time."""

    def __init__(
        self,
        link: Link,
        errand: Errand,
        *,
        clock: Clock,
        reporter: Reporter,
        logs: Logs,
        fail: Callable[[BaseException], None],
        limit: int | None = None,
        say: Callable[[str], object] = lambda _text: None,
    ) -> None:
        self.book = Book()
        self._link = link
        self._errand = errand
        self._clock = clock
        self._reporter = reporter
        self._logs = logs
        self._fail = fail
        self._limit = limit
        self._say = say
        self._was_lost: set[int] = set()
        self._stops: dict[Key, bool] = {}
        self._obeying = False
        self._following: dict[Key, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked_about: set[Key] = set()
        self._closed = False

    def open(self) -> None:
        """Takes the run to the cluster."""
        ears = Ears(self._hear, self._changed, self._broke, self._counted, self._ask_about)
        self._link.begin(self._errand, ears)

    # As an executor, from any thread

    def capacity(self) -> int:
        """As many as may be at the cluster: its slots, and a few more so that none of them is idle."""
        slots, limit = self._link.slots, self._limit
        return limit if limit is not None and limit < slots else slots * WINDOW

    @property
    def slots(self) -> int:
        """As many as can run at a time."""
        slots, limit = self._link.slots, self._limit
        return slots if limit is None else min(slots, limit)

    def resize(self, count: int) -> None:
        """So many at a time from now on."""
        self._limit = count

    def start(self, attempt: Attempt) -> None:
        """Hands it on."""
        self._link.call(self._begin, attempt)

    def stop(self, key: Key, *, force: bool) -> None:
        """Has it asked to end, or killed, wherever it is."""
        self._link.call(self._ask_to_stop, key, force)

    def output_of(self, key: Key) -> Any:
        """What a running attempt has printed, as far as it is here; None if nothing is."""
        live = self.book.live.get(key)
        return None if live is None else live.output

    def live(self) -> list[Any]:
        """What would have to be stopped with this process: nothing, they are elsewhere."""
        return []

    def close(self) -> None:
        """Ends what runs there, and lets go of the cluster."""
        if not self._closed:
            self._closed = True
            self._link.wait_for(self._end_all())
            self._link.close()

    # In the link's thread

    def _begin(self, attempt: Attempt) -> None:
        live = self.book.submit(attempt)
        spec = attempt.spec
        if spec.slots > 1:
            self._answer(self.book.impossible(attempt.key, "a job on a cluster takes one slot", self._now()))
        elif self._link.client is None:
            self._lose(attempt.key, "the scheduler was away")
        elif spec.pools:
            self._do(self._submit_where_possible(live))
        else:
            self._submit(live)

    async def _submit_where_possible(self, live: Live) -> None:
        """Waits for a little while for a worker that has what the job takes."""
        key, wanted = live.attempt.key, live.attempt.spec.pools
        until = self._now() + PATIENCE_FOR_RESOURCES
        while self.book.live.get(key) is live:
            offers = [facts.resources for facts in self._link.workers.values()]
            if any(all(offer.get(name, 0) >= count for name, count in wanted) for offer in offers):
                return self._submit(live)
            if self._now() >= until:
                asks = " ".join(f"{name}={count}" for name, count in wanted)
                why = f"no worker of the cluster has {asks}: start one with `dask worker --resources '{asks}'`"
                self._say(f"job {live.attempt.spec.id}: {why}")
                return self._answer(self.book.impossible(key, why, self._now()))
            await asyncio.sleep(LOOK_FOR_RESOURCES)

    def _submit(self, live: Live) -> None:
        key, spec = live.attempt.key, live.attempt.spec
        assert isinstance(spec.work, Command)
        try:
            live.future = self._link.client.submit(
                run_attempt, self._link.name, live.attempt,
                key=(self._errand.run_id, *key), pure=False, retries=0,
                priority=spec.priority * MORE_URGENT + (key.seq in self._was_lost),
                resources=dict(spec.pools) or None,
            )  # fmt: skip
        except Exception as error:  # the connection is breaking: that will be noticed
            self._lose(key, f"it could not be sent: {error}")

    def _hear(self, kind: str, seq: int, attempt: int, nonce: str, worker: str, told: bytes) -> None:
        """One of the cluster's news; what comes too late is dropped."""
        key = Key(seq, attempt)
        live = self.book.live.get(key)
        if kind == "gone":
            self._lose(key, told.decode())
        if kind == "gone" or live is None:
            return
        there, *facts = pickle.loads(told)
        ahead = self._now() - there  # of that worker's clock
        match kind:
            case "started":
                started, = facts
                news = self.book.started(key, nonce, worker, started.where, started.at + ahead)
                if news is not None:  # nobody is woken for it, as on this machine
                    self._reporter.post(news, urgent=False)
            case "news":
                self._reporter.post(facts[0])
            case "refused":
                self._answer(self.book.ended(facts[0], nonce), live)
            case "grew":
                if key not in self._following:
                    self._following[key] = self._do(self._follow(live, worker))
            case "ended":
                report, sizes, within = facts
                report = report._replace(began=report.began + ahead, ended=report.ended + ahead)
                self._ended(live, worker, nonce, report, sizes, within)

    def _ended(
        self, live: Live, worker: str, nonce: str, report: Ended, sizes: tuple[int, int],
        within: tuple[bytes, bytes],
    ) -> None:  # fmt: skip
        if any(within) or not any(sizes):
            if live.output is None:
                live.output = Capture(self._logs, report.key)
                for stream, data in zip((live.output.out, live.output.err), within, strict=True):
                    if data:
                        stream.put(data, by_line=self._errand.follow)
                return self._conclude(live, nonce, report)
        self._do(self._finish(live, worker, nonce, report, sizes))

    async def _follow(self, live: Live, worker: str) -> None:
        """What it has printed so far, for who wants to see it as it comes."""
        for number in (1, 2):
            await self._fetch(live, worker, number)
        self._following.pop(live.attempt.key, None)

    async def _finish(
        self, live: Live, worker: str, nonce: str, report: Ended, sizes: tuple[int, int]
    ) -> None:
        """The rest of what it has printed; without that it has not ended."""
        key = report.key
        while (following := self._following.get(key)) is not None:
            await asyncio.wait([following])
        for number, size in enumerate(sizes, 1):
            if not await self._fetch(live, worker, number, size):
                return self._lose(key, f"its output was lost with its worker {worker}")
        if self.book.live.get(key) is live:
            self._conclude(live, nonce, report)

    async def _fetch(self, live: Live, worker: str, number: int, size: int | None = None) -> bool:
        """Takes over what is there of a stream, all of `size` if that is known; whether that went well."""
        key = live.attempt.key
        more = True
        while more and self.book.live.get(key) is live:
            live.output = live.output or Capture(self._logs, key)
            stream = live.output.stream(number)
            if stream.size == size:
                break
            answers = await self._link.ask_workers(read_here, key, number, stream.size, workers=[worker])
            if not answers:
                return False
            data, more = answers[0]
            try:
                if data:
                    stream.put(data, by_line=self._errand.follow)
            except (OSError, OwnFailure) as error:
                self._fail(error if isinstance(error, OwnFailure) else OwnFailure(f"{stream.path}: {error}"))
                return True
            if self._errand.follow and stream.last_line_end:
                self._reporter.post(Grew(key, number, stream.last_line_end, stream))
        return True

    def _conclude(self, live: Live, nonce: str, report: Ended) -> None:
        try:
            live.output.finish()
        except OwnFailure as failure:
            self._fail(failure)
        end = self.book.ended(report, nonce)
        if isinstance(end, Ended):
            self._answer(end._replace(output=live.output), live)

    def _lose(self, key: Key, why: str) -> None:
        live = self.book.live.get(key)
        if live is not None:
            self._was_lost.add(key.seq)
            if live.output is not None:
                live.output.finish()
            self._answer(self.book.lost(key, why, self._now()), live)

    def _answer(self, news: Ended | Refused | None, live: Live | None = None) -> None:
        """What ends an attempt; Dask forgets it."""
        if live is not None and live.future is not None:
            live.future.release()
            live.future = None
        if news is not None:
            self._reporter.post(news)

    # Stops

    def _ask_to_stop(self, key: Key, force: bool) -> None:
        live = self.book.live.get(key)
        if live is None or live.forced or (live.asked and not force):
            return
        live.asked, live.forced = True, force
        self._stops[key] = force
        if force:
            self.loop_call_later(LONGEST_SILENCE, self._give_up, key, live)
        if not self._obeying:
            self._obeying = True
            self._do(self._obey())

    async def _obey(self) -> None:
        """Tells the workers; what none of them has begun is taken back."""
        while self._stops:
            wanted, self._stops = self._stops, {}
            lives = [live for key in wanted if (live := self.book.live.get(key)) is not None]
            known = {live.worker for live in lives}
            answers = await self._link.ask_workers(
                stop_here, list(wanted.items()), workers=None if "" in known else list(known)
            )
            met = {Key(*key) for answer in answers for key in answer}
            for live in lives:
                key = live.attempt.key
                if key not in met and not live.nonce and self.book.live.get(key) is live:
                    self._answer(self.book.withdrawn(key, self._now()), live)
        self._obeying = False

    def _give_up(self, key: Key, live: Live) -> None:
        if self.book.live.get(key) is live:
            self._lose(key, f"its worker {live.worker} does not answer")

    async def _end_all(self) -> None:
        for key in list(self.book.live):
            self._ask_to_stop(key, True)
        until = self._now() + LONGEST_GOODBYE
        while self.book.live and self._link.client is not None and self._now() < until:
            await asyncio.sleep(0.01)
        for key in list(self.book.live):
            self._lose(key, "the run was ended, and its worker did not answer")
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # The cluster

    def _changed(self) -> None:
        self._reporter.post()

    def _broke(self, why: str) -> None:
        if not self._closed:
            self._say(f"{why}; waiting for it to come back")
        for key in list(self.book.live):
            self._lose(key, why)
        self._reporter.post()

    def _ask_about(self) -> None:
        self._asked_about = {key for key, live in self.book.live.items() if live.future is not None}

    def _counted(self, known: set[tuple[int, int]]) -> None:
        for key in self.book.missing({Key(*own) for own in known}, self._asked_about):
            self._lose(key, "the scheduler does not know it any more")

    # Small things

    def loop_call_later(self, seconds: float, function: Callable[..., object], *arguments: Any) -> None:
        self._link.loop.call_later(seconds, function, *arguments)

    def _do(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._link.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _now(self) -> float:
        return self._clock.now()
