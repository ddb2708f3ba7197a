# SPDX-License-Identifier: LGPL-3.0-or-later
"""A directory for one run of the batch, one thread of which is traced."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from syscalls.points import ALONE, RESUMED, SLOT
from syscalls.scenario import batch, marks, recorded_ends

ROOT = Path(__file__).parents[4]
LIMIT = 60.0
SOME = 4  # attempts that have begun when pqrun is killed, where that is part of the point
GONE_WITHIN = 8.0
PREFIX = "pqrun-syscalls-"


class Ended(NamedTuple):
    code: int | None  # None: it had to be killed
    out: str
    err: str
    log: str


def why_not() -> str:
    """Why nothing can be traced here; empty if it can."""
    if shutil.which("strace") is None:
        return "there is no strace"
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        log = f"{name}/log"
        sleeper = subprocess.Popen(["sleep", "60"])
        try:
            tracer = subprocess.Popen(["strace", "-p", str(sleeper.pid), "-o", log], stderr=subprocess.PIPE)
            time.sleep(0.3)
            traced = tracer.poll() is None
            tracer.kill()
            said = tracer.communicate()[1].decode(errors="replace").strip()
        finally:
            sleeper.kill()
            sleeper.wait()
    return "" if traced else f"nothing may be traced here: {said}"


class Place:
    """A directory for one run."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.ran = self.path / "ran"
        self.run_dir = self.path / "run"
        self.earlier: list[str] = []
        self.ended_earlier: set[str] = set()
        (self.path / "jobs.json").write_text(json.dumps(batch(self.ran, sys.executable)))

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "pqrun", *arguments]

    def environment(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("PQRUN", "PYTEST"))}
        own |= {
            "PYTHONPATH": str(ROOT),
            "PQRUN_STATE_DIR": str(self.path / "state"),
            "FAULTS": str(self.path),
        }
        return own

    def run(self, role: str, tracing: Sequence[str], *, mapping: bool = False) -> Ended:
        """Runs the batch with one thread traced."""
        gate, log = self.path / "gate", self.path / "log"
        gate.unlink(missing_ok=True)
        arguments = [
            "run", str(self.path / "jobs.json"), "--run-dir", str(self.run_dir), "--joblog", str(self.path / "joblog"),
            # With one slot its thread makes the same calls each time.
            "-j1" if role == SLOT else "-j2", "--junit", str(self.path / "junit.xml"), "--events", str(self.path / "events"),
        ]  # fmt: skip
        thread = role
        if role == RESUMED:
            self.begin_and_be_killed(arguments)
            thread, arguments = "main", ["resume", str(self.run_dir)]
        elif role == ALONE:
            thread = "warden"
        traced = Path(__file__).with_name("traced.py")
        program = [sys.executable, str(traced), thread, str(gate), str(int(mapping))]
        with open(self.path / "out", "wb") as out, open(self.path / "err", "wb") as err:
            process = subprocess.Popen(
                [*program, *arguments], env=self.environment(), cwd=self.path,
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
            )  # fmt: skip
        tracer = None
        until = time.monotonic() + LIMIT
        while process.poll() is None and time.monotonic() < until:
            if tracer is None and gate.exists():
                tracer = subprocess.Popen(
                    ["strace", "-y", "-s", "64", "-o", log, "-p", gate.read_text(), *tracing],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                )  # fmt: skip
            if role == ALONE and tracer is not None and len(marks(self.ran)) >= SOME:
                process.kill()
            with suppress(subprocess.TimeoutExpired):
                process.wait(
                    0.005 if tracer is None or role == ALONE else min(5.0, max(0.1, until - time.monotonic()))
                )
        code = process.poll()
        if code is None:
            os.kill(process.pid, signal.SIGUSR2)
            time.sleep(0.5)
            process.kill()
            process.wait()
        if tracer is not None:
            with suppress(subprocess.TimeoutExpired):
                tracer.wait(GONE_WITHIN if role == ALONE else 0.2)
            tracer.kill()
            tracer.wait()
        said = [(self.path / name).read_text(errors="replace") for name in ("out", "err")]
        return Ended(code, *said, log.read_text(errors="replace") if log.exists() else "")

    def begin_and_be_killed(self, arguments: Sequence[str]) -> None:
        """Runs a part of the batch."""
        process = subprocess.Popen(
            self.command(*arguments), env=self.environment(), cwd=self.path, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until = time.monotonic() + LIMIT
        while len(marks(self.ran)) < SOME and time.monotonic() < until:
            time.sleep(0.005)
        process.kill()
        process.wait()
        while self.alive() and time.monotonic() < until:
            time.sleep(0.01)
        self.earlier = marks(self.ran)
        self.ended_earlier = recorded_ends(self.run_dir / "journal.jsonl")

    def follow_up(self, *arguments: str) -> Ended:
        """Another pqrun, nothing of which fails."""
        process = subprocess.Popen(
            self.command(*arguments), env=self.environment(), cwd=self.path, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        code: int | None
        try:
            out, err = process.communicate(timeout=LIMIT)
            code = process.returncode
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            code = None
        return Ended(code, out.decode(errors="replace"), err.decode(errors="replace"), "")

    def alive(self) -> list[str]:
        """What lives of the run, by the mark in its environment."""
        mark = f"FAULTS={self.path}\0".encode()
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdecimal():
                with suppress(OSError):
                    proc = Path("/proc", entry)
                    marked = mark in proc.joinpath("environ").read_bytes()
                    if (
                        marked
                        and proc.joinpath("stat").read_bytes().rpartition(b")")[2].split()[0] not in b"ZX"
                    ):
                        found.append(f"{entry} {proc.joinpath('cmdline').read_bytes()!r}")
        return found

    def remove(self) -> None:
        for process in self.alive():
            with suppress(OSError):
                os.kill(int(process.partition(" ")[0]), signal.SIGKILL)
        shutil.rmtree(self.path, ignore_errors=True)
