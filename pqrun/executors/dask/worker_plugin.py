# SPDX-License-Identifier: LGPL-3.0-or-later
"""The plugin that a run installs in each Dask worker: runs commands as on the local machine.

The plugin runs in the worker's process. Watchdogs end the jobs immediately if the worker dies in any way. An
attempt that was not reported, and that pqrun did not stop, then counts as lost.
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
from pqrun.executors.dask.worker_messages import MessageBatcher, WorkerDisk, may_be_disk_full
from pqrun.executors.local.child import Child
from pqrun.executors.local.cleanup_embedded import ScanningCleanup
from pqrun.executors.local.command import CommandBuilder
from pqrun.executors.local.process_group import ChildContext
from pqrun.executors.local.watchdog import WatchdogSupervisor
from pqrun.output.store import COPY_CHUNK_BYTES, Capture, Logs

MAX_INLINE_OUTPUT_BYTES = 16 * 1024
MAX_REMEMBERED_ENDS = 10_000
CLOSE_TIMEOUT_SECONDS = 5.0
FINAL_FLUSH_SECONDS = 0.5
REPORT_TIMEOUT_SECONDS = 3.0
POLL_INTERVAL_SECONDS = 0.005
REFUSAL_DELAY_SECONDS = 0.05
UNCERTAIN_SECONDS = 1.0
BATCH_SYSTEM_SIGNALS = frozenset(
    ("SIGTERM", "SIGKILL", "SIGHUP", "SIGINT", "SIGQUIT", "SIGXCPU", "SIGUSR1", "SIGUSR2")
)
BATCH_SYSTEM_CODES = frozenset(128 + signal.Signals[name] for name in BATCH_SYSTEM_SIGNALS)


class RunConfig(NamedTuple):
    """The facts about a run that all workers need. `name`: the plugin's name and the topic of its messages.

    `follow`: report output while jobs run. `prompt`: report starts, status and progress without delay.
    """

    name: str
    run_id: str
    directory: str
    token: str
    follow: bool
    prompt: bool = False


class WorkerWatchdog(WatchdogSupervisor):
    """Watchdogs with no grace period, because pqrun restarts these jobs on another worker immediately."""

    longest = 0.0


class LocalRun:
    """One start of one attempt on this worker.

    `abandoned`: pqrun does not want it any more. `reported`: its end was sent. `told`: new output was
    announced and not fetched yet. `fetched`: set when the output has been fetched, or is not wanted any more.
    """

    __slots__ = ("abandoned", "child", "fetched", "key", "nonce", "output", "reported", "told")

    def __init__(self, key: AttemptId, child: Child) -> None:
        self.key = key
        self.child = child
        self.nonce = os.urandom(6).hex()
        self.output: Capture | None = None
        self.abandoned = self.reported = self.told = False
        self.fetched = Event()


class JobRunnerPlugin(WorkerPlugin):
    """The plugin that runs the commands of one run on this worker."""

    def __init__(self, run_config: RunConfig) -> None:
        self.name = run_config.name
        self._run_config = run_config

    def setup(self, worker: Any) -> None:
        """Prepare the run's directory, cleanup and watchdogs when Dask installs the plugin."""
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
        self._loop = asyncio.get_running_loop()
        self._messages = MessageBatcher(worker, self.name)
        # Inside the worker's directory, which Dask removes even if the worker was killed.
        self._workspace = f"{worker.local_directory}/pqrun-{os.urandom(6).hex()}"
        self._room = WorkerDisk(self._workspace, self._tell_room)
        self._room.look()
        self._context = self._child_context(self._run_config)
        worker.handlers[self.name] = self.answer

    def _child_context(self, run_config: RunConfig) -> ChildContext:
        """Open the cleanup, start the watchdogs, and return the shared parts of all jobs."""
        # Workers on the same machine have watchdogs of their own, which must not end this worker's jobs.
        token = run_config.token + os.urandom(4).hex()
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
        return ChildContext(
            clock=self._clock,
            reporter=self,
            commands=self._commands,
            logs=Logs(f"{self._workspace}/logs", keep=False),
            cleanup=cleanup,
            talkative=set(),
            watchdog=self._watchdog,
            follow=run_config.follow,
            prompt=run_config.prompt,
        )

    async def teardown(self, worker: Any) -> None:
        """End the jobs and remove the run's files, when the run or the worker ends."""
        self._leaving.set()
        stream = worker.batched_stream
        gone = stream is None or stream.comm is None or stream.comm.closed()
        if (
            gone
        ):  # the scheduler is gone: jobs that are about to end may do so, and pqrun may ask for their reports
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
        """Handle the release of a key: kill its attempt if it runs.

        If it has ended, the release shows that pqrun has its report.
        """
        if finish not in ("released", "cancelled", "forgotten") or type(key) is not tuple:
            return
        if key[0] == self._run_config.run_id and start in ("executing", "memory"):
            own = AttemptId(*key[1:])
            self._messages.acknowledged([own])
            if (here := self._live.get(own)) is not None:
                self._abandon(here)

    # The `Reporter` of the children

    def post(self, *news: ExecutorNotice, urgent: bool = True) -> None:
        """Send the notices of a running attempt to pqrun, as its `Reporter`."""
        for fact in news:
            here = self._live.get(fact.key)
            if here is None or here.abandoned:
                continue
            if isinstance(fact, OutputAdvanced):
                if not here.told:  # one announcement is enough until the output is fetched
                    here.told = True
                    self._tell("grew", here)
            elif isinstance(fact, ProcessStarted):
                self._tell("started", here, fact._replace(where=self._host))
            else:
                self._tell("news", here, fact)

    turn = post

    # Running and stopping attempts

    def run(self, attempt: Attempt) -> None:
        """Run an attempt on a thread of the worker, until its output has been fetched.

        Raises Reschedule if the worker can't write now.
        """
        if self._room.lacks:  # the scheduler knows or will soon, and gives the attempt to another worker
            self._leaving.wait(REFUSAL_DELAY_SECONDS)
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
                # A batch system that ends this worker may signal its jobs first. Wait for the worker's own
                # end: then the job counts as lost instead of failed.
                self._leaving.wait(UNCERTAIN_SECONDS)
            if not may_be_disk_full(report.exit):
                return report
        except InternalFailure as failure:
            report = ProcessFinished(here.key, LostExit(str(failure)), False, began, self._clock.now())
        output = here.child.output
        # The command is at fault if it has written so much output itself, or if writing works now. Otherwise
        # the worker's disk is full, and the attempt counts as lost.
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
        """Answer pqrun directly, without a scheduler that is gone or silent.

        With `key`, returns a piece of that attempt's output. Otherwise returns the reports that pqrun has not
        acknowledged. `heard`: attempts whose reports pqrun has. `stop`: attempts to stop first, with force or
        not.
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
        """Ask an attempt to end, or kill it. Returns whether this worker has or had it."""
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
        """Return a piece of an attempt's output from `start` on, and whether there is more.

        Returns None if there is none.
        """
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
    """Encode a text of pqrun as UTF-8, whatever this worker's locale, with undecodable bytes kept."""
    return text.encode("utf-8", "surrogateescape")


def _is_killed(exit: Exit) -> bool:
    match exit:
        case KilledBySignal(name):
            return name in BATCH_SYSTEM_SIGNALS
        case ExitedWith(code):  # 128+N: a shell reports that signal N has killed its child
            return code in BATCH_SYSTEM_CODES
    return False


async def _wait_while(fact: Callable[[], Any], seconds: float) -> None:
    until = time.monotonic() + seconds
    while fact() and time.monotonic() < until:
        await asyncio.sleep(POLL_INTERVAL_SECONDS)


def run_attempt(name: str, attempt: bytes) -> None:
    """Run a pickled attempt. This is the task that Dask executes."""
    get_worker().plugins[name].run(pickle.loads(attempt))


def stop_here(name: str, wanted: list[tuple[AttemptId, bool]], dask_worker: Any = None) -> list[AttemptId]:
    """Stop the attempts that are on this worker, and return their keys."""
    runner = dask_worker.plugins.get(name)
    return [key for key, force in wanted if runner is not None and runner.stop(key, force=force)]


def read_here(name: str, key: AttemptId, stream: int, start: int, dask_worker: Any = None) -> Any:
    """Return a piece of an attempt's output on this worker, None if there is none."""
    runner = dask_worker.plugins.get(name)
    with contextlib.suppress(OSError):
        return None if runner is None else runner.read(key, stream, start)
    return None
