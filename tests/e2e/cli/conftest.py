# SPDX-License-Identifier: LGPL-3.0-or-later
"""pqrun from outside: as a process, with its streams, files and exit code."""

import contextlib
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.process import (
    MAX_SECONDS,
    Result,
    environment,
    kill_and_close,
    result_of,
    run_pqrun,
    start_pqrun,
    text,
)


class Live:
    """One that runs."""

    def __init__(self, process: subprocess.Popen, directory: Path, until) -> None:
        self.process = process
        self.pid = process.pid
        self.stdin = process.stdin
        self.stdout = process.stdout
        self._err = directory / f"stderr-of-{process.pid}"
        self._until = until

    @property
    def err(self) -> str:
        """What it has said so far."""
        return text(self._err.read_bytes())

    def signal(self, number: int) -> None:
        """Sends it, as soon as it listens to signals."""
        self._until(self._listens, what=lambda: self.err)
        os.kill(self.pid, number)

    def _listens(self) -> bool:
        status = Path(f"/proc/{self.pid}/status").read_text()
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        return bool(caught >> (signal.SIGUSR1 - 1) & 1)

    def running_and_waiting(self) -> tuple[int, int]:
        """How many jobs run and wait: it says so when it gets USR1, unless that comes before all else."""
        said = len(self.err)
        asked = 0.0

        def answer():
            nonlocal asked
            if time.monotonic() > asked + 5:
                self.signal(signal.SIGUSR1)
                asked = time.monotonic()
            lines = [line for line in self.err[said:].split("\n")[:-1] if " running, " in line]
            return lines and lines[0].removeprefix("pqrun: ").split(", ")

        words = self._until(answer, what=lambda: self.err)
        counts = {what: int(count) for count, _, what in (word.partition(" ") for word in words)}
        running, _ = counts.pop("running"), counts.pop("ended")
        return running, sum(counts.values())

    def end(self, input: bytes | None = None, timeout: float = MAX_SECONDS) -> Result:
        """Waits for it."""
        out, _ = self.process.communicate(input, timeout=timeout)
        return result_of(self.process.returncode, out or b"", self._err.read_bytes())

    def children(self) -> set[int]:
        """Processes whose parent it is."""
        found: set[int] = set()
        for path in Path(f"/proc/{self.pid}/task").glob("*/children"):
            found.update(map(int, path.read_text().split()))
        return found


@pytest.fixture
def surroundings(tmp_path):
    """The environment in which pqrun is started: the tests' own, and the package that they test."""
    return environment()


@pytest.fixture
def pqrun(tmp_path, surroundings):
    """`pqrun(*words, input=…)` runs it to its end."""

    def to_its_end(*words, env=None, cwd=tmp_path, **more):
        return run_pqrun(*words, env={**surroundings, **(env or {})}, cwd=cwd, **more)

    return to_its_end


@pytest.fixture
def run(pqrun):
    """`run(*options, lines=[…])` is `pqrun run` with these commands on its stdin."""

    def run(*options, lines=(), input=None, **more):
        data = "".join(f"{line}\n" for line in lines) if input is None else input
        return pqrun("run", *options, input=data, **more)

    return run


@pytest.fixture
def side_by_side():
    """`side_by_side(do, cases)` does the same for many cases, some at a time; what came of each, in order."""

    def do_all(do, cases):
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(do, cases))

    return do_all


@pytest.fixture
def start(tmp_path, surroundings, until):
    """`start(*options)` is `pqrun run`, going on while the test does; killed at the test's end."""
    begun = []

    def begin(*options, lines=None, env=None, stdout=subprocess.PIPE, **more):
        err = (tmp_path / "stderr").open("wb")
        process = start_pqrun(
            "run",
            *options,
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=err,
            cwd=tmp_path,
            env={**surroundings, **(env or {})},
            **more,
        )
        err.close()
        (tmp_path / "stderr").rename(tmp_path / f"stderr-of-{process.pid}")
        live = Live(process, tmp_path, until)
        begun.append(process)
        if lines is not None:
            process.stdin.write("".join(f"{line}\n" for line in lines).encode())
            process.stdin.close()
            process.stdin = None
        return live

    yield begin
    for process in begun:
        kill_and_close(process)


@pytest.fixture
def gate(tmp_path):
    """Jobs that run `gate.wait` wait until the test says `gate.open()`."""

    class Gate:
        path = tmp_path / "gate"
        wait = f": < {path}"

        def open(self):
            """Lets in all that wait now."""
            self.path.open("w").close()

        def nudge(self):
            """Let in all that wait now, if any does; return None at once."""
            with contextlib.suppress(OSError):
                os.close(os.open(self.path, os.O_WRONLY | os.O_NONBLOCK))

    os.mkfifo(Gate.path)
    return Gate()
