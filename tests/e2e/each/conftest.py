# SPDX-License-Identifier: LGPL-3.0-or-later
"""`pqrun` as a process, and the commands that `each` makes, without one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import process

from pqrun.core.settings import Each, InputSettings
from pqrun.input.each import open_arguments

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def environment():
    """The tests' own, with the package that they test."""
    return process.environment()


@pytest.fixture
def pqrun(tmp_path, environment):
    """`pqrun(*words, input=…)` runs it to its end."""

    def to_its_end(*words, env=None, **more):
        return process.run_pqrun(*words, env={**environment, **(env or {})}, cwd=tmp_path, **more)

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
        begun.append(
            process.start_pqrun(
                *words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path,
                env=environment, **more,
            )
        )  # fmt: skip
        return begun[-1]

    yield begin
    for one in begun:
        process.kill_and_close(one)


@pytest.fixture
def most_memory():
    """`most_memory(pid)`: the most that it has had so far, in KiB; of its own, not of who started it."""
    return lambda pid: int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0])


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """`commands(*words, …)` gives what `each` would run; files are looked for in `tmp_path`."""
    monkeypatch.chdir(tmp_path)

    def commands(*words, given=None, null=False, **more):
        settings = InputSettings(given=given or {}, null=null)
        arguments, parts = open_arguments(settings, Each(tuple(words), **more))
        for part in parts:
            arguments.feed(part.head)
            while data := os.read(part.fd, 7):
                arguments.feed(data)
            os.close(part.fd)
            arguments.end()
        return [job.work.run for job in iter(arguments.take, None)]

    return commands
