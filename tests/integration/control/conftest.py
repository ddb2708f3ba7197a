# SPDX-License-Identifier: LGPL-3.0-or-later
"""Runs to talk to: simulated ones in this process, and real ones in processes of their own."""

import json
import os
import signal
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.process import MAX_SECONDS, Result, environment, run_pqrun, start_pqrun, until

from pqrun.control.client import ControlClient


def call(words, *, state, cwd, input="", env=None) -> Result:
    """A `pqrun` in another terminal."""
    return run_pqrun(*words, input=input, cwd=cwd, env=environment(env, state=state))


class Terminal:
    """A live run in a process of its own; calling it is another terminal."""

    def __init__(
        self, words, *, state: Path, cwd: Path, run: str, env=None, input: str | None = None
    ) -> None:
        self.state, self.cwd, self.run, self.env = state, cwd, run, env
        self.directory = state / "runs" / run
        self.said = cwd / f"said-{run}-{os.urandom(4).hex()}"
        with self.said.open("wb") as said:
            self.process = start_pqrun(
                *words,
                stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
                stdout=said,
                stderr=said,
                cwd=cwd,
                env=environment(env, state=state),
            )
        if input is not None:
            self.process.stdin.write(input.encode())
            self.process.stdin.close()

    def __call__(self, *words, **more) -> Result:
        return call(words, state=self.state, cwd=self.cwd, **more)

    @property
    def answers(self) -> bool:
        """Whether it is this process that can be talked to."""
        try:
            if int((self.directory / "lock").read_text().split()[0]) != self.process.pid:
                return False
        except (OSError, IndexError):
            return False
        with socket.socket(socket.AF_UNIX) as caller:
            return caller.connect_ex(str(self.directory / "control.sock")) == 0

    def ask(self, verb: str, **facts) -> dict:
        """The answer to a client that speaks for itself: a hundred times quicker than a command."""
        with ControlClient(str(self.directory)) as talk:
            return talk.request(verb, **facts)

    def add(self, *runs: str, **facts) -> list[str]:
        return self.ask("add", add=[{"run": run, **facts} for run in runs])["ids"]

    def jobs(self) -> dict[str, dict]:
        """The unfinished jobs by id."""
        return {job["id"]: job for job in self.ask("ps")["jobs"]}

    def states(self) -> dict[str, str]:
        return {name: job["state"] for name, job in self.jobs().items()}

    def events(self) -> list[dict]:
        """The lines of its journal."""
        lines = (self.directory / "journal.jsonl").read_bytes().split(b"\n")[:-1]
        return [json.loads(line) for line in lines]

    def end(self) -> int:
        """Its exit code, when it has ended."""
        return self.process.wait(MAX_SECONDS)

    def stop(self) -> int:
        self.ask("stop", now=True)
        return self.end()

    def kill(self) -> None:
        """As nobody should."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def state(tmp_path_factory):
    """Where runs are kept."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture
def pqrun(tmp_path, state):
    """`pqrun(*words)` runs it to its end."""
    return lambda *words, cwd=tmp_path, **more: call(words, state=state, cwd=cwd, **more)


@contextmanager
def queues(state, cwd):
    """`serve(*options)` is `pqrun serve`, in the foreground of a terminal of its own. All are ended at the end."""
    begun = []

    def serve(*options, run="queue", env=None):
        terminal = Terminal(["serve", "--run", run, *options], state=state, cwd=cwd, run=run, env=env)
        begun.append(terminal)
        until(lambda: terminal.answers or terminal.process.poll() is not None, what=terminal.said.read_text)
        return terminal

    yield serve
    for terminal in begun:
        _end(terminal)


@pytest.fixture
def queue(tmp_path, state):
    """`queue(*options)` is `pqrun serve`, in the foreground of a terminal of its own."""
    with queues(state, tmp_path) as serve:
        yield serve


@pytest.fixture
def live(tmp_path, state):
    """`live(*words, input=…)` is `pqrun run` in a terminal of its own, as soon as it can be talked to."""
    begun = []

    def start(*words, input=None, env=None):
        known = set((state / "runs").glob("*"))
        terminal = Terminal(["run", *words], state=state, cwd=tmp_path, run="?", env=env, input=input)
        begun.append(terminal)
        found = until(lambda: list(set((state / "runs").glob("*/control.sock")) - known))
        terminal.directory = found[0].parent
        terminal.run = terminal.directory.name
        # A socket has its name a moment before it takes connections.
        until(lambda: terminal.answers or terminal.process.poll() is not None, what=terminal.said.read_text)
        return terminal

    yield start
    for terminal in begun:
        _end(terminal)


def _end(terminal: Terminal) -> None:
    if terminal.process.poll() is None:
        terminal.kill()
    assert "Traceback" not in terminal.said.read_text()


@pytest.fixture
def gate(tmp_path):
    """Jobs that run `gate.wait` wait until the test says `gate.open()`."""

    class Gate:
        path = tmp_path / "gate"
        wait = f"read _ < {path}"

        def open(self, times=1):
            with self.path.open("w") as file:
                file.write("open\n" * times)

    os.mkfifo(Gate.path)
    return Gate()
