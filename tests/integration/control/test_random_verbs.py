# SPDX-License-Identifier: LGPL-3.0-or-later
"""Random verbs against simulated runs: whatever is asked, and whenever, the promises hold."""

import json
import socket
from base64 import b64encode
from pathlib import Path
from random import Random

import pytest
from core.test_simulation import check_metrics_add_up
from support.fake_run import FakeRun

from pqrun.control.commands import add
from pqrun.control.commands.edit import facts_of
from pqrun.control.connection import ClientConnection, verbs_of
from pqrun.control.server import ControlServer
from pqrun.core.job import OPEN_STDIN, Command, ExitedWith, JobSpec, Need, Pool, Priority, RetryPolicy
from pqrun.core.metrics import MetricsCollector
from pqrun.core.scheduler import Scheduler
from pqrun.core.selectors import state_of
from pqrun.engine.engine import Engine, NoJournal
from pqrun.journal.format import Encoder, spec_facts
from pqrun.journal.recovery import RecoveredRun
from pqrun.journal.restart_plan import plan_restart
from pqrun.testing import FakeClock, Fate, RecordedRun, SimulatedExecutor

from .invariants import Observer

POOLS = {"net": 2, "gpu": 2}
RUNS = 1000
WORDS = (
    ["add"] * 5
    + ["set"] * 6
    + ["restart"] * 3
    + ["limit"] * 3
    + ["hold", "hold", "release", "edit", "edit", "send", "send"]
    + ["cancel", "signal", "pool", "workers", "pause", "unpause", "wait", "ps", "info", "output"]
)
"""What is asked at random moments; `stop` is asked apart, because nothing starts after it."""
IN_STEPS = ("add", "cancel", "hold", "restart", "set")
"""The modules of verbs that take several turns for thousands of jobs."""


class Client(ClientConnection):
    """A client that sends lines, or a request at once, and keeps the answers."""

    def __init__(self, server: ControlServer) -> None:
        super().__init__(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), server, 0.0)
        self._connection.close()
        self.answers = []

    def answer(self, answer) -> None:
        self.busy = False
        if not isinstance(answer, dict):
            answer = json.loads(b"".join(answer.pieces()))
        self.answers.append(json.loads(json.dumps(answer)))


class Stdin:
    """An open standard input that takes everything."""

    def send(self, data: bytes, *, end: bool = False) -> int:
        return 0


class Live(SimulatedExecutor):
    """A simulated run that can be talked to."""

    server: ControlServer

    def stdin_of(self, key):
        """Nobody is sent text but an attempt that runs."""
        return Stdin() if key in self._live else None

    def wait(self, seconds):
        return list(self.server.read()) if self.server.pending() else super().wait(seconds)

    def add(self, _source) -> None:
        pass

    remove = add_duplex = add

    def ask_first(self, ask) -> None:
        self._asks.insert(0, (self.clock.now(), ask))


class World:
    """One random run with one random conversation."""

    def __init__(self, seed: int, path: str) -> None:
        self.path = path
        self.random = random = Random(seed)
        self.scheduler = self.new_scheduler()
        self.names = 0
        self.clients: list[Client] = []
        self.slots = random.randint(1, 4)
        self.observer = Observer(self.slots, POOLS)
        self.recovery = RecoveredRun()
        self.story = RecordedRun()
        self.executor = self.new_executor(self.random_asks())

    def new_scheduler(self, sizes: dict[str, int] | None = None) -> Scheduler:
        pools = {"net": Pool("net", 2)} | {name: Pool(name, size) for name, size in (sizes or {}).items()}
        pools["gpu"] = Pool("gpu", 2, ("0", "1"))
        return Scheduler(pools=pools.values(), max_queue=30, seed=1)

    def new_executor(self, asks) -> Live:
        executor = Live(
            FakeClock(self.story.events[-1].at if self.story.events else 0.0),
            self.slots,
            self.fate,
            asks=asks,
        )
        run = FakeRun(
            executor, executor.clock, story=self.story, pids=lambda: dict.fromkeys(executor._live, 1)
        )
        executor.server = ControlServer(self.path, executor, run)
        executor.server.verbs = verbs_of(run)
        return executor

    def fate(self, _attempt) -> Fate:
        random = self.random
        return Fate(
            seconds=random.choice([0.0, 0.5, 1.0, 4.0]),
            exit=ExitedWith(random.choice([0, 0, 0, 1, 75, 127])),
            deaf=random.random() < 0.3,
            refuse=random.random() < 0.05,
        )

    # What is asked

    def job(self, known: list[str]) -> JobSpec:
        random = self.random
        self.names += 1
        named = random.random() < 0.8
        needs = tuple(
            Need(random.choice(known), random.choice(["ok", "ok", "ended", "failed"]))
            for _ in range(random.choice([0, 0, 0, 1, 2]))
            if known
        )
        return JobSpec(
            random.choice([f"j{self.names}", f"j{random.randint(1, 30)}"]) if named else "",
            Command("true", stdin=random.choice([None, None, OPEN_STDIN])),
            named=named,
            priority=random.choice(list(Priority)),
            timeout=random.choice([None, None, 3.0]),
            grace=random.choice([0.0, 1.0]),
            retry=RetryPolicy(max=random.choice([0, 0, 1, 3]), delay=random.choice([0.0, 0.5, 2.0])),
            needs=needs,
            slots=random.choice([1, 1, 1, 1, 2, 5]),
            pools=random.choice(
                [(), (), (), (("net", 1),), (("gpu", 1),), (("gpu", 2), ("net", 1)), (("net", 2),)]
            ),
            allow_failure=random.random() < 0.2,
            not_before=random.choice([None, None, None, round(random.uniform(1, 16), 3)]),
            tags=random.choice([(), ("x",), ("x", "y")]),
        )

    def some(self) -> list[str]:
        return self.random.choice(
            [[f"j{self.random.randint(1, 30)}"], ["j1*"], ["all"], ["tag:x"], ["state:queued"]]
        )

    def request(self, verb: str) -> dict:
        random = self.random
        known = [task.spec.id for task in self.scheduler.tasks.values()] + ["j1", "j2", "1"]
        match verb:
            case "add":
                specs = [
                    self.job([*known, *(f"j{self.names + n}" for n in range(3))])
                    for _ in range(random.randint(1, 6))
                ]
                jobs = [spec_facts(spec) for spec in specs]
                in_lines = random.random() < 0.3
                return {
                    **({"pqrun": 2, "lines": True, "jobs": jobs} if in_lines else {"add": jobs}),
                    **self.flags("if_absent", "once", "wait"),
                }
            case "set":
                change = {
                    "priority": random.choice(["low", "normal", "high", "critical"]),
                    "timeout": random.choice([0, 2.5]),
                    "retries": random.randint(0, 2),
                    "not_before": random.choice([0, round(random.uniform(1, 16), 3)]),
                    "needs": random.choice([[], [random.choice(known)], [[random.choice(known), "ended"]]]),
                }
                names = random.sample(sorted(change), random.choice([0, 1, 1, 2]))
                return {
                    "jobs": self.some(),
                    "change": {name: change[name] for name in names},
                    **self.flags("front"),
                }
            case "cancel":
                return {
                    "jobs": random.choice([self.some(), ["j3*"], ["state:pending"], ["priority:critical"]])
                }
            case "edit":
                job = f"j{random.randint(1, 30)}"
                task = self.scheduler.find(job)
                if task is None or random.random() < 0.2:
                    return {"id": job}
                was = json.loads(json.dumps(facts_of(task)))
                change = {
                    "run": "false",
                    "priority": random.choice(["low", "critical"]),
                    "needs": [[random.choice(known), "ended"]],
                    "not_before": random.choice([None, round(random.uniform(1, 16), 3)]),
                    "retries": random.randint(0, 2),
                }
                names = random.sample(sorted(change), random.choice([0, 1, 2, 3]))
                return {"id": job, "was": was, "job": {**was, **{name: change[name] for name in names}}}
            case "signal":
                return {"jobs": self.some(), "signal": random.choice(["USR1", "SIGTERM", "nonsense"])}
            case "send":
                running = [task.spec.id for task in self.scheduler.running()]
                job = random.choice([*running, random.choice(known)])
                return {"job": job, "data": b64encode(b"text").decode(), **self.flags("end")}
            case "output":
                return {"seq": random.randint(1, 30)}
            case "hold" | "release":
                return {
                    "jobs": random.choice([self.some(), ["state:waiting"], ["state:held"], ["state:pending"]])
                }
            case "restart":
                ended = [self.some(), ["all"], ["state:failed", "state:skipped"], ["j1", "j2", "j3"]]
                return random.choice(
                    [{"failed": True}, {"jobs": random.choice(ended), **self.flags("failed")}]
                )
            case "pool":
                return {"pool": random.choice(["net", "net", "gpu", "new"]), "size": random.randint(1, 3)}
            case "limit":
                return {"tag": random.choice("xxyz"), "workers": random.choice([None, 1, 1, 2, 0])}
            case "workers":
                return {"workers": random.randint(1, 4)}
            case "wait":
                return {"jobs": random.choice([[], self.some()]), **self.flags("any")}
            case "ps":
                return {"jobs": random.choice([[], self.some()]), **self.flags("why")}
        return {}

    def flags(self, *names: str) -> dict[str, bool]:
        return {name: self.random.random() < 0.3 for name in names}

    def ask(self, verb: str, request: dict | None = None):
        """A request as a turn sees it."""

        def asked(scheduler: Scheduler, now: float) -> None:
            client = Client(self.executor.server)
            self.clients.append(client)
            facts = {
                "pqrun": 1,
                "verb": verb,
                "by": "test",
                **(self.request(verb) if request is None else request),
            }
            lines = facts.pop("jobs") if "lines" in facts else []
            client.busy = True
            client.carry_out(json.dumps(facts).encode(), scheduler, now)
            if "lines" in facts:
                self.executor.ask_first(self.send(client, lines))

        return asked

    def send(self, client: Client, lines: list[dict]):
        """The next lines of a message as a turn sees them, and its end after the last."""

        def sent(scheduler: Scheduler, now: float) -> None:
            if client.busy:  # the request is in line behind another
                self.executor.ask_first(self.send(client, lines))
            elif client.in_message:
                part, rest = lines[:2], lines[2:]
                for fact in part:
                    client._received += json.dumps(fact).encode() + b"\n"
                client._received += b"" if rest else b"\n"
                client._end_of_line = client._received.find(b"\n")
                for request in client.read():
                    request(scheduler, now)
                if rest:
                    self.executor.ask_first(self.send(client, rest))

        return sent

    def reshape(self, scheduler: Scheduler, now: float) -> None:
        """What no verb does: a job asks for other slots and pools."""
        for task in list(scheduler.tasks.values()):
            if state_of(task.state) != "running" and self.random.random() < 0.5:
                shape = {
                    "slots": self.random.choice([1, 1, 2]),
                    "pools": self.random.choice([(), (("net", 1),)]),
                }
                scheduler.change(task, task.spec._replace(**shape), now, front=self.random.random() < 0.2)

    def random_asks(self):
        random = self.random
        asks = [(0.0, self.ask("add")), (0.0, self.ask("add"))]
        asks += [
            (random.uniform(0, 12), self.ask(random.choice(WORDS))) for _ in range(random.randint(2, 14))
        ]
        if random.random() < 0.2:
            asks.append((random.uniform(0, 12), lambda scheduler, now: scheduler.take(now)))
        asks += [(random.uniform(0, 12), self.reshape) for _ in range(random.choice([0, 0, 1, 3]))]
        if random.random() < 0.1:
            at = random.uniform(0, 12)
            asks += [
                (at + n, self.ask("stop", {"now": random.random() < 0.5}))
                for n in range(random.randint(1, 3))
            ]
        return [
            *asks,
            (12.5, self.ask("unpause")),
            (12.6, self.ask("release", {"jobs": ["all"]})),
            (13.0, end_input),
        ]

    # Running it

    def run(self, until: float | None = None) -> None:
        """To the end, or until it is killed at that moment."""
        executor, scheduler = self.executor, self.scheduler

        def resolve(events) -> None:
            self.recovery.fold(lines_of(events))
            self.observer.on_events(events)
            check_that_the_journal_knows(scheduler, self.recovery)
            executor.server.on_events(events)
            if until is not None and executor.clock.now() >= until:
                raise _Killed

        metrics = MetricsCollector()
        metrics.fold(self.story.events)
        engine = Engine(
            clock=executor.clock,
            scheduler=scheduler,
            reactor=executor,
            journal=NoJournal(),
            metrics=metrics,
            dispatcher=self.story,
            executor=executor.report_to,
            after_turn=(resolve,),
        )
        try:
            engine.run()
        except _Killed:
            return
        if engine.broken:
            raise engine.broken

    def die_and_go_on(self, at: float) -> None:
        """Killed at that moment; another process goes on from the journal."""
        self.run(until=at)
        if self.scheduler.done:
            return
        found = RecoveredRun()
        found.fold(lines_of(self.story.events))
        now = max(at, found.last)
        restart = plan_restart(found, now, failed=False)
        self.scheduler = self.new_scheduler(found.pools)
        self.slots = found.workers or self.slots
        self.observer.begin_again()
        self.executor.server.close()
        self.executor = self.new_executor(
            [
                (now + 1, self.ask("unpause", {})),
                (now + 1, self.ask("release", {"jobs": ["all"]})),
                (now + 1, end_input),
            ]
        )
        self.executor.clock.time = now
        self.executor.ask_first(lambda scheduler, now: scheduler.restore(restart, now))
        self.run()


def lines_of(events) -> list[dict]:
    """The lines of a journal that say that."""
    return [json.loads(text) for text in Encoder(lambda at: at)(events)]


class _Killed(BaseException):
    pass


def end_input(scheduler: Scheduler, now: float) -> None:
    scheduler.end_input(now)


def check_that_the_journal_knows(scheduler: Scheduler, recovery: RecoveredRun) -> None:
    """Who goes on from the events finds each job as the scheduler has it."""
    unfinished = {seq: job for seq, job in recovery.jobs.items() if job.outcome is None}
    assert unfinished.keys() == scheduler.tasks.keys()
    for seq, task in scheduler.tasks.items():
        job = unfinished[seq]
        assert job.state == state_of(task.state)
        assert (job.spec, job.attempts, job.retries) == (task.spec, task.attempts, task.retries)
    queued = [task for task in scheduler.tasks.values() if task.entry is not None]
    by_place = sorted(queued, key=lambda task: task.place)
    assert [t.seq for t in by_place] == sorted((t.seq for t in queued), key=lambda seq: unfinished[seq].place)
    assert recovery.paused == scheduler.paused
    limits = {f"tag:{tag}": most for tag, most in scheduler.ready.pools.tag_limits().items()}
    assert {name: size for name, size in recovery.pools.items() if name.startswith("tag:")} == limits
    waiting = [
        task for task in scheduler.tasks.values() if state_of(task.state) in ("pending", "held", "queued")
    ]
    assert scheduler.backlog.added == len(scheduler.backlog) == len(waiting)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    """What is done in steps for thousands of jobs is done so for a few."""
    for verb in IN_STEPS:
        monkeypatch.setattr(f"pqrun.control.commands.{verb}.JOBS_PER_TURN", 3)
    monkeypatch.setattr("pqrun.core.ready_queue.MAX_SKIPS", 4)


def kept(seed: int, go, path) -> World:
    """A world that has gone its way, and kept its promises."""
    world = World(seed, f"{path}/s")
    try:
        go(world)
        world.observer.at_the_end()
        check_metrics_add_up(world.story)
        for client in world.clients:
            assert len(client.answers) <= 1
    except BaseException as error:
        raise AssertionError(f"seed {seed}: {error!r}") from error
    finally:
        world.executor.server.close()
    return world


def test_every_verb_is_asked_and_that_in_steps_if_it_takes_several():
    assert {*WORDS, "stop"} == set(verbs_of(FakeRun()))
    commands = Path(add.__file__).parent
    in_steps = {path.stem for path in commands.glob("*.py") if "JOBS_PER_TURN" in path.read_text()}
    assert in_steps == set(IN_STEPS)


@pytest.mark.slow
def test_whatever_is_asked_every_promise_is_kept(tmp_path):
    said = set()
    for seed in range(RUNS):
        world = kept(seed, World.run, tmp_path)
        said.update(answer["ok"] for client in world.clients for answer in client.answers)
    assert said == {True, False}


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_as_it_was_changed(tmp_path):
    for seed in range(RUNS // 5):
        kept(seed, lambda world: world.die_and_go_on(world.random.uniform(0, 12)), tmp_path)
