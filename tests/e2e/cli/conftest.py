# SPDX-License-Identifier: LGPL-3.0-or-later
"""pqrun from outside: as a process, with its streams, files and exit code."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

import pqrun as package

PQRUN = (sys.executable, "-m", "pqrun")
LONGEST = 60


@dataclass
class Result:
    """How it went. `code` is as a shell sees it: 128 and the signal's number if one ended it."""

    code: int
    out: str
    err: str

    @property
    def document(self):
        """What `--json` printed."""
        return json.loads(self.out)

    @property
    def metrics(self):
        return self.document["metrics"]

    @property
    def jobs(self):
        """The jobs of the document by id."""
        return {job["id"]: job for job in self.document["jobs"]}

    @property
    def states(self):
        return {job["id"]: job["state"] for job in self.document["jobs"]}

    def __iter__(self):
        return iter((self.code, self.out))


def text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def result_of(returncode: int, out: bytes, err: bytes) -> Result:
    for slip in (b"Traceback", b"<built-in", b"<bound method", b"<function"):
        assert slip not in err, err.decode("utf-8", "replace")
    return Result(128 - returncode if returncode < 0 else returncode, text(out), text(err))


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
        return int(words[0].split()[0]), int(words[1].split()[0])

    def end(self, input: bytes | None = None, timeout: float = LONGEST) -> Result:
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
    return {**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1])}


@pytest.fixture
def pqrun(tmp_path, surroundings):
    """`pqrun(*words, input=…)` runs it to its end."""

    def to_its_end(*words, input=b"", env=None, cwd=tmp_path, **more):
        data = input.encode("utf-8", "surrogateescape") if isinstance(input, str) else input
        if "stdin" not in more:
            more["input"] = data
        done = subprocess.run(
            [*PQRUN, *map(str, words)],
            capture_output=True,
            env={**surroundings, **(env or {})},
            cwd=cwd,
            timeout=LONGEST,
            check=False,
            **more,
        )
        return result_of(done.returncode, done.stdout, done.stderr)

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
        process = subprocess.Popen(
            [*PQRUN, "run", *map(str, options)],
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
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


@pytest.fixture
def gate(tmp_path):
    """Jobs that run `gate.wait` wait until the test says `gate.open()`."""

    class Gate:
        path = tmp_path / "gate"
        wait = f": < {path}"

        def open(self):
            """Lets in all that wait now."""
            self.path.open("w").close()

    os.mkfifo(Gate.path)
    return Gate()
