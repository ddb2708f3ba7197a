# SPDX-License-Identifier: LGPL-3.0-or-later
"""A real Dask cluster on this machine: a scheduler and workers as processes, to be killed for real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from pqrun.journal.reader import JournalReader

PATIENCE = 40.0
LONGEST_LOOK = 0.03


def wait_for(fact, seconds=PATIENCE, what=""):
    """Waits until `fact()` is true and gives what it was; the limit only makes a test fail.

    Time in which the machine was too busy to let this process look does not count.
    """
    left, looked = seconds, time.monotonic()
    while not (found := fact()):
        assert left > 0, f"still not so after {seconds} s: {what() if callable(what) else what}"
        time.sleep(0.005)
        left -= min(time.monotonic() - looked, LONGEST_LOOK)
        looked = time.monotonic()
    return found


class Cluster:
    """Processes whose logs are files; nothing of them survives `close`."""

    def __init__(self, directory: Path, *, tls: Sequence[str] = ()) -> None:
        self.directory = directory
        self.tls = tuple(tls)
        self.workers: dict[str, subprocess.Popen] = {}
        self.all: list[subprocess.Popen] = []
        self._file = directory / "scheduler.json"
        self._count = 0
        self._awaited: list[str] = []
        self.address = ""
        self.start_scheduler()

    @property
    def on(self) -> str:
        """For `--on`."""
        return self.address.replace("tcp://", "dask://")

    def _process(self, name: str, *words: str) -> subprocess.Popen:
        environment = {
            **os.environ,
            "DASK_DISTRIBUTED__WORKER__MEMORY__TERMINATE": "False",
            "DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE": "False",
            "PYTHONWARNINGS": "ignore",
        }
        with open(self.directory / f"{name}.log", "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *words, *self.tls],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=environment,
                cwd=self.directory,
            )  # fmt: skip
        self.all.append(process)
        return process

    def log(self, name: str) -> str:
        """What it has said so far."""
        return (self.directory / f"{name}.log").read_text(errors="replace")

    def start_scheduler(self, *, wait: bool = True) -> None:
        """At a free port, then always at the same."""
        self._file.unlink(missing_ok=True)
        port = self.address.rpartition(":")[2] or "0"
        protocol = "tls" if self.tls else "tcp"
        self._count += 1
        name = f"scheduler-{self._count}"
        self.scheduler = self._process(
            name, "scheduler", "--host", f"{protocol}://127.0.0.1", "--port", port, "--no-dashboard",
            "--scheduler-file", str(self._file),
        )  # fmt: skip
        if wait:
            wait_for(self._written, what=lambda: self.log(name))
            self.address = json.loads(self._file.read_text())["address"]

    def _written(self) -> bool:
        with suppress(OSError, ValueError):
            return bool(json.loads(self._file.read_text()))
        return False

    def start_workers(
        self,
        *names: str,
        threads: int = 1,
        nanny: bool = False,
        resources: str = "",
        local: Path | None = None,
        wait: bool = True,
    ) -> None:
        """Workers of these names; they are there when it returns."""
        logs = {}
        for name in names:
            self._count += 1
            logs[name] = f"{name}-{self._count}"
            self.workers[name] = self._process(
                logs[name], "worker", self.address, "--name", name, "--nthreads", str(threads),
                "--no-dashboard", "--nanny" if nanny else "--no-nanny",
                "--local-directory", str(local or self.directory),
                *(("--resources", resources) if resources else ()),
            )  # fmt: skip
        self._awaited += logs.values()
        if wait:
            self.wait_for_workers()

    def make_whole(self, *names: str) -> None:
        """All of it is there again, whatever was killed."""
        if self.scheduler.poll() is not None:
            for worker in self.workers.values():
                worker.wait(PATIENCE)
            self.start_scheduler()
        missing = [n for n in names if n not in self.workers or self.workers[n].poll() is not None]
        self.start_workers(*missing)

    def _has_registered(self, log: str) -> bool:
        return "Registered to" in self.log(log)

    def wait_for_workers(self) -> None:
        """All that were begun without waiting for them."""
        for log in self._awaited:
            wait_for(partial(self._has_registered, log), what=partial(self.log, log))
        self._awaited.clear()

    def kill(self, process: subprocess.Popen, number: int = signal.SIGKILL) -> None:
        """That process alone."""
        process.send_signal(number)
        process.wait()

    def close(self) -> None:
        """Everything."""
        for process in self.all:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Pqrun:
    """A pqrun at work on a cluster, with a record of its own. `first`: a statement for its process."""

    def __init__(
        self,
        directory: Path,
        cluster: Cluster,
        *words: str,
        jobs: str = "",
        name: str = "run",
        on: str = "",
        verb: Sequence[str] = (),
        first: str = "",
    ) -> None:
        self.record = directory / name
        self.jobs = directory / f"{name}.jobs"
        if jobs:
            self.jobs.write_text(jobs)
            words = (str(self.jobs), *words)
        self.out_path, self.err_path = directory / f"{name}.out", directory / f"{name}.err"
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            what = verb or ("run", *words, "--run-dir", str(self.record), "--on", on or cluster.on)
            program = (
                ("-c", f"{first}; from pqrun.cli.main import main; main()") if first else ("-m", "pqrun")
            )
            self.process = subprocess.Popen(
                [sys.executable, *program, *what],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=directory,
            )  # fmt: skip

    def end(self, seconds: float = 100.0) -> int:
        """Waits for it; its exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"it does not end: {self.err}") from None

    @property
    def out(self) -> bytes:
        return self.out_path.read_bytes()

    @property
    def err(self) -> str:
        return self.err_path.read_text(errors="replace")

    def events(self) -> list[dict]:
        """The journal's lines."""
        return [line for line in JournalReader(str(self.record / "journal.jsonl")) if "e" in line]

    def ends(self) -> Counter:
        """How many times each job has ended."""
        return Counter(
            event["s"] for event in self.events() if event["e"] in ("end", "done") and "o" in event
        )


def marks(path: Path) -> Counter:
    """How many times each line is in a file to which jobs append."""
    return Counter(path.read_text().split("\n")[:-1]) if path.exists() else Counter()


def lives(pid: int) -> bool:
    """Whether there is more than a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
