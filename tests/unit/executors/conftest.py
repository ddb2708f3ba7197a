# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the conformance suite needs of an executor: some work for it, and a look at what it left."""

import ctypes
import os
import time
from dataclasses import replace
from pathlib import Path
from threading import Lock
from types import SimpleNamespace
from typing import ClassVar

import pytest

from pqrun.app.dry_run import CommandPrinter
from pqrun.core.job import Attempt, AttemptId, Command, Exit, ExitedWith, JobSpec
from pqrun.core.notices import ProcessFinished, ProcessStarted, StartRejected
from pqrun.engine.clock import SystemClock
from pqrun.executors.local.child import Child
from pqrun.executors.local.cleanup import ProcessCleanup
from pqrun.executors.local.command import CommandBuilder
from pqrun.executors.local.embedded import EmbeddedBackend
from pqrun.executors.local.process_group import ChildContext
from pqrun.executors.python_call import CallContext, CallTask
from pqrun.executors.thread_pool import ThreadPoolExecutor
from pqrun.output.store import Logs
from pqrun.output.writer import StreamWriter
from pqrun.testing import FakeClock, Fate, SimulatedExecutor


class Rig:
    """An executor at work. A new kind of executor: a subclass, and a line in `RIGS`.

    Kinds of work: `quick` (ends by itself), `failing` (with the exit `failed`), `endless` (until it is
    asked to end), `deaf` (until it is killed), `polite` (asked to end, it ends with code 0). The executor
    `lacks` some of them. `faults` are jobs that can't be started through a fault of their author.
    """

    failed: Exit = ExitedWith(7)
    lacks: ClassVar[frozenset[str]] = frozenset()
    runs_processes = False
    faults: ClassVar[dict[str, JobSpec]] = {}

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.reports = []
        self.failures = []
        self._lock = Lock()
        self.executor = self.build()

    def build(self):
        raise NotImplementedError

    def spec(self, kind: str, key: AttemptId) -> JobSpec:
        raise NotImplementedError

    def pass_time(self) -> None:
        """Lets something happen."""
        time.sleep(0.002)

    def open_descriptors(self) -> set[str]:
        """What is open now."""
        return set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()

    def alive(self) -> list:
        """What runs although nothing should."""
        return []

    def tear_down(self) -> None:
        """After `close`."""

    # As a `Reporter`

    def post(self, *news, urgent=True):
        with self._lock:
            self.reports.extend(news)

    turn = post

    def fail(self, error):
        self.failures.append(error)

    # For tests

    def start(self, kind: str | JobSpec, seq: int = 1, attempt: int = 1) -> AttemptId:
        key = AttemptId(seq, attempt)
        spec = kind if isinstance(kind, JobSpec) else self.spec(kind, key)
        self.executor.start(Attempt(key, spec, 1))
        return key

    def begin(self, kind: str, seq: int = 1, attempt: int = 1) -> AttemptId:
        """Starts it, and waits until it is at work."""
        if kind in self.lacks:
            pytest.skip(f"here nothing is {kind}")
        key = self.start(kind, seq, attempt)
        self.wait(lambda: self.of(key, ProcessStarted))
        return key

    def wait(self, fact, seconds: float = 30.0):
        end = time.monotonic() + seconds
        while not (found := fact()):
            assert time.monotonic() < end, f"still not so; reports: {self.reports}"
            assert not self.failures, self.failures
            self.pass_time()
        return found

    def end_of(self, key: AttemptId) -> ProcessFinished | StartRejected:
        """Waits for it."""
        return self.wait(lambda: self.of(key, ProcessFinished, StartRejected))[0]

    def of(self, key: AttemptId, *kinds: type) -> list:
        with self._lock:
            return [
                news for news in self.reports if news.key == key and (not kinds or isinstance(news, kinds))
            ]


class Simulated(Rig):
    FATES: ClassVar = {
        "quick": Fate(seconds=1.0),
        "failing": Fate(seconds=1.0, exit=ExitedWith(7)),
        "endless": Fate(seconds=1e6),
        "deaf": Fate(seconds=1e6, deaf=True),
        "polite": Fate(seconds=5.0, deaf=True),
    }

    def build(self):
        executor = SimulatedExecutor(FakeClock(), 4, lambda attempt: self.FATES[attempt.spec.work])
        return executor.report_to(self)

    def spec(self, kind, key):
        return JobSpec(kind, kind)

    def pass_time(self):
        self.executor.wait(0.5)


class DryRun(Simulated):
    """Every attempt succeeds, or is stopped."""

    failed = ExitedWith(0)
    lacks = frozenset(("deaf", "polite"))

    def build(self):
        self.file = os.open(self.directory / "commands", os.O_WRONLY | os.O_CREAT)
        self.printer = CommandPrinter(StreamWriter(self.file, "a file"))
        return SimulatedExecutor(FakeClock(), 4, self.fate).report_to(self)

    def fate(self, attempt):
        fate = self.printer.fate(attempt)
        return replace(fate, seconds=1e6) if attempt.spec.id == "endless" else fate

    def spec(self, kind, key):
        return JobSpec(kind, Command(kind))

    def tear_down(self):
        os.close(self.file)


class Processes(Rig):
    runs_processes = True
    COMMANDS: ClassVar = {
        "quick": "true",
        "failing": "exit 7",
        "endless": "touch $0; exec sleep 1000",
        "deaf": "trap '' TERM; touch $0; sleep 1000",
        "polite": "trap 'exit 0' TERM; touch $0; while :; do sleep 0.01; done",
    }
    faults: ClassVar = {
        "a NUL character in the command": JobSpec("a", Command("echo a\0b")),
        "a NUL character in an argument": JobSpec("a", Command(("echo", "a\0b"))),
        "a NUL character in a variable": JobSpec("a", Command("true", env=(("A", "a\0b"),))),
        "text that no encoding can hold": JobSpec("a", Command(("echo", "\ud800"))),
        "a program that is not there": JobSpec("a", Command(("/nowhere/program",))),
        "a program that is on no path": JobSpec("a", Command(("no-such-program-anywhere",))),
        "a program that may not be run": JobSpec("a", Command(("/etc/passwd",))),
        "a shell that is not there": JobSpec("a", Command("true", shell=("/nowhere/sh", "-c"))),
        "a directory that is not there": JobSpec("a", Command("true", cwd="no/such/directory")),
        "a directory that is a file": JobSpec("a", Command("true", cwd="/etc/passwd")),
        "an input that is not there": JobSpec("a", Command("cat", stdin="no-such-file")),
        "arguments that are too long": JobSpec("a", Command(("true", *["x" * 100_000] * 100))),
        "a variable that is too long": JobSpec("a", Command("true", env=(("A", "x" * 200_000),))),
        "an empty argument list": JobSpec("a", Command(("",))),
    }

    def build(self):
        self.commands = CommandBuilder(
            run_id="test",
            directory=str(self.directory),
            workspace=str(self.directory),
            token=os.urandom(8).hex(),
        )
        self.marker = self.commands.marker
        self.cleanup = ProcessCleanup(self.marker, self.commands.kept_marker)
        self.cleanup.open()
        self.around = ChildContext(
            clock=SystemClock(),
            reporter=self,
            commands=self.commands,
            logs=Logs(str(self.directory / "logs"), keep=False),
            cleanup=self.cleanup,
            talkative=set(),
        )
        return ThreadPoolExecutor(4, lambda attempt: Child(attempt, self.around), self)

    def spec(self, kind, key):
        command = self.COMMANDS[kind].replace("$0", str(self._sign(key)))
        return JobSpec(kind, Command(command), grace=0.2)

    def _sign(self, key):
        """The file by which a command tells that it is at work."""
        return self.directory / f"{key.seq}.{key.attempt}.works"

    def begin(self, kind, seq=1, attempt=1):
        key = super().begin(kind, seq, attempt)
        if "$0" in self.COMMANDS[kind]:
            self.wait(self._sign(key).exists)
        return key

    def alive(self):
        found = []
        for name in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
            try:
                if name.isdecimal() and self.marker in Path(f"/proc/{name}/environ").read_bytes():
                    found.append(Path(f"/proc/{name}/cmdline").read_bytes())
            except OSError:
                continue
        return found

    def tear_down(self):
        self.cleanup.close()
        if os.path.isdir("/proc/self"):
            ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)  # no longer whom orphans go to


class ShellJobs(Processes):
    """The commands of a queue inside a program that has other children too."""

    def build(self):
        self.backend = EmbeddedBackend(SystemClock(), self, contain=False)
        self.marker = self.backend._commands.marker
        return ThreadPoolExecutor(4, lambda attempt: self.backend.task(attempt, SimpleNamespace()), self)

    def tear_down(self):
        self.backend.close()


class PythonCalls(Rig):
    """A thread can't be killed, so nothing is deaf here."""

    failed = ExitedWith(1)
    lacks = frozenset(("deaf",))

    def build(self):
        calls = CallContext(self._handle, SystemClock(), self)
        return ThreadPoolExecutor(4, lambda attempt: CallTask(attempt, calls, attempt.spec.work), self)

    def spec(self, kind, key):
        return JobSpec(kind, SimpleNamespace(job=kind, value=None, error=None))

    @staticmethod
    def _handle(context, kind):
        if kind == "failing":
            raise ValueError(kind)
        while kind in ("endless", "polite") and not context.cancelled:
            time.sleep(0.001)
        if kind == "endless":
            context.raise_if_cancelled()


RIGS = {
    "simulated": Simulated,
    "dry run": DryRun,
    "processes": Processes,
    "shell jobs": ShellJobs,
    "calls": PythonCalls,
}
FAULTS = [(name, fault) for name, rig in RIGS.items() for fault in rig.faults]


def used(kind, directory):
    """That rig, and after the test a look at what it has left and reported."""
    rig = RIGS[kind](directory)
    yield rig
    rig.executor.close()
    rig.tear_down()
    assert rig.failures == []
    check_what_was_reported(rig.reports)


@pytest.fixture(params=RIGS)
def rig(request, tmp_path):
    """Each executor in turn."""
    yield from used(request.param, tmp_path)


@pytest.fixture(params=FAULTS, ids=": ".join)
def faulty(request, tmp_path):
    """An executor, and a job of it that can't be started."""
    kind, fault = request.param
    for rig in used(kind, tmp_path):
        yield rig, rig.faults[fault]


def check_what_was_reported(reports):
    """Of each attempt: at most one start, then exactly one end, and nothing after that."""
    by_attempt: dict[AttemptId, list[type]] = {}
    for news in reports:
        by_attempt.setdefault(news.key, []).append(type(news))
    for key, kinds in by_attempt.items():
        assert kinds in ([ProcessStarted, ProcessFinished], [ProcessFinished], [StartRejected]), key


@pytest.fixture
def processes(tmp_path):
    """The local executor alone."""
    yield from used("processes", tmp_path)
