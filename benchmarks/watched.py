# SPDX-License-Identifier: LGPL-3.0-or-later
"""What being watched costs a run: `python -m benchmarks.watched [PAIRS]`.

A run of short jobs alone and the same run while a client reads its page's events, in turn. `pqrun web` and the
client are there in both cases, so that only the watching differs. The client is a process of its own. It reads as a
browser does, as quickly as the events come, and decodes their JSON; it draws nothing.

Told: the medians of the ratios of the wall times and of the run's CPU times, pair by pair; the CPU times of the server
and of the client while the run lasts; and how long after the run the client has everything, the CPU time until then
included. JOBS=N sets the number of jobs.
"""

import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple
from urllib.parse import urlsplit

import pqrun as package

PQRUN = (sys.executable, "-m", "pqrun")
JOBS = int(os.environ.get("JOBS", "10000"))


class Cost(NamedTuple):
    """What a run took, in seconds. `later`: from its end until the client had everything."""

    wall: float
    cpu: float
    server: float
    client: float
    later: float
    server_later: float


def read_events(address: str) -> None:
    """Be the client: read the events of the runs that are named on stdin, and print how many bytes each took."""
    parts = urlsplit(address)

    def ask(path: str, cookie: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", parts.port or 0)
        connection.request("GET", path, headers={"Cookie": cookie})
        return connection.getresponse()

    answer = ask(f"/?{parts.query}", "")
    cookie = (answer.getheader("set-cookie") or "").partition(";")[0]
    found = re.search(rb"url=(/[\w-]+)/", answer.read())
    assert found
    for run in sys.stdin:
        answer, size, rest = ask(f"{found[1].decode()}/run/{run.strip()}/events", cookie), 0, b""
        live = True
        while live and (piece := answer.read1(65536)):
            size += len(piece)
            *events, rest = (rest + piece).split(b"\n\n")
            for event in events:
                data = event.partition(b"data: ")[2]
                live = not data or json.loads(data).get("live", True)
        answer.close()
        print(size, flush=True)


class Watching:
    """The server and its client."""

    def __init__(self, env: dict[str, str]) -> None:
        words = [*PQRUN, "web", "--listen", "127.0.0.1:0"]
        self.server = subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True)
        assert self.server.stdout
        words = [sys.executable, "-m", "benchmarks.watched", self.server.stdout.readline().strip()]
        self.client = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def begin(self, run: str) -> None:
        """Have the client read the events of a run."""
        assert self.client.stdin
        self.client.stdin.write(f"{run}\n")
        self.client.stdin.flush()

    def end(self) -> int:
        """Wait until the client has everything; return how many bytes that were."""
        assert self.client.stdout
        return int(self.client.stdout.readline())

    def cpu(self) -> tuple[float, float]:
        """The CPU times of server and client so far."""
        return cpu_seconds(self.server.pid), cpu_seconds(self.client.pid)

    def close(self) -> None:
        """End both."""
        for process in (self.client, self.server):
            process.terminate()
            process.wait()


def cost(directory: str, env: dict[str, str], watching: Watching, *, is_watched: bool) -> tuple[Cost, int]:
    """What a run costs, and how many bytes the client has read."""
    runs = Path(directory, "runs")
    before = set(os.listdir(runs)) if runs.exists() else set()
    server, client = watching.cpu()
    began = time.perf_counter()
    process = subprocess.Popen([*PQRUN, "run", "-q", f"{directory}/list"], env=env)
    while not (new := set(os.listdir(runs)) - before if runs.exists() else set()):
        time.sleep(0.01)
    (run,) = new
    while not Path(runs, run, "journal.jsonl").exists():
        time.sleep(0.01)
    if is_watched:
        watching.begin(run)
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = 0
    ended = time.perf_counter()
    at_end = watching.cpu()
    size = watching.end() if is_watched else 0
    later = watching.cpu()
    found = Cost(
        wall=ended - began,
        cpu=used.ru_utime + used.ru_stime,
        server=at_end[0] - server,
        client=at_end[1] - client,
        later=time.perf_counter() - ended,
        server_later=later[0] - server,
    )
    return found, size


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure, and print the result."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as directory:
        env = {
            **os.environ,
            "PQRUN_STATE_DIR": directory,
            "PYTHONPATH": str(Path(package.__file__).parents[1]),
        }
        Path(directory, "list").write_text("true\n" * JOBS)
        watching = Watching(env)
        found: dict[bool, list[Cost]] = {False: [], True: []}
        sizes = []
        try:
            for number in range(pairs):
                # Who goes first changes, so that a drift of the machine is no advantage.
                for is_watched in (False, True) if number % 2 else (True, False):
                    one, size = cost(directory, env, watching, is_watched=is_watched)
                    found[is_watched].append(one)
                    print("watched" if is_watched else "alone", one, flush=True)
                    if is_watched:
                        sizes.append(size)
        finally:
            watching.close()
    alone, watched = found[False], found[True]
    walls = median(two.wall / one.wall for one, two in zip(alone, watched, strict=True))
    cpus = median(two.cpu / one.cpu for one, two in zip(alone, watched, strict=True))
    server, client = median(one.server for one in watched), median(one.client for one in watched)
    print(
        f"{JOBS} jobs: alone {median(one.wall for one in alone):.2f} s, watched × {walls:.3f}, CPU of the run × "
        f"{cpus:.3f}; meanwhile {server:.2f} s of CPU for the server, {client:.2f} s for the client; everything is there "
        f"{median(one.later for one in watched):.2f} s later, after {median(one.server_later for one in watched):.2f} s "
        f"of CPU and {median(sizes) / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1].startswith("http"):
        read_events(sys.argv[1])
    else:
        main()
