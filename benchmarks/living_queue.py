# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a queue lives with: it is started again when it is gone, odd clients come and go, and it is killed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from threading import Event, Thread
from typing import Any

import pqrun as package
from pqrun.control.client import NO_LIVE_RUN, ControlClient
from pqrun.control.protocol import short_path
from pqrun.core.errors import InternalFailure

PQRUN = (sys.executable, "-m", "pqrun")
NAME = "day"
PROBES = 9
MAX_QUEUE = 2000
FULL = 75
NOTHING_TO_DO = 1
START_TIMEOUT_SECONDS = 60.0


class LivingQueue:
    """A `pqrun serve` that is started again whenever it is gone. `processes`: how often it was started."""

    def __init__(self, here: Path, *, workers: int, keep: int) -> None:
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
        self._options = [f"-j{workers}", "-q", "--max-queue", str(MAX_QUEUE), "--keep", str(keep)]
        self.start()

    def start(self) -> None:
        """Start the queue, as its user would after a crash."""
        began = time.monotonic()
        while (done := self.call("serve", "--detach", "--run", NAME, *self._options)).returncode:
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
            with contextlib.suppress(OSError), short_path(self._path) as path:
                client.connect(path)  # unless the queue was killed a moment ago
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
