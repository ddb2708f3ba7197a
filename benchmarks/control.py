# SPDX-License-Identifier: LGPL-3.0-or-later
"""How quickly a live run answers, and takes jobs in, however many it has: `python benchmarks/control.py`."""

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import pqrun as package
from pqrun.control.client import ControlClient

PQRUN = (sys.executable, "-m", "pqrun")
QUEUED = 10_000
ROUNDS = 30
LINES = "true\n" * QUEUED


class Queue:
    """A `pqrun serve` of its own."""

    def __init__(self, directory: str) -> None:
        self.path = f"{directory}/runs/queue"
        self.environment = {
            **os.environ,
            "PQRUN_STATE_DIR": directory,
            "PYTHONPATH": str(Path(package.__file__).parents[1]),
        }
        self("serve", "--detach", "-j1", "-q", "--max-queue", "1000000")
        self.process = int(Path(f"{self.path}/lock").read_text().split()[0])

    def busy(self) -> float:
        """Milliseconds that its main thread has been on a CPU."""
        return int(Path(f"/proc/{self.process}/schedstat").read_text().split()[0]) / 1e6

    def __call__(self, *words: str, input: str = "") -> float:
        """Seconds that the command takes."""
        began = time.perf_counter()
        subprocess.run(
            [*PQRUN, *words],
            input=input.encode(),
            env=self.environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return time.perf_counter() - began

    def ask(self, verb: str, **facts) -> float:
        """Milliseconds from connecting to having the answer."""
        began = time.perf_counter()
        with ControlClient(self.path) as talk:
            talk.request(verb, **facts)
        return (time.perf_counter() - began) * 1000


def say(what: str, *numbers: object) -> None:
    sys.stdout.write(f"{what:<54} {'  '.join(map(str, numbers))}\n")
    sys.stdout.flush()


def answers(queue: Queue) -> None:
    asked = {
        "add": {"add": [{"run": "true"}]},
        "add, with needs": {"add": [{"run": "true", "needs": ["5000"]}]},
        "ps, all": {},
        "ps, one": {"jobs": ["5000"]},
        "ps, a glob": {"jobs": ["500*"]},
        "ps, why": {"jobs": ["5000"], "why": True},
        "set, one": {"jobs": ["5000"], "change": {"priority": "high"}},
        "set, front": {"jobs": ["6000"], "front": True},
        "cancel, a glob": {"jobs": ["7?00"]},
        "wait, for an ended one": {"jobs": ["7100"]},
        "pause": {},
        "workers": {"workers": 1},
        "pool": {"pool": "net", "size": 2},
        "info": {},
        "output": {"job": "5000"},
    }
    for name, facts in asked.items():
        before = queue.busy()
        times = [queue.ask(name.partition(",")[0], **facts) for _ in range(ROUNDS)]
        own = (queue.busy() - before) / ROUNDS
        say(
            f"{name}: median, longest, of that the run's CPU, ms",
            f"{median(times):.1f}",
            f"{max(times):.1f}",
            f"{own:.1f}",
        )


def many_at_once(queue: Queue) -> None:
    """What takes several turns, and what others notice of it."""
    for verb, facts in (("set", {"change": {"priority": "low"}}), ("cancel", {})):
        with ThreadPoolExecutor() as pool:
            doing = pool.submit(queue.ask, verb, jobs=["all"], **facts)
            time.sleep(0.02)
            other = queue.ask("ps", jobs=["5000"])
            say(
                f"{verb} all: it, and another's question meanwhile, ms",
                f"{doing.result():.0f}",
                f"{other:.0f}",
            )


def growth(queue: Queue) -> None:
    times = [queue("add", "-f", "-", input=LINES) for _ in range(10)]
    say("add -f of 10,000 jobs, ten times, s", *(f"{seconds:.2f}" for seconds in times))
    with ControlClient(queue.path) as talk:
        began = time.perf_counter()
        for _ in range(300):
            talk.request("add", add=[{"run": "true"}])
        say("adding one by one with 100,000 queued, a second", f"{300 / (time.perf_counter() - began):.0f}")
    say("ps of 100,000 jobs, ms", f"{queue.ask('ps'):.0f}")


def fifty(queue: Queue) -> None:
    def client(_number: int) -> int:
        with ControlClient(queue.path) as talk:
            return sum(len(talk.request("add", add=[{"run": "true"}])["ids"]) for _ in range(20))

    began = time.perf_counter()
    with ThreadPoolExecutor(50) as pool:
        added = sum(pool.map(client, range(50)))
    say("50 clients add 20 jobs each: added, s", added, f"{time.perf_counter() - began:.2f}")


def commands(queue: Queue) -> None:
    for words in (["ps", "5000"], ["add", "true"], ["set", "5000", "-p", "high"]):
        times = [queue(*words) * 1000 for _ in range(10)]
        say(f"the command `pqrun {' '.join(words)}`: median, ms", f"{median(times):.0f}")


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        queue = Queue(directory)
        queue.ask("pause")
        say("add -f of 10,000 jobs, s", f"{queue('add', '-f', '-', input=LINES):.2f}")
        answers(queue)
        commands(queue)
        fifty(queue)
        many_at_once(queue)
        growth(queue)
        queue.ask("stop", now=True)


if __name__ == "__main__":
    main()
