# SPDX-License-Identifier: LGPL-3.0-or-later
"""The connection to a Dask cluster: made, checked, watched, and made again after a break.

The connection has a thread of its own with an event loop. All communication with the cluster happens on that thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pickle
import warnings
from collections.abc import Awaitable, Callable, Coroutine
from math import inf
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from pqrun.core.errors import InternalFailure, UserError
from pqrun.core.job import AttemptId
from pqrun.engine.threads import start_thread
from pqrun.executors.dask.address import Address, check_versions, security_of

if TYPE_CHECKING:
    from pqrun.executors.dask.worker_plugin import RunConfig


Answered = TypeVar("Answered")


async def result_of(work: Awaitable[Answered], seconds: float | None = None) -> Answered | None:
    """Return the result of `work`, None if it fails or takes longer than `seconds`.

    An error stays in the task and is not raised here: on a broken connection Dask also cancels tasks, and a
    cancellation must not spread to the caller.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        if not task.done():
            task.cancel()
    return None if not task.done() or task.cancelled() or task.exception() else task.result()


def in_words(error: BaseException) -> str:
    """Return a network error as one line of at most 300 characters."""
    while error.__cause__ is not None and isinstance(error, OSError) and not error.errno:
        error = error.__cause__
    why = error.strerror if isinstance(error, OSError) else None
    return " ".join((why or str(error) or type(error).__name__).split())[:300]


T = TypeVar("T")
Stops = list[tuple[AttemptId, bool]]
CONNECT_TIMEOUT_SECONDS = 10.0
FIRST_CONNECT_TIMEOUT_SECONDS = 5.0
POLL_INTERVAL_SECONDS = 0.1
MISSING_CHECK_INTERVAL_SECONDS = 10.0
RECONNECT_INTERVAL_SECONDS = 0.3
QUERY_TIMEOUT_SECONDS = 3.0
CLOSE_TIMEOUT_SECONDS = 2.0
PROBE_TIMEOUT_SECONDS = 1.0
LONG_SILENCE_SECONDS = 30.0
SILENCE_REMINDER_SECONDS = 600.0
FIRST_MESSAGE_WAIT_SECONDS = 0.1


class WorkerFacts(NamedTuple):
    """The slots and resources of a worker. `lacks`: why the worker gets no jobs now, or empty."""

    slots: int
    resources: dict[str, float]
    lacks: str = ""


class ConnectionListener(Protocol):
    """The receiver of what comes through the connection. Called on the connection's thread."""

    def on_message(
        self, kind: str, seq: int, attempt: int, nonce: str, worker: str, told: bytes, /
    ) -> object:
        """Handle a message of a worker plugin or the scheduler plugin."""

    async def on_batch_end(self, keys: set[AttemptId], /) -> None:
        """Wait until the messages on these attempts were handled."""

    def on_workers_changed(self) -> None:
        """Handle a change of the workers or their slots."""

    def on_disconnect(self, why: str, /) -> None:
        """Handle the break of the connection."""

    def on_silence(self, seconds: float, /) -> None:
        """Handle a scheduler that has not answered for a time."""

    def on_reconnect(self) -> None:
        """Handle the return of the connection."""

    def before_count(self) -> None:
        """Note which attempts the scheduler is about to be asked for."""

    def on_keys_counted(self, known: set[tuple[int, int]], /) -> None:
        """Handle the scheduler's answer: the attempts that it knows."""

    def on_failure(self, error: BaseException, /) -> None:
        """Handle a bug in pqrun."""


class SchedulerConnection:
    """The connection of a run. `client`: the present Dask client, None while the scheduler is away."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.client: Any = None
        self.name = ""
        self.workers: dict[str, WorkerFacts] = {}
        self.slots = 0
        self.loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._work, name="pqrun-dask", daemon=True)
        self._comm: Any = None
        self._hears = asyncio.Event()
        self._generation = 0
        self._silent_since = 0.0
        self._tell_at = inf
        self._watching: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Connect. Raises UserError if there is no scheduler, or one with an unsuitable version."""
        try:
            import distributed
        except ImportError:
            raise UserError(
                f"--on {self.address.given} needs Dask, which is not installed here: "
                "pip install 'pqrun-cli[dask]'"
            ) from None
        for name in (
            "distributed",
            *(n for n in logging.root.manager.loggerDict if n.startswith("distributed.")),
        ):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # pqrun reports problems itself
        self._here = distributed.__version__
        start_thread(self._thread)
        try:
            self.wait_for(self._first())
        except BaseException:
            self.close()
            raise

    def begin(self, run_config: RunConfig, listener: ConnectionListener) -> None:
        """Install the run on the cluster. Raises InternalFailure if the cluster refuses it."""
        self._run_config, self._listener = run_config, listener
        try:
            self.wait_for(self._join())
        except Exception as error:
            raise InternalFailure(f"{self.address.given} rejected the run: {in_words(error)}") from error

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call a function on the connection's thread soon. Never waits."""
        with contextlib.suppress(RuntimeError):  # the loop is closed, so the run has ended
            self.loop.call_soon_threadsafe(function, *arguments)

    def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the connection's thread and wait for its result. Called on other threads."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    async def ask_workers(
        self, function: Callable[..., T], *arguments: Any, workers: list[str] | None = None
    ) -> list[T]:
        """Call a function on these workers and return their answers.

        The answers of unreachable workers are missing.
        """
        if self.client is None:
            return []
        asked = self.client.run(function, self.name, *arguments, workers=workers, on_error="ignore")
        answers = await result_of(asked) or {}  # None: the connection breaks, or these workers are gone
        return [answer for answer in answers.values() if answer is not None]

    async def stop(self, wanted: Stops, workers: list[str] | None = None) -> list[list[AttemptId]] | None:
        """Stop attempts on the workers.

        Returns, for each worker, the attempts that it has or had. Returns None if the scheduler doesn't
        answer; then the workers are asked directly, and their reports of ended attempts are handled too.
        """
        from pqrun.executors.dask.worker_plugin import stop_here

        answers = await result_of(self.ask_workers(stop_here, wanted, workers=workers), QUERY_TIMEOUT_SECONDS)
        if answers is None:
            stop = [[*key, force] for key, force in wanted]
            await asyncio.gather(*(self._hear_the_rest(worker, stop=stop) for worker in list(self.workers)))
        return answers

    async def read(self, worker: str, key: AttemptId, stream: int, start: int) -> tuple[bytes, bool] | None:
        """Return a piece of an attempt's output and whether there is more, None if it can't be fetched."""
        from pqrun.executors.dask.worker_plugin import read_here

        answers: list[tuple[bytes, bool]] = await self.ask_workers(
            read_here, key, stream, start, workers=[worker]
        )
        if answers:
            return answers[0]
        answer = await self._ask_past(worker, key=[*key], stream=stream, start=start)
        return None if answer is None else (bytes(answer[0]), answer[1])

    def close(self) -> None:
        """Disconnect, which ends the rest of the run on the cluster."""
        if self._thread.is_alive():
            with contextlib.suppress(Exception):
                self.wait_for(self._leave())
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
        if not self.loop.is_closed():
            self.loop.close()

    def _work(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    async def _first(self) -> None:
        given = self.address.given
        try:
            async with asyncio.timeout(FIRST_CONNECT_TIMEOUT_SECONDS):
                there = await check_versions(self.address, self._here)
        except UserError:
            raise
        except TimeoutError:
            raise UserError(
                f"--on {given}: no Dask scheduler answers at {self.address.url} within {FIRST_CONNECT_TIMEOUT_SECONDS:g} s"
            ) from None
        except Exception as error:
            raise UserError(
                f"--on {given}: no Dask scheduler answers at {self.address.url}: {in_words(error)}"
            ) from None
        try:
            self.client = await self._connected(CONNECT_TIMEOUT_SECONDS)
        except Exception as error:
            raise UserError(
                f"--on {given}: distributed {self._here} here and {there} there are incompatible: "
                f"{in_words(error)}"
            ) from None
        self._comm = self.client.scheduler_comm
        offered = await self.client.nthreads()
        self.workers = {worker: WorkerFacts(slots, {}) for worker, slots in offered.items()}
        self.slots = sum(offered.values())

    async def _connected(self, timeout: float) -> Any:
        from distributed import Client

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return await Client(
                self.address.url, security=security_of(self.address), asynchronous=True, set_as_default=False,
                timeout=timeout, name=f"pqrun-{os.getpid()}",
            )  # fmt: skip

    async def _join(self) -> None:
        """Install the plugins on the cluster and subscribe to their messages."""
        from pqrun.executors.dask.scheduler_plugin import RunWatchPlugin, tell_workers
        from pqrun.executors.dask.worker_plugin import JobRunnerPlugin

        self._generation += 1
        run_config = self._run_config
        # A new name for each connection: the plugins of the last one may still be shutting down.
        self.name = name = f"pqrun-{run_config.run_id}-{self._generation}"
        self._hears.clear()
        self.client.subscribe_topic(name, self._hear)
        await self.client.register_plugin(JobRunnerPlugin(run_config._replace(name=name)), name=name)
        await self.client.register_plugin(RunWatchPlugin(name, run_config.run_id, self.client.id), name=name)
        # Dask does not acknowledge a subscription. Request messages until one arrives, or later ones could
        # be lost.
        async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
            while not await self._is_hearing():
                await self.client.run_on_scheduler(tell_workers, name)
        if self._watching is None:
            self._watching = self.loop.create_task(self._watch())
            self._watching.add_done_callback(self._watch_ended)

    async def _is_hearing(self) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_MESSAGE_WAIT_SECONDS):
                await self._hears.wait()
        return self._hears.is_set()

    def _hear(self, event: tuple[float, Any]) -> None:
        for kind, seq, attempt, nonce, worker, told in event[1]:
            if kind == "workers":
                self._hears.set()
                self.workers = {name: WorkerFacts(*facts) for name, facts in pickle.loads(told).items()}
                self.slots = sum(facts.slots for facts in self.workers.values() if not facts.lacks)
                self._listener.on_workers_changed()
            else:
                self._listener.on_message(kind, seq, attempt, nonce, worker, told)

    async def _watch(self) -> None:
        """Reconnect when the connection breaks, and regularly ask which attempts the scheduler knows."""
        look = self.loop.time() + MISSING_CHECK_INTERVAL_SECONDS
        while True:
            await asyncio.sleep(POLL_INTERVAL_SECONDS)
            if self._is_broken():
                await self._make_again()
            elif self.loop.time() >= look:
                look = self.loop.time() + MISSING_CHECK_INTERVAL_SECONDS
                await self._count()

    def _watch_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._listener.on_failure(error)

    async def _count(self) -> None:
        from pqrun.executors.dask.scheduler_plugin import known_keys

        self._listener.before_count()
        asked_at = self.loop.time()
        known = await result_of(
            self.client.run_on_scheduler(known_keys, self._run_config.run_id), CONNECT_TIMEOUT_SECONDS
        )
        if known is not None:
            self._tell_at = inf
            self._listener.on_keys_counted({(key[0], key[1]) for key in known})
        else:
            self._is_silent(asked_at)

    def _is_silent(self, since: float) -> None:
        """Report a scheduler that is away or does not answer.

        The first report comes after LONG_SILENCE_SECONDS seconds, the next ones every SILENCE_REMINDER_SECONDS seconds.
        """
        if self._tell_at == inf:
            self._silent_since, self._tell_at = since, since + LONG_SILENCE_SECONDS
        elif self.loop.time() >= self._tell_at:
            self._tell_at = self.loop.time() + SILENCE_REMINDER_SECONDS
            self._listener.on_silence(self.loop.time() - self._silent_since)

    def _is_broken(self) -> bool:
        client = self.client
        # Dask reconnects by itself, but without our plugins and subscriptions. So compare the comm as well.
        return client.status != "running" or client.scheduler_comm is not self._comm or self._comm.closed()

    async def _ask_past(self, worker: str, **question: Any) -> Any:
        """Ask a worker directly, without the scheduler. Returns None if it can't be reached."""
        from distributed.core import rpc

        arguments = security_of(self.address).get_connection_args("client")

        async def ask() -> Any:
            async with rpc(worker, timeout=PROBE_TIMEOUT_SECONDS, connection_args=arguments) as there:
                return await getattr(there, self.name)(**question)

        return await result_of(ask(), QUERY_TIMEOUT_SECONDS)

    async def _hear_the_rest(self, worker: str, **question: Any) -> None:
        """Handle the reports of a worker that the scheduler has not passed on."""
        facts = await self._ask_past(worker, **question)
        for fact in facts or ():
            self._listener.on_message(*fact)
        if facts:
            await self._listener.on_batch_end({AttemptId(*fact[1:3]) for fact in facts})
            await self._ask_past(worker, heard=[fact[1:3] for fact in facts])  # the worker waits for this

    async def _make_again(self) -> None:
        client, self.client = self.client, None
        workers, self.workers, self.slots = list(self.workers), {}, 0
        await asyncio.gather(*map(self._hear_the_rest, workers))
        self._listener.on_disconnect(f"the connection to the scheduler at {self.address.url} broke")
        await result_of(client._close(fast=True), CLOSE_TIMEOUT_SECONDS)
        self._tell_at = inf
        since = self.loop.time()
        while not await result_of(self._enter(), CONNECT_TIMEOUT_SECONDS + CONNECT_TIMEOUT_SECONDS):
            self._is_silent(since)
            client, self.client = self.client, None
            if client is not None:
                await result_of(client._close(fast=True), CLOSE_TIMEOUT_SECONDS)
            await asyncio.sleep(RECONNECT_INTERVAL_SECONDS)
        self._tell_at = inf
        self._listener.on_reconnect()

    async def _enter(self) -> bool:
        self.client = await self._connected(CONNECT_TIMEOUT_SECONDS)
        self._comm = self.client.scheduler_comm
        await self._join()
        return True

    async def _leave(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self.client is not None:
            await result_of(self.client._close(), CLOSE_TIMEOUT_SECONDS)
