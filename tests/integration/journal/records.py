# SPDX-License-Identifier: LGPL-3.0-or-later
"""Records of runs that never ran: journals written as pqrun writes them, for tests of who reads them."""

import json
from pathlib import Path
from random import Random
from types import SimpleNamespace

from pqrun.core import events as ev
from pqrun.core.job import Command, JobSpec, Need, Priority, RetryPolicy
from pqrun.core.scheduler import Scheduler
from pqrun.journal.format import VERSION, Encoder, append_checksum
from pqrun.journal.run_directory import RunDirectory
from pqrun.testing import FakeClock, Fate, SimulatedExecutor, simulate

BEGAN = 1_795_500_000.0


class Record:
    """A journal in the making."""

    def __init__(self, path: Path, *, listed: int = 0, **facts) -> None:
        for directory in (path, path / "logs", path / "work"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        self.journal = path / "journal.jsonl"
        self.run = RunDirectory(str(path))
        self.crc = 0
        self._encode = Encoder(lambda at: at)
        self.journal.touch(0o600)
        header = {"pqrun": VERSION, "run": path.name, "listed": listed, **self._process(), **facts}
        self.note(header)

    @staticmethod
    def _process() -> dict:
        return {"token": "0" * 16, "version": "0", "at": BEGAN, "files": [], "cwd": "/", "options": {}}

    def note(self, facts: dict) -> None:
        """A line that is no event."""
        self._append(json.dumps(facts, separators=(",", ":")))

    def resume(self, at: float) -> None:
        """The first line of another process."""
        self.note({"e": "resume", **self._process(), "at": at})

    def tell(self, *events: ev.Event) -> None:
        """The lines of a turn."""
        for text in self._encode([_printed(event) for event in events]):
            self._append(text)

    def _append(self, text: str) -> None:
        line, self.crc = append_checksum(text, self.crc)
        with self.journal.open("ab") as file:
            file.write(line)


def _printed(event: ev.Event) -> ev.Event:
    """With the sizes of its output as an object, as executors have them."""
    if isinstance(event, ev.AttemptEnded) and isinstance(event.output, tuple):
        out, err = (SimpleNamespace(size=size, place=None) for size in event.output)
        return event._replace(output=SimpleNamespace(out=out, err=err))
    return event


def random_story(seed: int) -> list[ev.Event]:
    """All events of a random simulated run, some of it stopped before its end."""
    random = Random(seed)
    jobs = []
    for n in range(random.randint(1, 12)):
        needs = tuple(Need(f"j{random.randrange(n)}") for _ in range(random.choice([0, 0, 1])) if n)
        jobs.append(
            JobSpec(
                f"j{n}",
                Command(f"echo {n}"),
                priority=random.choice(list(Priority)),
                timeout=random.choice([None, 3.0]),
                retry=RetryPolicy(max=random.choice([0, 0, 1, 3]), delay=random.choice([0.0, 0.5])),
                needs=needs,
                tags=random.choice([(), ("t",)]),
                allow_failure=random.random() < 0.2,
                arg_names=("A",),
                args=random.choice([(), ("x", "\udcff")]),
            )
        )
    asks = [(0.0, lambda s, now: (s.add(jobs, now), s.end_input(now)))]
    if random.random() < 0.4:
        asks.append((random.uniform(0, 8), lambda s, now: s.stop("stop", now, drain=random.random() < 0.5)))
    if random.random() < 0.5:
        asks.append((random.uniform(0, 4), lambda s, now: _cancel_one(random, s, now)))
    clock = FakeClock(BEGAN)
    executor = SimulatedExecutor(clock, random.randint(1, 3), lambda _: _fate(random), asks=[
        (BEGAN + at, ask) for at, ask in asks
    ])  # fmt: skip
    return simulate(Scheduler(seed=seed), executor).events


def _fate(random: Random) -> Fate:
    from pqrun.core.job import ExitedWith, KilledBySignal, SelfReport

    return Fate(
        seconds=random.choice([0.25, 1.0, 5.0]),
        exit=random.choice([ExitedWith(0), ExitedWith(0), ExitedWith(3), KilledBySignal("SIGSEGV")]),
        refuse=random.random() < 0.05,
        said=SelfReport(message=random.choice([None, None, "no luck"])),
    )


def _cancel_one(random: Random, scheduler: Scheduler, now: float) -> None:
    if scheduler.tasks:
        scheduler.cancel(random.choice(list(scheduler.tasks.values())), now)
