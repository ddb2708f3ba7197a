# SPDX-License-Identifier: LGPL-3.0-or-later
"""The executor that runs attempts on the workers of a Dask cluster.

The executor never blocks a turn: each request is passed to the connection's thread, which sends it, receives the
answers and posts them. pqrun keeps the decisions on priorities, retries and limits; Dask gets only a few
attempts ahead.
"""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Coroutine, Mapping
from math import inf
from typing import Any

from pqrun.core.job import Attempt, AttemptId, LostExit
from pqrun.core.notices import ProcessFinished, StartRejected
from pqrun.core.text import format_duration
from pqrun.engine.clock import Clock
from pqrun.engine.executor import Reporter
from pqrun.engine.live_run import JobStdin
from pqrun.executors.dask.attempts import RemoteAttempt, RemoteAttempts
from pqrun.executors.dask.connection import SchedulerConnection
from pqrun.executors.dask.transfer import RemoteOutputs, SubmissionBatcher
from pqrun.executors.dask.worker_plugin import RunConfig
from pqrun.output.store import Capture, Logs

ATTEMPTS_PER_SLOT = 4
MAX_SILENCE_SECONDS = 30.0
CLOSE_TIMEOUT_SECONDS = 8.0
FINISH_TIMEOUT_SECONDS = 5.0


class DaskExecutor:
    """The executor of a run on a cluster, and the listener of its connection.

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
        limit: int | None = None,
        say: Callable[[str], object] = lambda _text: None,
        how_to_end: str = "",
    ) -> None:
        self.attempts = RemoteAttempts()
        self._connection = link
        self._run_config = run_config
        self._clock = clock
        self._reporter = reporter
        self._limit = limit
        self._say = say
        self._how_to_end = how_to_end
        self._lacking: dict[str, str] = {}
        self._ahead: dict[str, float] = {}
        self._stops: dict[AttemptId, bool] = {}
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._finishing: dict[AttemptId, asyncio.Task[None]] = {}
        self._asked_about: set[AttemptId] = set()
        self._closed = False
        self._sender = SubmissionBatcher(link, run_config.run_id, self.attempts, clock, self._lose)
        self._outputs = RemoteOutputs(link, reporter, logs, follow=run_config.follow, do=self._do)

    def open(self) -> None:
        """Install the run on the cluster."""
        self._connection.begin(self._run_config, self)

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
        self._limit = count

    def start(self, attempt: Attempt) -> None:
        self._connection.call(self._begin, attempt)

    def stop(self, key: AttemptId, *, force: bool) -> None:
        self._connection.call(self._ask_to_stop, key, force)

    def signal(self, key: AttemptId, name: str) -> None:
        """Do nothing: the processes are on other machines, so `pids` lists none."""

    def output_of(self, key: AttemptId) -> Capture | None:
        """Return the output of a running attempt as far as it was fetched, None if there is none."""
        live = self.attempts.live.get(key)
        return None if live is None else live.output

    def stdin_of(self, key: AttemptId) -> JobStdin | None:
        """Return None: such jobs are refused, because their process is on another machine."""
        return None

    def pids(self) -> Mapping[AttemptId, int]:
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
            self._sender.put(live)

    async def _submit_where_possible(self, live: RemoteAttempt) -> None:
        why = await self._sender.put_where_possible(live)
        if why:
            self._say(f"job {live.attempt.spec.id}: {why}")
            self._answer(self.attempts.impossible(live.attempt.key, why, self._now()))

    def on_message(self, kind: str, seq: int, attempt: int, nonce: str, worker: str, told: bytes) -> None:
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

    async def on_batch_end(self, keys: set[AttemptId]) -> None:
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

    def on_workers_changed(self) -> None:
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

    def on_silence(self, seconds: float) -> None:
        self._say(
            f"the scheduler at {self._connection.address.url} has not answered for {format_duration(seconds)}: the run "
            f"waits for it. {self._how_to_end}"
        )

    def on_disconnect(self, why: str) -> None:
        if not self._closed:
            self._say(f"{why}; the run waits for it to come back. {self._how_to_end}".rstrip())
        for key, live in list(self.attempts.live.items()):
            if live.future is not None:  # without a future it was never sent, and waits for the reconnect
                self._lose(key, why)
        self._reporter.post()

    def on_reconnect(self) -> None:
        self._sender.reconnected()

    def on_failure(self, error: BaseException) -> None:
        self._reporter.fail(error)

    def before_count(self) -> None:
        self._asked_about = {key for key, live in self.attempts.live.items() if live.future is not None}

    def on_keys_counted(self, known: set[tuple[int, int]]) -> None:
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
            self._reporter.fail(error)

    def _now(self) -> float:
        return self._clock.now()
