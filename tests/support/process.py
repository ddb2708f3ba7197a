# SPDX-License-Identifier: LGPL-3.0-or-later
"""pqrun as a process: the environment it is started in, a run to its end, and what that run has printed."""

import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pqrun as package

PQRUN = (sys.executable, "-m", "pqrun")
MAX_SECONDS = 60
# What a Python program prints by mistake.
SLIPS = ("Traceback", "<built-in", "<bound method", "<function")


@dataclass
class Result:
    """The end of a process.

    `code` is as a shell sees it: 128 and the signal's number if a signal ended the process.
    """

    code: int
    stdout: bytes
    err: str

    @property
    def out(self) -> str:
        return text(self.stdout)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def document(self):
        """What `--json` printed."""
        return json.loads(self.stdout)

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


def until(fact, seconds=30.0, *, what=None):
    """Wait until `fact()` is true, and return what it was; the limit only ever fails a test."""
    end = time.monotonic() + seconds
    while not (found := fact()):
        if time.monotonic() > end:
            told = what() if callable(what) else what
            raise AssertionError(f"still not so after {seconds} s: {told or fact}")
        time.sleep(0.005)
    return found


def text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def shell_code(returncode: int) -> int:
    """Convert a code of `subprocess`, where signals are negative, to what a shell shows."""
    return 128 - returncode if returncode < 0 else returncode


def result_of(returncode: int, out: bytes, err: bytes) -> Result:
    """Make a result of what `subprocess` gives; fail if the program printed something by mistake."""
    said = text(err)
    for slip in SLIPS:
        assert slip not in said, said
    return Result(shell_code(returncode), out, said)


def argv(words) -> list[str | bytes]:
    """Return the command line of `pqrun WORDS`; words may be texts, bytes, paths or numbers."""
    return [*PQRUN, *(word if isinstance(word, bytes) else str(word) for word in words)]


def environment(more=None, *, state=None) -> dict[str, str]:
    """Return the tests' own environment with the package that they test, a state directory, and `more`."""
    kept_in = {} if state is None else {"PQRUN_STATE_DIR": str(state)}
    return {**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1]), **kept_in, **(more or {})}


def run_pqrun(*words, input=b"", env=None, **more) -> Result:
    """Run `pqrun WORDS` to its end; `more` is for `subprocess.run`.

    `env` is the whole environment (default: that of `environment()`). With `stdin` there is no `input`.
    """
    if "stdin" not in more:
        more["input"] = input.encode("utf-8", "surrogateescape") if isinstance(input, str) else input
    done = subprocess.run(
        argv(words),
        capture_output=True,
        env=environment() if env is None else env,
        timeout=MAX_SECONDS,
        check=False,
        **more,
    )
    return result_of(done.returncode, done.stdout, done.stderr)


def start_pqrun(*words, env=None, **more) -> subprocess.Popen:
    """Start `pqrun WORDS`; `more` is for `Popen`. Close it with `kill_and_close`."""
    return subprocess.Popen(argv(words), env=environment() if env is None else env, **more)


def kill_and_close(process: subprocess.Popen) -> None:
    """Kill a process that still runs, reap it, and close the pipes to it."""
    if process.poll() is None:
        process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
