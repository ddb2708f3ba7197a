# SPDX-License-Identifier: LGPL-3.0-or-later
"""The executor that runs attempts on the workers of a Dask cluster.

The executor never blocks a turn: each request is passed to the connection's thread, which sends it, receives the
answers and posts them. pqrun keeps the decisions on priorities, retries and limits; Dask gets only a few
attempts ahead.
"""

from __future__ import annotations

import asyncio
import pickle
from collections import defaultdict
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any

from pqrun.core.job import Attempt, AttemptId, LostExit
from pqrun.core.notices import ProcessFinished, StartRejected
from pqrun.core.text import format_duration
from pqrun.engine.clock import Clock
from pqrun.engine.executor import Reporter
from pqrun.executors.dask.attempts import RemoteAttempt, RemoteAttempts
from pqrun.executors.dask.connection import ConnectionCallbacks, SchedulerConnection
from pqrun.executors.dask.output import RemoteOutputs
from pqrun.executors.dask.worker_plugin import RunConfig, run_attempt
from pqrun.output.store import Logs

DASK_PRIORITY = 10
SEND_INTERVAL_SECONDS = 0.01


class SubmissionBatcher:
    """A batcher of attempts for Dask.

    Sending several attempts costs Dask about as much as sending one. So while the cluster has enough
    attempts, a new one waits up to SEND_INTERVAL_SECONDS for others.
    """

    def __init__(
        self, link: SchedulerConnection, run_id: str, failed: Callable[[AttemptId, str], None]
    ) -> None:
        self._link = link
        self._run_id = run_id
        self._failed = failed
        self._outbox: list[tuple[RemoteAttempt, bool]] = []
        self._due = False

    def put(self, live: RemoteAttempt, *, again: bool, there: int) -> None:
        """Add an attempt.

        `again`: its job was lost before, so it goes ahead of others with the same priority. `there`: the
        number of attempts that are on the cluster or on their way.
        """
        self._outbox.append((live, again))
        if not self._due and self._link.client is not None:
            self._due = True
            if there - len(self._outbox) >= 2 * self._link.slots:
                self._link.loop.call_later(SEND_INTERVAL_SECONDS, self._send)
            else:
                self._link.loop.call_soon(self._send)

    def back(self) -> None:
        """Send the waiting attempts, since the scheduler is back."""
        self._send()

    def _send(self) -> None:
        self._due = False
        if self._link.client is None:
            return
        outbox, self._outbox = self._outbox, []
        alike: dict[tuple[int, tuple[tuple[str, int], ...]], list[RemoteAttempt]] = defaultdict(list)
        for live, again in outbox:
            if not live.over:
                spec = live.attempt.spec
                alike[spec.priority * DASK_PRIORITY + again, spec.pools].append(live)
        for (priority, pools), lives in alike.items():
            try:
                futures = self._link.client.map(
                    run_attempt,
                    [self._link.name] * len(lives),
                    [pickle.dumps(live.attempt) for live in lives],
                    key=[(self._run_id, *live.attempt.key) for live in lives],
                    pure=False, retries=0, priority=priority, resources=dict(pools) or None,
                )  # fmt: skip
            except Exception as error:  # the connection is breaking, which `connection` will notice
                for live in lives:
                    self._failed(live.attempt.key, f"it could not be sent: {error}")
                continue
            for live, future in zip(lives, futures, strict=True):
                live.future = future


ATTEMPTS_PER_SLOT = 4
RESOURCES_TIMEOUT_SECONDS = 3.0
RESOURCES_CHECK_INTERVAL_SECONDS = 0.25
MAX_SILENCE_SECONDS = 30.0
CLOSE_TIMEOUT_SECONDS = 8.0
FINISH_TIMEOUT_SECONDS = 5.0
RECONNECT_TIMEOUT_SECONDS = 30.0


class DaskExecutor:
    """The executor of a run on a cluster.

    `limit`: the most attempts at a time, None for as many as the cluster has slots. `say` shows a message to
    the user. `how_to_end`: a sentence that is added to messages about a run that can only wait.
    """

    def __init__(
        self,
        link: SchedulerConnection,
        run_config: RunConfig,
        *,
        clock: Clock,
        reporter: Reporter,
        logs: Logs,
        fail: Callable[[BaseException], None],
        limit: int | None = None,
        say: Callable[[str], object] = lambda _text: None,
        how_to_end: str = "",
    ) -> None:
        self.attempts = RemoteAttempts()
        self._connection = link
        self._run_config = run_config
        self._clock = clock
        self._reporter = reporter
        self._fail = fail
        self._limit = limit
        self._say = say
        self._how_to_end = how_to_end
        self._lacking: dict[str, str] = {}
        self._ahead: dict[str, float] = {}
        self._was_lost: set[int] = set()
        self._stops: dict[AttemptId, bool] = {}
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._finishing: dict[AttemptId, asyncio.Task[None]] = {}
        self._asked_about: set[AttemptId] = set()
        self._closed = False
        self._judges_at = -inf
        self._sender = SubmissionBatcher(link, run_config.run_id, self._lose)
        self._outputs = RemoteOutputs(link, reporter, logs, follow=run_config.follow, fail=fail, do=self._do)

    def open(self) -> None:
        """Install the run on the cluster."""
        ears = ConnectionCallbacks(
            self._hear, self._heard, self._changed, self._broke, self._away, self._back, self._counted,
            self._ask_about, self._fail,
        )  # fmt: skip
        self._connection.begin(self._run_config, ears)

    # The executor's methods, called on any thread

    def capacity(self) -> int:
        """Return how many attempts may be on the cluster: some more than slots, so that no slot is idle.

        A limit below the number of slots counts instead.
        """
        slots, limit = self._connection.slots, self._limit
        return limit if limit is not None and limit < slots else slots * ATTEMPTS_PER_SLOT

    @property
    def slots(self) -> int:
        """The number of attempts that can run at a time."""
        slots, limit = self._connection.slots, self._limit
        return slots if limit is None else min(slots, limit)

    def resize(self, count: int) -> None:
        """Change the limit of attempts at a time."""
        self._limit = count

    def start(self, attempt: Attempt) -> None:
        """Send an attempt to the cluster."""
        self._connection.call(self._begin, attempt)

    def stop(self, key: AttemptId, *, force: bool) -> None:
        """Ask an attempt to end, or kill it, wherever it is."""
        self._connection.call(self._ask_to_stop, key, force)

    def output_of(self, key: AttemptId) -> Any:
        """Return the output of a running attempt as far as it was fetched, None if there is none."""
        live = self.attempts.live.get(key)
        return None if live is None else live.output

    def live(self) -> list[Any]:
        """Return no tasks: jobs on other machines are not suspended together with pqrun."""
        return []

    def leaders(self) -> dict[AttemptId, int]:
        """Return no pids: no attempt is a process of this machine."""
        return {}

    def close(self) -> None:
        """End the running attempts and close the connection."""
        if not self._closed:
            self._closed = True
            self._connection.wait_for(self._end_all())
            self._connection.close()

    # Called on the connection's thread

    def _begin(self, attempt: Attempt) -> None:
        live = self.attempts.submit(attempt)
        spec = attempt.spec
        if spec.slots > 1:
            self._answer(
                self.attempts.impossible(attempt.key, "a job on a cluster takes one slot", self._now())
            )
        elif spec.pools:
            self._do(self._submit_where_possible(live))
        else:
            self._submit(live)

    async def _submit_where_possible(self, live: RemoteAttempt) -> None:
        """Wait up to 3 seconds for a worker with the job's resources, then send or reject the job."""
        key, wanted = live.attempt.key, live.attempt.spec.pools
        until = self._now() + RESOURCES_TIMEOUT_SECONDS
        while not live.over:
            offers = [facts.resources for facts in self._connection.workers.values()]
            if any(all(offer.get(name, 0) >= count for name, count in wanted) for offer in offers):
                return self._submit(live)
            if self._connection.client is None:
                until = self._now() + RESOURCES_TIMEOUT_SECONDS
            elif self._now() >= max(until, self._judges_at):
                asks = " ".join(f"{name}={count}" for name, count in wanted)
                why = (
                    f"no worker of the cluster has {asks}: start one with `dask worker --resources '{asks}'`"
                )
                self._say(f"job {live.attempt.spec.id}: {why}")
                return self._answer(self.attempts.impossible(key, why, self._now()))
            await asyncio.sleep(RESOURCES_CHECK_INTERVAL_SECONDS)

    def _submit(self, live: RemoteAttempt) -> None:
        again = live.attempt.key.seq in self._was_lost
        self._sender.put(live, again=again, there=len(self.attempts.live))

    def _hear(self, kind: str, seq: int, attempt: int, nonce: str, worker: str, told: bytes) -> None:
        """Handle a message from the cluster. A message on an answered attempt is dropped."""
        key = AttemptId(seq, attempt)
        live = self.attempts.live.get(key)
        if kind == "gone":
            self._lose(key, told.decode())
        if kind == "gone" or live is None:
            return
        there, *facts = pickle.loads(told)
        now = self._now()
        # Our clock minus the worker's. The difference includes the way of the message, so the fastest message
        # gives the best estimate.
        ahead = self._ahead[worker] = min(now - there, self._ahead.get(worker, inf))
        match kind:
            case "started":
                (started,) = facts
                news = self.attempts.started(key, nonce, worker, started.where, started.at + ahead)
                if news is not None:  # as on this machine, a start wakes no thread without `prompt`
                    self._reporter.post(news, urgent=self._run_config.prompt)
            case "news":
                self._reporter.post(facts[0])
            case "refused":
                self._answer(self.attempts.ended(facts[0]), live)
            case "grew":
                self._outputs.grew(live, worker)
            case "ended":
                report, sizes, within = facts
                if (
                    isinstance(report.exit, LostExit) and report.exit.worker_lost
                ):  # the worker is at fault, and has reported so
                    return self._lose(key, report.exit.why)
                began = live.began if live.nonce == nonce and live.began is not None else report.began + ahead
                ended = min(now, began + report.ended - report.began)
                report = report._replace(began=began, ended=max(began, ended))
                self._ended(live, worker, report, sizes, within)

    def _ended(
        self,
        live: RemoteAttempt,
        worker: str,
        report: ProcessFinished,
        sizes: tuple[int, int],
        within: tuple[bytes, bytes],
    ) -> None:
        if sum(sizes) == sum(map(len, within)) and self._outputs.take_at_once(live, within):
            self._conclude(live, report)
        elif not live.finishing:
            live.finishing = True
            task = self._do(self._finish(live, worker, report, sizes))
            self._finishing[report.key] = task
            task.add_done_callback(lambda _: self._finishing.pop(report.key))

    async def _heard(self, keys: set[AttemptId]) -> None:
        """Wait until the output of these attempts was fetched, up to 5 seconds."""
        if tasks := [task for key, task in self._finishing.items() if key in keys]:
            await asyncio.wait(tasks, timeout=FINISH_TIMEOUT_SECONDS)

    async def _finish(
        self, live: RemoteAttempt, worker: str, report: ProcessFinished, sizes: tuple[int, int]
    ) -> None:
        """Fetch the rest of the output, then end the attempt.

        If the output can't be fetched any more, the attempt is lost.
        """
        if not await self._outputs.take_rest(live, worker, sizes):
            self._lose(report.key, f"its output was lost with its worker {worker}")
        if not live.over:
            self._conclude(live, report)

    def _conclude(self, live: RemoteAttempt, report: ProcessFinished) -> None:
        self._outputs.finish(live)
        end = self.attempts.ended(report)
        if isinstance(end, ProcessFinished):
            self._answer(end._replace(output=live.output), live)

    def _lose(self, key: AttemptId, why: str) -> None:
        live = self.attempts.live.get(key)
        if live is not None:
            self._was_lost.add(key.seq)
            self._outputs.finish(live)
            self._answer(self.attempts.lost(key, why, self._now()), live)

    def _answer(
        self, news: ProcessFinished | StartRejected | None, live: RemoteAttempt | None = None
    ) -> None:
        """Post the notice that ends an attempt, and release its key in Dask."""
        if live is not None and live.future is not None:
            live.future.release()
            live.future = None
        if news is not None:
            self._reporter.post(news)

    # Stopping attempts

    def _ask_to_stop(self, key: AttemptId, force: bool) -> None:
        live = self.attempts.live.get(key)
        if live is None or live.forced or (live.asked and not force):
            return
        live.asked, live.forced = True, force
        self._stops[key] = force
        if force:
            self._connection.loop.call_later(MAX_SILENCE_SECONDS, self._give_up, key, live)
        if not self._stopping:
            self._stopping = True
            self._do(self._carry_out_stop())

    async def _carry_out_stop(self) -> None:
        """Pass the stops to the workers. Attempts that no worker has started are taken back."""
        while self._stops:
            wanted, self._stops = self._stops, {}
            lives = [live for key in wanted if (live := self.attempts.live.get(key)) is not None]
            known = {live.worker for live in lives}
            answers = await self._connection.stop(list(wanted.items()), None if "" in known else list(known))
            met = {AttemptId(*key) for answer in answers or () for key in answer}
            for live in lives if answers is not None else ():
                key = live.attempt.key
                if key not in met and not live.nonce and not live.over:
                    self._answer(self.attempts.never_started(key, self._now()), live)
        self._stopping = False

    def _give_up(self, key: AttemptId, live: RemoteAttempt) -> None:
        if not live.over:
            self._lose(key, f"its worker {live.worker} does not answer")

    async def _end_all(self) -> None:
        for key in list(self.attempts.live):
            self._ask_to_stop(key, True)
        until = self._now() + CLOSE_TIMEOUT_SECONDS
        while self.attempts.live and self._connection.client is not None and self._now() < until:
            await asyncio.sleep(0.01)
        for key in list(self.attempts.live):
            self._lose(key, "the run was ended, and its worker did not answer")
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Changes of the cluster

    def _changed(self) -> None:
        workers, before = self._connection.workers, self._lacking
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
            f"the scheduler at {self._connection.address.url} has not answered for {format_duration(seconds)}: the run "
            f"waits for it. {self._how_to_end}"
        )

    def _broke(self, why: str) -> None:
        if not self._closed:
            self._say(f"{why}; the run waits for it to come back. {self._how_to_end}".rstrip())
        for key, live in list(self.attempts.live.items()):
            if live.future is not None:  # without a future it was never sent, and waits for the reconnect
                self._lose(key, why)
        self._reporter.post()

    def _back(self) -> None:
        self._judges_at = self._now() + RECONNECT_TIMEOUT_SECONDS  # until then workers may still be missing
        self._sender.back()

    def _ask_about(self) -> None:
        self._asked_about = {key for key, live in self.attempts.live.items() if live.future is not None}

    def _counted(self, known: set[tuple[int, int]]) -> None:
        for key in self.attempts.missing({AttemptId(*own) for own in known}, self._asked_about):
            self._lose(key, "the scheduler does not know it any more")

    # Helpers

    def _do(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._connection.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _now(self) -> float:
        return self._clock.now()
