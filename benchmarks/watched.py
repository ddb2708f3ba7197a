# SPDX-License-Identifier: LGPL-3.0-or-later
"""What being watched costs a run: `python -m benchmarks.watched [PAIRS]`.

A run of short jobs alone and the same run while a client reads its page's events, in turn. `pqrun web` is there in
both cases, so that only the watching differs. Told: the medians of the ratios of the wall times and of the run's CPU
times, pair by pair, and the CPU time of the server.
"""

import http.client
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from threading import Thread
from urllib.parse import urlsplit

import pqrun as package

PQRUN = (sys.executable, "-m", "pqrun")
JOBS = int(os.environ.get("JOBS", "10000"))


class Watcher:
    """A client that reads the events of a run as quickly as they come, and how many bytes these were."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self.port = parts.port or 0
        answer = self._ask(f"/?{parts.query}", "")
        self.cookie = (answer.getheader("set-cookie") or "").partition(";")[0]
        found = re.search(rb"url=(/[\w-]+)/", answer.read())
        assert found
        self.path = found[1].decode()
        self.size = 0

    def _ask(self, path: str, cookie: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", path, headers={"Cookie": cookie})
        return connection.getresponse()

    def watch(self, run: str) -> None:
        answer = self._ask(f"{self.path}/run/{run}/events", self.cookie)
        while piece := answer.read1(65536):
            self.size += len(piece)
            if b'"live":false' in piece:
                return


def cost(directory: str, env: dict[str, str], watcher: Watcher | None) -> tuple[float, float]:
    """The seconds that a run takes, and those of CPU time with its jobs."""
    runs = Path(directory, "runs")
    before = set(os.listdir(runs)) if runs.exists() else set()
    began = time.perf_counter()
    process = subprocess.Popen([*PQRUN, "run", "-q", f"{directory}/list"], env=env)
    thread = None
    if watcher is not None:
        while not (new := set(os.listdir(runs)) - before if runs.exists() else set()):
            time.sleep(0.01)
        (run,) = new
        while not Path(runs, run, "journal.jsonl").exists():
            time.sleep(0.01)
        thread = Thread(target=watcher.watch, args=(run,))
        thread.start()
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = 0
    took = time.perf_counter() - began
    if thread is not None:
        thread.join()
    return took, used.ru_utime + used.ru_stime


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as directory:
        env = {
            **os.environ,
            "PQRUN_STATE_DIR": directory,
            "PYTHONPATH": str(Path(package.__file__).parents[1]),
        }
        Path(directory, "list").write_text("true\n" * JOBS)
        words = [*PQRUN, "web", "--listen", "127.0.0.1:0"]
        with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout
                watcher = Watcher(server.stdout.readline().strip())
                walls, cpus, alone, served = [], [], [], []
                for number in range(pairs):
                    # Who goes first changes, so that a drift of the machine is no advantage.
                    times = {}
                    for watched in (False, True) if number % 2 else (True, False):
                        before = cpu_seconds(server.pid)
                        times[watched] = cost(directory, env, watcher if watched else None)
                        if watched:
                            served.append(cpu_seconds(server.pid) - before)
                    alone.append(times[False][0])
                    walls.append(times[True][0] / times[False][0])
                    cpus.append(times[True][1] / times[False][1])
                    print(f"alone {times[False]}, watched {times[True]}", flush=True)
            finally:
                server.terminate()
        print(
            f"{JOBS} jobs: alone {median(alone):.2f} s, watched × {median(walls):.3f}, "
            f"CPU of the run × {median(cpus):.3f} (server {median(served):.2f} s of CPU, {watcher.size / pairs / 1e6:.1f} MB told)"
        )


if __name__ == "__main__":
    main()
