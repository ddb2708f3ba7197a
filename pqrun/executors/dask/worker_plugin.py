# SPDX-License-Identifier: LGPL-3.0-or-later
"""What pqrun adds to a Dask worker for one run: the same runner as on this machine, and a guardian.

Runs in the worker's process. A guardian process ends at once what runs there if the worker dies, in
whatever way; whatever is neither reported nor asked to end by pqrun itself is left to be lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pickle
import shutil
import signal
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Event, Lock
from typing import Any, NamedTuple

from distributed import Reschedule, get_worker
from distributed.diagnostics.plugin import WorkerPlugin

from pqrun.core.errors import InternalFailure
from pqrun.core.job import Attempt, AttemptId, Exit, ExitedWith, KilledBySignal, LostExit
from pqrun.core.notices import ExecutorNotice, OutputAdvanced, ProcessFinished, ProcessStarted, StartRejected
from pqrun.engine.clock import SystemClock
from pqrun.executors.dask.worker_disk import WorkerDisk, may_be_disk_full
from pqrun.executors.dask.worker_messages import MessageBatcher
from pqrun.executors.local.child import Child, ChildContext
from pqrun.executors.local.cleanup_embedded import ScanningCleanup
from pqrun.executors.local.command import CommandBuilder
from pqrun.executors.local.watchdog import WatchdogSupervisor
from pqrun.output.store import COPY_CHUNK_BYTES, Capture, Logs

MAX_INLINE_OUTPUT_BYTES = 16 * 1024
MAX_REMEMBERED_ENDS = 10_000
CLOSE_TIMEOUT_SECONDS = 5.0
FINAL_FLUSH_SECONDS = 0.5
REPORT_TIMEOUT_SECONDS = 3.0
POLL_INTERVAL_SECONDS = 0.005
MOMENT = 0.05
UNCERTAIN_SECONDS = 1.0
BATCH_SYSTEM_VARIABLES = frozenset(
    ("SIGTERM", "SIGKILL", "SIGHUP", "SIGINT", "SIGQUIT", "SIGXCPU", "SIGUSR1", "SIGUSR2")
)
CODES_OF_BATCH_SYSTEMS = frozenset(128 + getattr(signal, name) for name in BATCH_SYSTEM_VARIABLES)


class RunConfig(NamedTuple):
    """What all workers have to know of a run. `name` is also the topic under which news are told.

    `follow`: output is told as it comes; `prompt`: starts, status and progress too.
    """

    name: str
    run_id: str
    directory: str
    token: str
    follow: bool
    prompt: bool = False


class WorkerWatchdog(WatchdogSupervisor):
    """A warden without patience: what it guards is begun again elsewhere in this very moment."""

    longest = 0.0


class LocalRun:
    """One start of one attempt, in this worker."""

    __slots__ = ("abandoned", "child", "fetched", "key", "nonce", "output", "reported", "told")

    def __init__(self, key: AttemptId, child: Child) -> None:
        self.key = key
        self.child = child
        self.nonce = os.urandom(6).hex()
        self.output: Capture | None = None
        self.abandoned = self.reported = self.told = False
        self.fetched = Event()


class JobRunnerPlugin(WorkerPlugin):
    """Runs the commands that come to this worker."""

    def __init__(self, run_config: RunConfig) -> None:
        self.name = run_config.name
        self._run_config = run_config

    def setup(self, worker: Any) -> None:
        """Becomes a part of that worker."""
        run_config = self._run_config
        self._worker = worker
        self._host = socket.gethostname()
        self._live: dict[AttemptId, LocalRun] = {}
        self._early: dict[AttemptId, bool] = {}
        self._over: OrderedDict[AttemptId, None] = OrderedDict()
        self._slots: set[int] = set()
        self._lock = Lock()
        self._clock = SystemClock()
        self._asked_at = 0.0
        self._leaving = Event()
        # Other workers of this machine have guardians of their own, which must not end what is ours.
        token = run_config.token + os.urandom(4).hex()
        # Below the worker's own directory, which Dask purges after a worker that was killed.
        self._workspace = f"{worker.local_directory}/pqrun-{os.urandom(6).hex()}"
        self._room = WorkerDisk(self._workspace, self._tell_room)
        self._commands = CommandBuilder(
            run_id=run_config.run_id,
            directory=run_config.directory,
            workspace=self._workspace,
            token=token,
            encode=_as_they_came,
        )
        cleanup = ScanningCleanup(self._commands.marker, self._commands.kept_marker)
        cleanup.open()
        say = logging.getLogger("pqrun").warning
        self._watchdog = WorkerWatchdog(self._commands.marker, cleanup.adopt, tell=say)
        self._watchdog.spawn()
        self._loop = asyncio.get_running_loop()
        self._messages = MessageBatcher(worker, self.name)
        self._room.look()
        worker.handlers[self.name] = self.answer
        self._context = ChildContext(
            clock=self._clock,
            reporter=self,
            commands=self._commands,
            logs=Logs(f"{self._workspace}/logs", keep=False),
            cleanup=cleanup,
            watchdog=self._watchdog,
            follow=run_config.follow,
            prompt=run_config.prompt,
        )

    async def teardown(self, worker: Any) -> None:
        """The run or the worker ends: nothing of it stays here."""
        self._leaving.set()
        stream = worker.batched_stream
        gone = stream is None or stream.comm is None or stream.comm.closed()
        if (
            gone
        ):  # the scheduler is: what has done its last act may still end, and be asked about by pqrun itself
            await _wait_while(self._running, FINAL_FLUSH_SECONDS)
        for here in list(self._live.values()):
            if not (gone and here.reported):
                self._abandon(here)
        await _wait_while(self._running, CLOSE_TIMEOUT_SECONDS)
        if gone:
            self._asked_at = time.monotonic()
            while (
                self._messages.unacknowledged() and time.monotonic() < self._asked_at + REPORT_TIMEOUT_SECONDS
            ):
                await asyncio.sleep(POLL_INTERVAL_SECONDS)
            for here in list(self._live.values()):
                self._abandon(here)
        await _wait_while(lambda: self._live, CLOSE_TIMEOUT_SECONDS)
        worker.handlers.pop(self.name, None)
        if not self._live:
            self._watchdog.close()
        self._context.cleanup.close()
        self._commands.close()
        await self._room.close()
        shutil.rmtree(self._workspace, ignore_errors=True)

    def _running(self) -> bool:
        return not all(here.reported for here in list(self._live.values()))

    def transition(self, key: Any, start: Any, finish: Any, **_: Any) -> None:
        """Whoever wanted it does so no longer: it is killed if it runs, else its end was heard."""
        if finish not in ("released", "cancelled", "forgotten") or type(key) is not tuple:
            return
        if key[0] == self._run_config.run_id and start in ("executing", "memory"):
            own = AttemptId(*key[1:])
            self._messages.acknowledged([own])
            if (here := self._live.get(own)) is not None:
                self._abandon(here)

    # As a `Reporter`

    def post(self, *news: ExecutorNotice, urgent: bool = True) -> None:
        """What the runner says of an attempt on its way."""
        for fact in news:
            here = self._live.get(fact.key)
            if here is None or here.abandoned:
                continue
            if isinstance(fact, OutputAdvanced):
                if not here.told:  # until it was fetched, once is enough
                    here.told = True
                    self._tell("grew", here)
            elif isinstance(fact, ProcessStarted):
                self._tell("started", here, fact._replace(where=self._host))
            else:
                self._tell("news", here, fact)

    turn = post

    # The work

    def run(self, attempt: Attempt) -> None:
        """In a thread of the worker: from the command's start until its output was taken away."""
        if self._room.lacks:  # the scheduler knows, or will in a moment: another worker takes it
            self._leaving.wait(MOMENT)
            raise Reschedule
        here = LocalRun(attempt.key, Child(attempt, self._context))
        with self._lock:
            slot = next(n for n in range(1, len(self._slots) + 2) if n not in self._slots)
            self._slots.add(slot)
            self._live[here.key] = here
            early = self._early.pop(here.key, None)
        if early is not None:
            here.child.stop(force=early)
        try:
            self._report(here, self._done(here, slot))
        finally:
            here.reported = True
            with self._lock:
                self._over[here.key] = None
                if len(self._over) > MAX_REMEMBERED_ENDS:
                    self._over.popitem(last=False)
                self._slots.discard(slot)
                del self._live[here.key]
            if here.output is not None:
                here.output.drop()

    def _done(self, here: LocalRun, slot: int) -> ProcessFinished | StartRejected:
        began = self._clock.now()
        try:
            report = here.child.run(slot)
            if isinstance(report, StartRejected):
                return report
            if not report.stopped and _is_killed(report.exit):
                # Who ends a worker may have begun with what it runs: then that is lost, and not to blame.
                self._leaving.wait(UNCERTAIN_SECONDS)
            if not may_be_disk_full(report.exit):
                return report
        except InternalFailure as failure:
            report = ProcessFinished(here.key, LostExit(str(failure)), False, began, self._clock.now())
        output = here.child.output
        # A command is to blame if there is room as soon as what it has printed is gone; else this worker is.
        if (output is not None and output.on_disk >= COPY_CHUNK_BYTES) or not (lacks := self._room.look()):
            return report
        if output is not None:
            output.drop()
        return report._replace(exit=LostExit(lacks, worker_lost=True), output=None)

    def _report(self, here: LocalRun, report: ProcessFinished | StartRejected) -> None:
        if here.abandoned:
            return
        if isinstance(report, StartRejected):
            self._tell("refused", here, report)
            return
        here.output = output = report.output
        sizes, within = (0, 0), (b"", b"")
        if output is not None:
            sizes = (output.out.size, output.err.size)
            if sum(sizes) <= MAX_INLINE_OUTPUT_BYTES:
                within = (b"".join(output.out.pieces()), b"".join(output.err.pieces()))
        self._tell("ended", here, report._replace(output=None, where=self._host), sizes, within)
        here.reported = True
        if sum(sizes) > MAX_INLINE_OUTPUT_BYTES:
            here.fetched.wait()

    async def answer(
        self, key: Any = None, stream: int = 1, start: int = 0, heard: Any = (), stop: Any = ()
    ) -> Any:
        """What pqrun asks past a scheduler that is gone or silent: for output, or for reports of ends.

        `stop`: of what it wants to end before that.
        """
        self._asked_at = time.monotonic()
        for *own, force in stop:
            self.stop(AttemptId(*own), force=force)
        self._messages.acknowledged(AttemptId(*own) for own in heard)
        if key is not None:
            return self.read(AttemptId(*key), stream, start)
        await _wait_while(self._running, 2 * FINAL_FLUSH_SECONDS)
        return self._messages.unacknowledged()

    def stop(self, key: AttemptId, *, force: bool) -> bool:
        """Asks it to end, or kills it; whether it is here, or was."""
        with self._lock:
            here = self._live.get(key)
            if here is None:
                if key in self._over:
                    return True
                self._early[key] = force or self._early.get(key, False)
                return False
        here.child.stop(force=force)
        return True

    def read(self, key: AttemptId, stream: int, start: int) -> tuple[bytes, bool] | None:
        """What it has printed from there on, a piece of it; whether there is more already."""
        here = self._live.get(key)
        output = None if here is None else here.output or here.child.output
        if here is None or output is None:
            return None
        here.told = False
        source = output.stream(stream)
        end = min(source.size, start + COPY_CHUNK_BYTES)
        return b"".join(source.pieces(start, end)), end < source.size

    def _abandon(self, here: LocalRun) -> None:
        here.abandoned = True
        here.child.stop(force=True)
        here.fetched.set()

    def _tell(self, kind: str, here: LocalRun, *facts: Any) -> None:
        told = pickle.dumps((self._clock.now(), *facts))
        fact = (kind, *here.key, here.nonce, self._worker.address, told)
        self._messages.put(fact, at_once=kind != "started" or self._run_config.prompt)

    def _tell_room(self, lacks: str) -> None:
        self._messages.put(("room", 0, 0, "", self._worker.address, lacks.encode()), at_once=True)


def _as_they_came(text: str) -> bytes:
    """The bytes of a text of pqrun's, which keeps what is no UTF-8; this worker's locale has no say."""
    return text.encode("utf-8", "surrogateescape")


def _is_killed(exit: Exit) -> bool:
    match exit:
        case KilledBySignal(name):
            return name in BATCH_SYSTEM_VARIABLES
        case ExitedWith(code):  # of a shell, for its child
            return code in CODES_OF_BATCH_SYSTEMS
    return False


async def _wait_while(fact: Callable[[], Any], seconds: float) -> None:
    until = time.monotonic() + seconds
    while fact() and time.monotonic() < until:
        await asyncio.sleep(POLL_INTERVAL_SECONDS)


def run_attempt(name: str, attempt: bytes) -> None:
    """The task, as Dask knows it. What is in the attempt is none of its business."""
    get_worker().plugins[name].run(pickle.loads(attempt))


def stop_here(name: str, wanted: list[tuple[AttemptId, bool]], dask_worker: Any = None) -> list[AttemptId]:
    """Stops those that are here; which those are."""
    runner = dask_worker.plugins.get(name)
    return [key for key, force in wanted if runner is not None and runner.stop(key, force=force)]


def read_here(name: str, key: AttemptId, stream: int, start: int, dask_worker: Any = None) -> Any:
    """A piece of an attempt's output."""
    runner = dask_worker.plugins.get(name)
    with contextlib.suppress(OSError):
        return None if runner is None else runner.read(key, stream, start)
    return None
