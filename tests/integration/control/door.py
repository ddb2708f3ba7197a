# SPDX-License-Identifier: LGPL-3.0-or-later
"""A run in this process with a real socket: the test turns the crank itself."""

import json
import socket
from collections import deque

from support.fake_run import FakeRun

from pqrun.control.protocol import short_path
from pqrun.control.server import ControlServer
from pqrun.core.job import AttemptId, ExitedWith, KilledBySignal
from pqrun.core.metrics import MetricsCollector
from pqrun.core.notices import ProcessFinished, ProcessStarted
from pqrun.core.scheduler import Scheduler
from pqrun.engine.engine import Engine, NoJournal
from pqrun.engine.reactor import Reactor
from pqrun.testing import FakeClock, RecordedRun

from .invariants import Observer


class Slots:
    """Attempts run until somebody says how they end, or asks them to stop."""

    def __init__(self, count: int, clock: FakeClock) -> None:
        self.count = count
        self.clock = clock
        self.running: dict[AttemptId, float] = {}
        self.stdins: dict = {}
        self.signals: list[tuple[int, str]] = []
        self.attempts: deque = deque(maxlen=20)

    def report_to(self, engine: Engine) -> "Slots":
        self.engine = engine
        return self

    def capacity(self) -> int:
        return self.count

    def resize(self, count: int) -> None:
        self.count = count

    def start(self, attempt) -> None:
        self.running[attempt.key] = self.clock.now()
        self.attempts.append(attempt)
        self.engine.post(ProcessStarted(attempt.key, self.clock.now(), "here"))

    def stop(self, key, *, force) -> None:
        self.end(key, KilledBySignal("SIGTERM"), stopped=True)

    def end(self, key, exit=ExitedWith(0), *, stopped=False) -> None:
        began = self.running.pop(key, None)
        if began is not None:
            self.engine.post(ProcessFinished(key, exit, stopped, began, self.clock.now()))

    def stdin_of(self, key):
        return self.stdins.get(key)

    def signal(self, key, name) -> None:
        self.signals.append((key.seq, name))

    def close(self) -> None:
        self.running.clear()


class Door:
    """A live run and its socket. `turn` lets it do what it has to do now."""

    def __init__(
        self, path, *, slots=1, max_queue=1000, journal=None, endless=True, options=(), **answers
    ) -> None:
        self.path = str(path)
        self.clock = FakeClock()
        self.scheduler = Scheduler(max_queue=max_queue)
        self.reactor = Reactor()
        self.story = RecordedRun()
        self.slots = Slots(slots, self.clock)
        self.observer = Observer(slots, {})
        run = FakeRun(
            self.slots,
            self.clock,
            endless=endless,
            options=options,
            story=self.story,
            pids=lambda: dict.fromkeys(self.slots.running, 1),
            **answers,
        )
        self.server = ControlServer(self.path, self.reactor, run)
        self.engine = Engine(
            clock=self.clock,
            scheduler=self.scheduler,
            reactor=self.reactor,
            journal=journal or NoJournal(),
            metrics=MetricsCollector(),
            dispatcher=self.story,
            executor=self.slots.report_to,
            after_turn=(lambda events: self.observer.on_events(events), self.server.on_events),
        )
        self.turns = 0

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            for ask in self.reactor.wait(0):
                self.engine.turn(request=ask)
                self.turns += 1
            self.engine.turn()
            if self.engine.broken:
                raise self.engine.broken

    def call(self) -> "Caller":
        return Caller(self)

    def ask(self, verb: str, **facts):
        """What a client that comes, asks and goes is answered."""
        with self.call() as caller:
            return caller.ask(verb, **facts)

    def add(self, *names: str, **facts):
        """Adds a job of each name, with these fields."""
        return self.ask("add", add=[{"id": name, "run": "true", **facts} for name in names])

    def end(self, name: str, code: int = 0) -> None:
        """Ends the running job of this name."""
        key = next(key for key in self.slots.running if self.scheduler.tasks[key.seq].spec.id == name)
        self.slots.end(key, ExitedWith(code))
        self.turn(2)

    def states(self) -> dict[str, str]:
        """The states of the unfinished jobs by name."""
        return {job["id"]: job["state"] for job in self.ask("ps")["jobs"]}

    def pass_seconds(self, seconds: float) -> None:
        self.clock.time += seconds
        self.turn(2)

    def close(self) -> None:
        self.server.close()
        self.reactor.close()


class Caller:
    """A client that waits for answers by turning the crank."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with short_path(door.path) as name:
            self.socket.connect(name)
        self.socket.setblocking(False)
        self.received = b""
        self.hung_up = False
        door.turn()

    def __enter__(self) -> "Caller":
        return self

    def __exit__(self, *_) -> None:
        self.socket.close()

    def send(self, data: bytes, *, patience: int = 1000) -> None:
        """Sends it, or what is taken of it within so many turns."""
        view = memoryview(data)
        while view and patience:
            try:
                view = view[self.socket.send(view) :]
            except BlockingIOError:
                self.door.turn()
                patience -= 1

    def say(self, verb: str, **facts) -> None:
        self.send(json.dumps({"pqrun": 1, "verb": verb, "by": "test"} | facts).encode() + b"\n")

    def send_lines(self, verb: str, *lines: dict, **facts) -> None:
        """Says it with `lines`, as far as they go: the message has no end yet."""
        self.say(verb, **{"pqrun": 2, "lines": True} | facts)
        self.send(b"".join(json.dumps(line).encode() + b"\n" for line in lines))

    def end_lines(self):
        """The answer to a message that ends here."""
        self.send(b"\n")
        return self.answer()

    def answer(self, turns: int = 200):
        """The next answer; None if there is none after so many turns, or it hung up."""
        for _ in range(turns):
            if b"\n" in self.received:
                break
            self.door.turn()
            try:
                data = self.socket.recv(1 << 20)
            except BlockingIOError:
                continue
            except ConnectionError:
                data = b""
            if not data:
                self.hung_up = True
                break
            self.received += data
        line, end, rest = self.received.partition(b"\n")
        if not end:
            return None
        self.received = rest
        return json.loads(line)

    def ask(self, verb: str, **facts):
        self.say(verb, **facts)
        return self.answer()
