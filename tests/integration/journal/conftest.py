# SPDX-License-Identifier: LGPL-3.0-or-later
"""pqrun as a process that is killed, and the record that it leaves."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support.process import Result, environment, kill_and_close, run_pqrun, start_pqrun, text

from pqrun.journal.run_directory import RunDirectory


class World:
    """A directory, a state directory, and pqrun in them."""

    def __init__(self, here: Path, until) -> None:
        self.here = here
        self.until = until
        self.begun = []
        self.environment = environment()

    @property
    def state(self) -> Path:
        return Path(os.environ["PQRUN_STATE_DIR"])

    @property
    def runs(self) -> list[Path]:
        """The directories of the runs in the state directory, the first one first."""
        found = [path.parent for path in self.state.glob("runs/*/journal.jsonl") if path.stat().st_size]
        return sorted(found, key=lambda path: first_line(path)["at"])

    @property
    def only_run(self) -> Path:
        (path,) = self.runs
        return path

    def recorded(self, kind: str, count: int = 1) -> bool:
        """Whether there is a run, and its journal has so many lines of that kind."""
        return bool(self.runs) and len(lines_of(self.only_run, kind)) >= count

    def pqrun(self, *words, lines=None, input=b"", env=None, **more) -> Result:
        """Runs it to its end."""
        return run_pqrun(
            *words,
            input=input if lines is None else "".join(f"{line}\n" for line in lines),
            env={**self.environment, **(env or {})},
            cwd=more.pop("cwd", self.here),
            **more,
        )

    def look(self, *words) -> Result:
        """A command that only looks back, in this process: much quicker."""
        import pqrun.cli.main

        kept = [os.dup(fd) for fd in (1, 2)]
        before, arguments = os.getcwd(), sys.argv
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            try:
                os.chdir(self.here)
                sys.argv = ["pqrun", *map(str, words)]
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                code = pqrun.cli.main.run()
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                for fd in (1, 2):
                    os.dup2(kept[fd - 1], fd)
                    os.close(kept[fd - 1])
                os.chdir(before)
                sys.argv = arguments
            out.seek(0)
            err.seek(0)
            return Result(code, out.read(), text(err.read()))

    def start(self, *words, lines=None, stdin=subprocess.PIPE, **more) -> subprocess.Popen:
        """Starts it; it is killed at the test's end."""
        process = start_pqrun(
            *words,
            stdin=stdin,
            stdout=more.pop("stdout", subprocess.DEVNULL),
            stderr=more.pop("stderr", subprocess.DEVNULL),
            env=self.environment,
            cwd=self.here,
            **more,
        )
        self.begun.append(process)
        if lines is not None:
            process.stdin.write("".join(f"{line}\n" for line in lines).encode())
            process.stdin.close()
            process.stdin = None
        return process

    def kill(self, process: subprocess.Popen) -> None:
        """As the system's out-of-memory killer does it."""
        process.send_signal(signal.SIGKILL)
        process.wait()

    def wait_until_all_is_gone(self) -> None:
        """What a killed pqrun has left is being ended by a watchdog."""
        self.until(lambda: not any(RunDirectory(str(run)).in_use() for run in self.runs))

    def kill_when(self, fact, *words, **more) -> None:
        """Starts it, and kills it as soon as that is so."""
        process = self.start(*words, **more)
        self.until(lambda: fact() or process.poll() is not None)
        assert process.poll() is None, f"ended with {process.returncode} before it could be killed"
        self.kill(process)

    def write(self, name: str, text: str) -> Path:
        path = self.here / name
        path.write_text(text)
        return path

    def read(self, name: str) -> str:
        """What jobs have written there; nothing if they have not yet."""
        path = self.here / name
        return path.read_text() if path.exists() else ""

    def counted(self, name: str) -> dict[str, int]:
        """How often each line is in a file to which jobs append their ids."""
        lines = self.read(name).split("\n")[:-1]
        return {line: lines.count(line) for line in sorted(set(lines))}


def first_line(run: Path) -> dict:
    with (run / "journal.jsonl").open() as file:
        return json.loads(file.readline())


def lines_of(run: Path, *kinds: str) -> list[dict]:
    """The lines of a run's journal; only of those kinds, if there are any."""
    lines = [json.loads(line) for line in (run / "journal.jsonl").read_bytes().split(b"\n")[:-1]]
    return [line for line in lines if not kinds or line.get("e") in kinds]


@pytest.fixture
def world(tmp_path, until):
    world = World(tmp_path, until)
    yield world
    for process in world.begun:
        kill_and_close(process)
