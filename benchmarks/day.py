# SPDX-License-Identifier: LGPL-3.0-or-later
"""A day in the life of a queue, compressed: `python benchmarks/day.py [--jobs 1000000]`.

Jobs come in waves. Meanwhile jobs are paused, held, released, cancelled and restarted; clients come and go,
some stop reading, some send a byte a second; other runs begin, and `prune` removes them; the queue is stopped
and started again, and killed by `kill -9`. Each job writes its own mark, so a lost job can't hide.

At the beginning of each wave, with the same number of queued jobs each time, the memory, the descriptors, the
threads and the journal of the queue are measured, and how long `ps` and `add` take. Prints a table; exits
with 1 if a job was lost, ran twice without a reason, or if a curve rises.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from threading import Event, Thread
from typing import Any, NamedTuple

import pqrun as package
from pqrun.control.client import NO_LIVE_RUN, ControlClient
from pqrun.core.errors import InternalFailure

PQRUN = (sys.executable, "-m", "pqrun")
NAME = "day"
BATCH = 200
PROBES = 9
MAX_QUEUE = 2000
FULL = 75
NOTHING_TO_DO = 1
START_TIMEOUT_SECONDS = 60.0


class Sample(NamedTuple):
    """The queue at the beginning of a wave. `process`: how many processes the queue has had; `queued`: its jobs."""

    wave: int
    added: int
    process: int
    queued: int
    memory_mib: float
    descriptors: int
    threads: int
    journal_mib: float
    files: int
    ps_ms: float
    add_ms: float


class Plan(NamedTuple):
    """The size of the day."""

    jobs: int
    waves: int
    kills: int
    workers: int
    keep: int
    seed: int

    @property
    def wave(self) -> int:
        """The number of jobs in a wave."""
        return self.jobs // self.waves

    @property
    def queued(self) -> int:
        """The number of jobs that wait when the queue is measured."""
        return min(500, self.wave // 2)


class LivingQueue:
    """A `pqrun serve` that is started again whenever it is gone. `processes`: how often it was started."""

    def __init__(self, here: Path, plan: Plan) -> None:
        self.here = here
        self.run = here / "runs" / NAME
        self.environment = {
            **os.environ,
            "PQRUN_STATE_DIR": str(here),
            "PYTHONPATH": str(Path(package.__file__).parents[1]),
        }
        self.environment.pop("PQRUN_SOCKET", None)
        self.processes = 0
        self.longest_start_seconds = 0.0
        self._plan = plan
        self.start()

    def start(self) -> None:
        """Start the queue, as its user would after a crash."""
        began = time.monotonic()
        words = ["serve", "--detach", "--run", NAME, f"-j{self._plan.workers}", "-q"]
        words += ["--max-queue", str(MAX_QUEUE), "--keep", str(self._plan.keep)]
        while (done := self.call(*words)).returncode:
            if time.monotonic() - began > START_TIMEOUT_SECONDS:
                raise SystemExit(f"the queue does not start: {done.stderr.decode()}")
            time.sleep(0.1)
        self.processes += 1
        self.longest_start_seconds = max(self.longest_start_seconds, time.monotonic() - began)

    def call(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command of pqrun to its end."""
        return subprocess.run(
            [*PQRUN, *words],
            env=self.environment,
            cwd=self.here,
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )

    def ask(self, verb: str, **facts: Any) -> dict[str, Any]:
        """Return the answer to a request, which is repeated until the queue lives and has room."""
        while True:
            try:
                with ControlClient(str(self.run)) as client:
                    return client.request(verb, **facts)
            except InternalFailure as failure:
                if failure.code == FULL:
                    time.sleep(0.05)
                elif failure.code == NO_LIVE_RUN:
                    self.start()
                elif failure.code == NOTHING_TO_DO:
                    return {"count": 0}
                else:
                    raise
            except OSError:
                self.start()

    @property
    def pid(self) -> int:
        return int((self.run / "lock").read_text().split()[0])

    def time_of(self, ask: Callable[[], object]) -> float:
        """Return the milliseconds that a request takes, the median of some."""
        times = []
        for _ in range(PROBES):
            began = time.perf_counter()
            ask()
            times.append((time.perf_counter() - began) * 1000)
        return median(times)

    def memory_mib(self) -> float:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def count(self, what: str) -> int:
        """Return the number of entries of a directory in `/proc` of the queue: `fd` or `task`."""
        return len(os.listdir(f"/proc/{self.pid}/{what}"))


class Crowd:
    """Clients that behave badly, from `begin` until `leave`: some never read, some send a byte a second."""

    def __init__(self, path: str, chance: random.Random) -> None:
        self._path = path
        self._chance = chance
        self._over = Event()
        self._thread: Thread | None = None
        self.clients = 0

    def begin(self) -> None:
        """Let the clients come."""
        self._over.clear()
        self._thread = Thread(target=self._stay, daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Let the clients go, in the middle of whatever they said."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _stay(self) -> None:
        deaf = [b'{"pqrun":1,"verb":"ps"}\n' * 2000, b'{"pqrun":1,"verb":"info"}\n' * 2000]
        slow = [
            b'{"pqrun":1,"verb":"add","add":[{"run":"false"}',
            b'{"pqrun":2,"verb":"add","lines":true}\n{}\n',
        ]
        odd = [b"\0\xff" * 100 + b"\n", b'{"pqrun":1,"verb":"wait"}\n', b"GET / HTTP/1.0\r\n\r\n", b""]
        with contextlib.ExitStack() as stack:
            said = [(stack.enter_context(self._client()), text) for text in deaf + slow + odd]
            for client, text in said:
                if text not in slow:
                    _send(client, text)
            at = 0
            while not self._over.wait(1.0):
                for client, text in said:
                    if text in slow:
                        _send(client, text[at % len(text) :][:1])
                at += 1

    @contextlib.contextmanager
    def _client(self) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            with contextlib.suppress(OSError):  # the queue may have been killed a moment ago
                client.connect(self._path)
                self.clients += 1
            yield client


def _send(client: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        client.send(data)


class Killer:
    """Kills the queue at random moments of a wave that has `kills` of them. `done`: how many there were."""

    def __init__(self, queue: LivingQueue, chance: random.Random) -> None:
        self._queue = queue
        self._chance = chance
        self._over = Event()
        self._thread: Thread | None = None
        self.done = 0

    def begin(self, kills: int, within_seconds: float) -> None:
        """Kill the queue that often in the next seconds, or later if it takes longer to come back."""
        self._over.clear()
        self._thread = Thread(target=self._kill, args=(kills, within_seconds), daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait for the last kill, and let the queue come back after each."""
        while self._thread is not None and self._thread.is_alive():
            self._queue.ask("info")
            self._thread.join(0.05)

    def _kill(self, kills: int, within_seconds: float) -> None:
        for _ in range(kills):
            time.sleep(self._chance.uniform(0.0, within_seconds))
            processes, pid = self._queue.processes, self._queue.pid
            os.kill(pid, signal.SIGKILL)
            self.done += 1
            while self._queue.processes == processes and not self._over.wait(0.05):
                pass

    def give_up(self) -> None:
        """Wait no longer for the queue to come back."""
        self._over.set()


class Day:
    """The whole day. `must` and `may`: the jobs that have to run, and those that were cancelled."""

    def __init__(self, here: Path, plan: Plan) -> None:
        self.plan = plan
        self.marks = here / "marks"
        self.marks.touch()
        self.chance = random.Random(plan.seed)
        self.queue = LivingQueue(here, plan)
        self.killer = Killer(self.queue, self.chance)
        self.crowd = Crowd(f"{self.queue.run}/control.sock", self.chance)
        early = range(1, max(2, plan.waves * 3 // 4))
        self.kills = Counter(self.chance.choice(early) for _ in range(plan.kills))
        self.samples: list[Sample] = []
        self.must: set[str] = set()
        self.may: set[str] = set()
        self.again: set[str] = set()
        self.probes = 0
        self._last_wave_seconds = 1.0
        self._beside: list[subprocess.Popen[bytes]] = []

    def run(self) -> None:
        """Live through all waves."""
        for wave in range(self.plan.waves):
            began = time.monotonic()
            self._wave(wave)
            self._last_wave_seconds = time.monotonic() - began
            told = self.samples[-1]
            print(
                f"wave {wave + 1} of {self.plan.waves}: {self._last_wave_seconds:.1f} s, "
                f"{self.killer.done} kills, {told.memory_mib:.1f} MiB, {told.descriptors} descriptors, "
                f"{told.threads} threads, journal {told.journal_mib:.2f} MiB, ps {told.ps_ms:.1f} ms, add {told.add_ms:.1f} ms",
                file=sys.stderr,
                flush=True,
            )
        self.queue.ask("wait")
        self.queue.ask("stop")
        for process in self._beside:
            process.wait()

    def _wave(self, wave: int) -> None:
        names = [f"w{wave}-{number}" for number in range(self.plan.wave)]
        ask = self.queue.ask
        ask("pause")
        first, rest = names[: self.plan.queued], names[self.plan.queued :]
        self._add(wave, first)
        ask("hold", jobs=[f"tag:hold{wave}"])
        self.samples.append(self._sample(wave))
        ask("unpause")
        self.crowd.begin()
        self.killer.begin(self.kills[wave], self._last_wave_seconds)
        self._begin_beside(wave)
        for at in range(0, len(rest), BATCH):
            self._add(wave, rest[at : at + BATCH])
            ask("set", jobs=[f"tag:wave{wave}"], change={"priority": self.chance.choice(["low", "high"])})
        self._cancel(wave)
        ask("release", jobs=[f"tag:hold{wave - 1}"])
        ask("wait", jobs=[f"tag:wave{wave}"])
        self._restart_failed(wave)
        self.killer.finish()
        self.crowd.leave()
        if wave == self.plan.waves - 1:
            ask("release", jobs=[f"tag:hold{wave}"])
        elif wave % 7 == 3:
            ask("stop")  # the next request starts the queue again
            self._wait_until_stopped()

    def _wait_until_stopped(self) -> None:
        limit = time.monotonic() + START_TIMEOUT_SECONDS
        while time.monotonic() < limit:
            with contextlib.suppress(InternalFailure, OSError), ControlClient(str(self.queue.run)):
                time.sleep(0.05)
                continue
            return

    def _add(self, wave: int, names: list[str]) -> None:
        """Add jobs. A request that is repeated, because the queue was killed, adds none twice."""
        for at in range(0, len(names), BATCH):
            part = names[at : at + BATCH]
            self.queue.ask("add", lines=[self._job(wave, name) for name in part], once=True)
            self.must.update(part)

    def _job(self, wave: int, name: str) -> dict[str, Any]:
        number = int(name.rpartition("-")[2])
        job: dict[str, Any] = {"id": name, "tags": [f"wave{wave}"]}
        run = f"echo {name} >> {self.marks}"
        match number % 50:
            case 7:
                run += "; exit 3"
            case 9:
                job["needs"] = [f"w{wave}-{number - 1}"]
            case 11:
                job["tags"].append(f"cancel{wave}")
            case 13 if number < self.plan.queued:
                job["tags"] = [f"hold{wave}"]
            case 15:
                run += "; head -c 100000 /dev/zero"
        return {**job, "run": run}

    def _cancel(self, wave: int) -> None:
        self.may.update(f"w{wave}-{number}" for number in range(11, self.plan.wave, 50))
        self.queue.ask("cancel", jobs=[f"tag:cancel{wave}"])

    def _restart_failed(self, wave: int) -> None:
        """Restart jobs that failed a moment ago: the queue forgets those that ended long before."""
        names = [f"again{wave}-{number}" for number in range(5)]
        run = f"echo $PQRUN_JOB_ID >> {self.marks}; exit 3"
        self.queue.ask("add", lines=[{"id": name, "run": run} for name in names], once=True)
        self.must.update(names)
        self.queue.ask("wait", jobs=names)
        self.queue.ask("restart", jobs=names)
        self.again.update(names)
        self.queue.ask("wait", jobs=names)

    def _begin_beside(self, wave: int) -> None:
        """Start another run beside the queue; now and then, `prune` removes the old ones."""
        words = ["prune", "--keep-runs", "3"] if wave % 4 == 3 else ["run", "-q", "-"]
        process = subprocess.Popen(
            [*PQRUN, *words],
            env=self.queue.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(b"true\n" * 5)
            process.stdin.close()
        self._beside = [one for one in self._beside if one.poll() is None] + [process]

    def _sample(self, wave: int) -> Sample:
        queue = self.queue
        ps = queue.time_of(lambda: queue.ask("ps"))
        add = queue.time_of(lambda: self._add_probe(wave))
        return Sample(
            wave,
            len(self.must),
            queue.processes,
            len(queue.ask("ps")["jobs"]),
            queue.memory_mib(),
            queue.count("fd"),
            queue.count("task"),
            (queue.run / "journal.jsonl").stat().st_size / 2**20,
            sum(len(files) for _, _, files in os.walk(queue.run)),
            ps,
            add,
        )

    def _add_probe(self, wave: int) -> None:
        self.probes += 1
        name = f"probe-{self.probes}"
        self.must.add(name)
        job = {"id": name, "run": f"echo {name} >> {self.marks}", "tags": [f"wave{wave}"]}
        self.queue.ask("add", add=[job], once=True)

    def verdict(self) -> list[str]:
        """Return what is wrong, after the day."""
        ran = Counter(self.marks.read_text().split())
        wrong = []
        if lost := sorted(name for name in self.must - self.may if not ran[name]):
            wrong.append(f"{len(lost)} jobs were lost: {', '.join(lost[:5])}")
        if strange := ran.keys() - self.must:
            wrong.append(f"{len(strange)} jobs ran that nobody added")
        if once := sorted(name for name in self.again if ran[name] < 2):
            wrong.append(f"{len(once)} restarted jobs did not run again: {', '.join(once[:5])}")
        repeats = sum(count - 1 for name, count in ran.items() if name not in self.again)
        if repeats > self.killer.done * self.plan.workers:
            wrong.append(f"{repeats} jobs ran twice, more than were running at the kills")
        print(
            f"{len(self.must)} jobs added, {len(self.may)} of them cancelled, {len(self.again)} restarted, "
            f"{self.killer.done} kills, {self.crowd.clients} odd clients, {self.queue.processes} processes, "
            f"longest start {self.queue.longest_start_seconds:.1f} s: {len(lost)} lost, {repeats} repeated"
        )
        return wrong + rising(self.samples)


CURVES = {
    # name: (heading, factor and amount by which the last third may be above the first)
    "memory_mib": ("memory, MiB", 1.25, 8.0),
    "descriptors": ("descriptors", 1.0, 4.0),
    "threads": ("threads", 1.0, 2.0),
    "journal_mib": ("journal, MiB", 1.5, 0.2),
    "files": ("files", 1.5, 20.0),
    "ps_ms": ("`ps`, ms", 2.0, 10.0),
    "add_ms": ("`add`, ms", 2.0, 5.0),
}


def rising(samples: list[Sample]) -> list[str]:
    """Return a text for each curve whose last third lies above its middle. The first third is the warm-up."""
    third = len(samples) // 3
    found = []
    for name, (heading, factor, amount) in CURVES.items():
        middle = median(getattr(sample, name) for sample in samples[third : 2 * third])
        last = median(getattr(sample, name) for sample in samples[2 * third :])
        if last > middle * factor + amount:
            found.append(f"{heading} rose from {middle:.1f} to {last:.1f}")
    return found


def table(samples: list[Sample], rows: int = 10) -> str:
    """Return a table in Markdown of about ten samples."""
    chosen = samples[:: max(1, len(samples) // rows)]
    lines = ["| jobs so far | process | " + " | ".join(heading for heading, *_ in CURVES.values()) + " |"]
    lines.append("|" + "---:|" * (2 + len(CURVES)))
    for sample in chosen:
        values = (getattr(sample, name) for name in CURVES)
        cells = [f"{value:.1f}" if isinstance(value, float) else str(value) for value in values]
        lines.append(f"| {sample.added:,} | {sample.process} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--waves", type=int, help="default: 48, fewer for a short day")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--keep", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", help="write the samples to this file too")
    given = parser.parse_args()
    waves = given.waves or max(6, min(48, given.jobs // 300))
    plan = Plan(given.jobs, waves, given.kills, given.workers, given.keep, given.seed)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the queue must not stay
    with tempfile.TemporaryDirectory(prefix="day-") as directory:
        day = Day(Path(directory), plan)
        try:
            day.run()
        finally:
            day.killer.give_up()
            day.queue.call("stop", "--run", NAME, "--now")
        wrong = day.verdict()
    print(table(day.samples))
    if given.json:
        Path(given.json).write_text(json.dumps([sample._asdict() for sample in day.samples]))
    for text in wrong:
        print(f"wrong: {text}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
