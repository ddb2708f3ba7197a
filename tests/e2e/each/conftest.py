# SPDX-License-Identifier: LGPL-3.0-or-later
"""`pqrun` as a process, and the commands that `each` makes, without one."""

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import pqrun as package
from pqrun.core.settings import Each, Settings
from pqrun.input.each import open_arguments

sys.path.insert(0, str(Path(__file__).parent))

PQRUN = (sys.executable, "-m", "pqrun")
LONGEST = 60


@dataclass
class Result:
    """How it went. `code` is as a shell sees it: 128 and the signal's number if one ended it."""

    code: int
    out: bytes
    err: str

    @property
    def lines(self):
        return self.out.decode("utf-8", "surrogateescape").splitlines()

    @property
    def document(self):
        """What `--json` printed."""
        return json.loads(self.out)

    @property
    def jobs(self):
        return {job["id"]: job for job in self.document["jobs"]}

    @property
    def states(self):
        return {job["id"]: job["state"] for job in self.document["jobs"]}


@pytest.fixture
def environment():
    """The tests' own, with the package that they test."""
    return {**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1])}


@pytest.fixture
def pqrun(tmp_path, environment):
    """`pqrun(*words, input=…)` runs it to its end."""

    def to_its_end(*words, input=b"", env=None, **more):
        data = input.encode("utf-8", "surrogateescape") if isinstance(input, str) else input
        done = subprocess.run(
            [*PQRUN, *map(str, words)],
            input=data, capture_output=True, env={**environment, **(env or {})}, cwd=tmp_path,
            timeout=LONGEST, check=False, **more,
        )  # fmt: skip
        assert b"Traceback" not in done.stderr, done.stderr.decode("utf-8", "replace")
        code = 128 - done.returncode if done.returncode < 0 else done.returncode
        return Result(code, done.stdout, done.stderr.decode("utf-8", "surrogateescape"))

    return to_its_end


@pytest.fixture
def each(pqrun):
    """`each(*words, input=…)` is `pqrun each`, quiet and in order."""
    return lambda *words, **more: pqrun("each", "-q", "-k", *words, **more)


@pytest.fixture
def run(pqrun, tmp_path):
    """`run(text, *options)` is `pqrun run` with a job file of that text."""

    def run(text, *options, **more):
        (tmp_path / "jobs.yaml").write_text(text)
        return pqrun("run", "jobs.yaml", *options, **more)

    return run


@pytest.fixture
def live(tmp_path, environment):
    """`live(*words)` starts it and goes on; killed at the test's end."""
    begun = []

    def begin(*words, **more):
        process = subprocess.Popen(
            [*PQRUN, *map(str, words)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path,
            env=environment, **more,
        )  # fmt: skip
        begun.append(process)
        return process

    yield begin
    for process in begun:
        if process.poll() is None:
            process.kill()
        for stream in (process.stdin, process.stdout, process.stderr):
            with contextlib.suppress(OSError):
                stream.close()
        process.wait()


@pytest.fixture
def most_memory():
    """`most_memory(pid)`: the most that it has had so far, in KiB; of its own, not of who started it."""
    return lambda pid: int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0])


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """`commands(*words, …)` gives what `each` would run; files are looked for in `tmp_path`."""
    monkeypatch.chdir(tmp_path)

    def commands(*words, given=None, null=False, **more):
        settings = Settings(given=given or {}, null=null)
        arguments, parts = open_arguments(settings, Each(tuple(words), **more))
        for _, fd, head in parts:
            arguments.feed(head)
            while data := os.read(fd, 7):
                arguments.feed(data)
            os.close(fd)
            arguments.end()
        return [job.work.run for job in iter(arguments.take, None)]

    return commands
