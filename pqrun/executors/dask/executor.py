# SPDX-License-Identifier: LGPL-3.0-or-later
"""Workers of a Dask cluster as a place where attempts run.

Never blocks a turn: whatever is asked is handed to the link's thread, which sends it, hears the
answers, and posts them. Priorities, retries and limits stay pqrun's; Dask gets a short window.
"""

from __future__ import annotations

import asyncio
import pickle
from collections import defaultdict
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any

from pqrun.core.job import Attempt, Key, Lost
from pqrun.core.notices import Ended, Refused
from pqrun.core.text import duration_text
from pqrun.engine.clock import Clock
from pqrun.engine.executor import Reporter
from pqrun.executors.dask.attempts import Book, Live
from pqrun.executors.dask.connection import Ears, Link
from pqrun.executors.dask.output import Outputs
from pqrun.executors.dask.worker_plugin import Errand, run_attempt
from pqrun.output.store import Logs

URGENCY = 10
PAUSE = 0.01


class Sender:
    """What Dask takes to learn of one attempt it needs for some too: while enough is there, it may wait."""

    def __init__(self, link: Link, run_id: str, failed: Callable[[Key, str], None]) -> None:
        self._link = link
        self._run_id = run_id
        self._failed = failed
        self._outbox: list[tuple[Live, bool]] = []
        self._due = False

    def put(self, live: Live, *, again: bool, there: int) -> None:
        """`again`: it was lost before, and goes ahead of its equals; so many are at the cluster already."""
        self._outbox.append((live, again))
        if not self._due and self._link.client is not None:
            self._due = True
            if there - len(self._outbox) >= 2 * self._link.slots:
                self._link.loop.call_later(PAUSE, self._send)
            else:
                self._link.loop.call_soon(self._send)

    def back(self) -> None:
        """The scheduler is: what has waited for it may go."""
        self._send()

    def _send(self) -> None:
        self._due = False
        if self._link.client is None:
            return
        outbox, self._outbox = self._outbox, []
        alike: dict[tuple[int, tuple[tuple[str, int], ...]], list[Live]] = defaultdict(list)
        for live, again in outbox:
            if not live.over:
                spec = live.attempt.spec
                alike[spec.priority * URGENCY + again, spec.pools].append(live)
        for (priority, pools), lives in alike.items():
            try:
                futures = self._link.client.map(
                    run_attempt,
                    [self._link.name] * len(lives),
                    [pickle.dumps(live.attempt) for live in lives],
                    key=[(self._run_id, *live.attempt.key) for live in lives],
                    pure=False, retries=0, priority=priority, resources=dict(pools) or None,
                )  # fmt: skip
            except Exception as error:  # the connection is breaking: that will be noticed
                for live in lives:
                    self._failed(live.attempt.key, f"it could not be sent: {error}")
                continue
            for live, future in zip(lives, futures, strict=True):
                live.future = future


pass

WINDOW = 4
PATIENCE_FOR_RESOURCES = 3.0
LOOK_FOR_RESOURCES = 0.25
LONGEST_SILENCE = 30.0
LONGEST_GOODBYE = 8.0
LONGEST_FINISH = 5.0
PATIENCE_AFTER_BREAK = 30.0


class DaskExecutor:
    """Runs attempts on a cluster's workers; `limit`: no more than so many at a time.

    `how_to_end` is said, as a sentence, with what a run can only wait for.
    """

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
        how_to_end: str = "",
    ) -> None:
        self.book = Book()
        self._link = link
        self._errand = errand
        self._clock = clock
        self._reporter = reporter
        self._fail = fail
        self._limit = limit
        self._say = say
        self._how_to_end = how_to_end
        self._lacking: dict[str, str] = {}
        self._ahead: dict[str, float] = {}
        self._was_lost: set[int] = set()
        self._stops: dict[Key, bool] = {}
        self._obeying = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._finishing: dict[Key, asyncio.Task[None]] = {}
        self._asked_about: set[Key] = set()
        self._closed = False
        self._judges_at = -inf
        self._sender = Sender(link, errand.run_id, self._lose)
        self._outputs = Outputs(link, reporter, logs, follow=errand.follow, fail=fail, do=self._do)

    def open(self) -> None:
        """Takes the run to the cluster."""
        ears = Ears(
            self._hear, self._heard, self._changed, self._broke, self._away, self._back, self._counted,
            self._ask_about, self._fail,
        )  # fmt: skip
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

    def leaders(self) -> dict[Key, int]:
        """None of them is a process of this machine that could be looked at."""
        return {}

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
        elif spec.pools:
            self._do(self._submit_where_possible(live))
        else:
            self._submit(live)

    async def _submit_where_possible(self, live: Live) -> None:
        """Waits for a little while for a worker that has what the job takes."""
        key, wanted = live.attempt.key, live.attempt.spec.pools
        until = self._now() + PATIENCE_FOR_RESOURCES
        while not live.over:
            offers = [facts.resources for facts in self._link.workers.values()]
            if any(all(offer.get(name, 0) >= count for name, count in wanted) for offer in offers):
                return self._submit(live)
            if self._link.client is None:
                until = self._now() + PATIENCE_FOR_RESOURCES
            elif self._now() >= max(until, self._judges_at):
                asks = " ".join(f"{name}={count}" for name, count in wanted)
                why = (
                    f"no worker of the cluster has {asks}: start one with `dask worker --resources '{asks}'`"
                )
                self._say(f"job {live.attempt.spec.id}: {why}")
                return self._answer(self.book.impossible(key, why, self._now()))
            await asyncio.sleep(LOOK_FOR_RESOURCES)

    def _submit(self, live: Live) -> None:
        again = live.attempt.key.seq in self._was_lost
        self._sender.put(live, again=again, there=len(self.book.live))

    def _hear(self, kind: str, seq: int, attempt: int, nonce: str, worker: str, told: bytes) -> None:
        """One of the cluster's news; what comes too late is dropped."""
        key = Key(seq, attempt)
        live = self.book.live.get(key)
        if kind == "gone":
            self._lose(key, told.decode())
        if kind == "gone" or live is None:
            return
        there, *facts = pickle.loads(told)
        now = self._now()
        # How far our clock is ahead of that worker's: what came quickest tells it best.
        ahead = self._ahead[worker] = min(now - there, self._ahead.get(worker, inf))
        match kind:
            case "started":
                (started,) = facts
                news = self.book.started(key, nonce, worker, started.where, started.at + ahead)
                if news is not None:  # nobody is woken for it, as on this machine
                    self._reporter.post(news, urgent=self._errand.prompt)
            case "news":
                self._reporter.post(facts[0])
            case "refused":
                self._answer(self.book.ended(facts[0]), live)
            case "grew":
                self._outputs.grew(live, worker)
            case "ended":
                report, sizes, within = facts
                if isinstance(report.exit, Lost) and report.exit.gone:  # its worker is to blame, and says so
                    return self._lose(key, report.exit.why)
                began = live.began if live.nonce == nonce and live.began is not None else report.began + ahead
                ended = min(now, began + report.ended - report.began)
                report = report._replace(began=began, ended=max(began, ended))
                self._ended(live, worker, report, sizes, within)

    def _ended(
        self, live: Live, worker: str, report: Ended, sizes: tuple[int, int], within: tuple[bytes, bytes]
    ) -> None:
        if sum(sizes) == sum(map(len, within)) and self._outputs.take_at_once(live, within):
            self._conclude(live, report)
        elif not live.finishing:
            live.finishing = True
            task = self._do(self._finish(live, worker, report, sizes))
            self._finishing[report.key] = task
            task.add_done_callback(lambda _: self._finishing.pop(report.key))

    async def _heard(self, keys: set[Key]) -> None:
        """When the output of these has been taken, too."""
        if tasks := [task for key, task in self._finishing.items() if key in keys]:
            await asyncio.wait(tasks, timeout=LONGEST_FINISH)

    async def _finish(self, live: Live, worker: str, report: Ended, sizes: tuple[int, int]) -> None:
        """Without the rest of what it has printed it has not ended."""
        if not await self._outputs.take_rest(live, worker, sizes):
            self._lose(report.key, f"its output was lost with its worker {worker}")
        if not live.over:
            self._conclude(live, report)

    def _conclude(self, live: Live, report: Ended) -> None:
        self._outputs.finish(live)
        end = self.book.ended(report)
        if isinstance(end, Ended):
            self._answer(end._replace(output=live.output), live)

    def _lose(self, key: Key, why: str) -> None:
        live = self.book.live.get(key)
        if live is not None:
            self._was_lost.add(key.seq)
            self._outputs.finish(live)
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
            self._link.loop.call_later(LONGEST_SILENCE, self._give_up, key, live)
        if not self._obeying:
            self._obeying = True
            self._do(self._obey())

    async def _obey(self) -> None:
        """Tells the workers; what none of them has begun is taken back."""
        while self._stops:
            wanted, self._stops = self._stops, {}
            lives = [live for key in wanted if (live := self.book.live.get(key)) is not None]
            known = {live.worker for live in lives}
            answers = await self._link.stop(list(wanted.items()), None if "" in known else list(known))
            met = {Key(*key) for answer in answers or () for key in answer}
            for live in lives if answers is not None else ():
                key = live.attempt.key
                if key not in met and not live.nonce and not live.over:
                    self._answer(self.book.withdrawn(key, self._now()), live)
        self._obeying = False

    def _give_up(self, key: Key, live: Live) -> None:
        if not live.over:
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
        workers, before = self._link.workers, self._lacking
        self._lacking = {worker: facts.lacks for worker, facts in workers.items() if facts.lacks}
        for worker, lacks in self._lacking.items():
            if worker not in before:
                self._say(f"worker {worker} gets no more jobs for now: it {lacks}")
        for worker in workers.keys() & before.keys() - self._lacking.keys():
            self._say(f"worker {worker} can write again, and gets jobs")
        if self._lacking != before and len(self._lacking) == len(workers):
            self._say(f"no worker of the cluster can write: the run waits until one can. {self._how_to_end}")
        self._reporter.post()

    def _away(self, seconds: float) -> None:
        self._say(
            f"the scheduler at {self._link.address.url} has not answered for {duration_text(seconds)}: the run "
            f"waits for it. {self._how_to_end}"
        )

    def _broke(self, why: str) -> None:
        if not self._closed:
            self._say(f"{why}; the run waits for it to come back. {self._how_to_end}".rstrip())
        for key, live in list(self.book.live.items()):
            if live.future is not None:  # else it was never sent, and waits
                self._lose(key, why)
        self._reporter.post()

    def _back(self) -> None:
        self._judges_at = self._now() + PATIENCE_AFTER_BREAK  # workers come back one by one
        self._sender.back()

    def _ask_about(self) -> None:
        self._asked_about = {key for key, live in self.book.live.items() if live.future is not None}

    def _counted(self, known: set[tuple[int, int]]) -> None:
        for key in self.book.missing({Key(*own) for own in known}, self._asked_about):
            self._lose(key, "the scheduler does not know it any more")

    # Small things

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
