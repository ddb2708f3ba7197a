# SPDX-License-Identifier: LGPL-3.0-or-later
"""A day in the life of a queue, compressed: `python -m benchmarks.day [--jobs 1000000]`.

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
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.living_queue import NAME, PQRUN, START_TIMEOUT_SECONDS, Crowd, Killer, LivingQueue
from pqrun.control.client import ControlClient
from pqrun.core.errors import InternalFailure

BATCH = 200


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


class Day:
    """The whole day. `must` and `may`: the jobs that have to run, and those that were cancelled."""

    def __init__(self, here: Path, plan: Plan) -> None:
        self.plan = plan
        self.marks = here / "marks"
        self.marks.touch()
        self.chance = random.Random(plan.seed)
        self.queue = LivingQueue(here, workers=plan.workers, keep=plan.keep)
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
            sum(len(folders) + len(files) for _, folders, files in os.walk(queue.run)),
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
        if not self.crowd.clients:
            wrong.append("no odd client came")
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
    "files": ("files and folders", 1.5, 20.0),
    "ps_ms": ("`ps`, ms", 2.0, 10.0),
    "add_ms": ("`add`, ms", 2.0, 5.0),
}


def rising(samples: list[Sample]) -> list[str]:
    """Return a text for each curve whose last third lies above its middle. The first third is the warm-up."""
    third = len(samples) // 3
    found: list[str] = []
    if not third:
        return found
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
