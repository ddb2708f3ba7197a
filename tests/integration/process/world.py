# SPDX-License-Identifier: LGPL-3.0-or-later
"""The world in which a fault test happens: real processes, and the facts about them.

Children announce themselves on a FIFO, and `/proc` tells who lives. Nothing here sleeps in the hope
that something has happened by then: a deadline only makes a test fail.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from pqrun.executors.local.watchdog_process import SharedTable

ROOT = Path(__file__).parents[3]
PATIENCE = 20.0
LONGEST_LOOK = 0.03
SOMEBODY = 61_000 + os.getpid() % 1000  # who has no other processes, nor those of a test beside this one
AS_SOMEBODY = ("setpriv", f"--reuid={SOMEBODY}", f"--regid={SOMEBODY}", "--clear-groups")

STAY = """\
echo "$3 $$" > "$1"
read never < "$2"
"""
DEAF = """\
trap '' TERM INT HUP QUIT
echo "$3 $$" > "$1"
read never < "$2"
"""
STOPPED = """\
echo "$3 $$" > "$1"
kill -STOP $$
read never < "$2"
"""
ASKED = """\
trap 'echo "asked $$" > "$1"' TERM INT HUP QUIT
echo "$3 $$" > "$1"
while [ -e "$1" ]; do sleep 0.1; done
"""
# Not `read`: a signal between the shell's last look and its system call would be seen only after it.
CHAIN = """\
[ -e "$1" ] || exit 0
[ -n "$4" ] || echo "$3 $$" > "$1"
sh "$0" "$1" "$2" "$3" hop &
"""


class Proc(NamedTuple):
    """A living process, as a failing test should show it."""

    pid: int
    state: str
    parent: int
    group: int
    session: int
    command: str


class Facts(NamedTuple):
    """How a run went."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.out)

    @property
    def states(self) -> list[str]:
        return [job["state"] for job in self.document["jobs"]]


def until(fact: Callable[[], Any], within: float = PATIENCE) -> Any:
    """Waits for a fact, and returns it. Time in which the machine was too busy to look does not count."""
    left, looked = within, time.monotonic()
    while not (found := fact()):
        assert left > 0, f"not within {within} s: {fact}"
        time.sleep(0.003)
        left -= min(time.monotonic() - looked, LONGEST_LOOK)
        looked = time.monotonic()
    return found


def processes() -> Iterator[Proc]:
    for name in os.listdir("/proc"):
        if name.isdecimal() and (proc := look(int(name))):
            yield proc


def look(pid: int) -> Proc | None:
    """That process, unless it is dead."""
    with suppress(OSError):
        text = Path(f"/proc/{pid}/stat").read_bytes()
        facts = text[text.rfind(b")") + 2 :].split()
        if facts[0] in (b"Z", b"X"):
            return None
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return Proc(pid, facts[0].decode(), int(facts[1]), int(facts[2]), int(facts[3]), command.strip())
    return None


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


class World:
    """A directory, two FIFOs, scripts that refuse to die, and pqrun."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.fifo = directory / "told"
        self.never = directory / "never"
        self.gate = directory / "gate"
        for path in (self.fifo, self.never, self.gate):
            os.mkfifo(path)
        self._told, self._never, self._gate = (
            os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            for path in (self.fifo, self.never, self.gate)
        )
        self._rest = b""
        self._lines: list[str] = []
        for name, text in (("stay", STAY), ("deaf", DEAF), ("stopped", STOPPED), ("asked", ASKED),
                           ("chain", CHAIN)):  # fmt: skip
            (directory / f"{name}.sh").write_text(text)
        self.started: list[Run] = []

    # Scripts

    def script(self, name: str, called: str | None = None) -> str:
        """A command that announces itself and then stays; it survives all but what its name says."""
        return f"sh {self.directory}/{name}.sh {self.fifo} {self.never} {called or name}"

    def tell(self, what: str) -> str:
        """A command that announces something."""
        return f"echo {what} > {self.fifo}"

    @property
    def forever(self) -> str:
        """A command of the shell's own that does not end."""
        return f"read never < {self.never}"

    @property
    def wait_at_the_gate(self) -> str:
        """A command of the shell's own that ends when somebody is let through."""
        return f"read go < {self.gate}"

    def let_through(self, count: int = 1) -> None:
        os.write(self._gate, b"\n" * count)

    # Facts

    def told(self, count: int = 1, within: float = PATIENCE) -> list[str]:
        """The next announcements, as many as that."""
        deadline = time.monotonic() + within
        while len(self._lines) < count:
            left = deadline - time.monotonic()
            assert left > 0, f"{len(self._lines)} of {count} announced: {self._lines}{self._complaints()}"
            if select.select([self._told], [], [], left)[0]:
                *lines, self._rest = (self._rest + os.read(self._told, 65536)).split(b"\n")
                self._lines += [line.decode() for line in lines]
        told, self._lines = self._lines[:count], self._lines[count:]
        return told

    def _complaints(self) -> str:
        """What those that have ended already have to say, for a test that fails."""
        ended = [run.end() for run in self.started if run.process.poll() is not None]
        return "".join(f"\nexit {facts.code}: {facts.err}" for facts in ended)

    def forget(self) -> None:
        """Announcements that nobody has waited for."""
        with suppress(BlockingIOError):
            while os.read(self._told, 65536):
                pass
        self._lines, self._rest = [], b""

    def told_pids(self, count: int = 1) -> dict[str, int]:
        """The same of lines `NAME PID`."""
        return {name: int(pid) for name, _, pid in (line.partition(" ") for line in self.told(count))}

    def pids_told(self, count: int = 1) -> set[int]:
        """The numbers alone, of jobs that may be called the same."""
        return {int(line.split()[1]) for line in self.told(count)}

    def alive(self) -> list[Proc]:
        """Every process that came from this test: by its environment, or by its command."""
        mark = str(self.directory).encode()
        found = []
        for proc in processes():
            with suppress(OSError):
                if mark in Path(f"/proc/{proc.pid}/environ").read_bytes() or mark.decode() in proc.command:
                    found.append(proc)
        return found

    def none_alive(self) -> bool:
        return not self.alive()

    # pqrun

    def environment(self, **more: str) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("PQRUN", "PYTEST"))}
        return own | {
            "PYTHONPATH": str(ROOT),
            "PQRUN_STATE_DIR": str(self.directory / "state"),
            "FAULTS": str(self.directory),
            **more,
        }

    def start(
        self,
        jobs: str,
        *options: str,
        wrap: tuple[str, ...] = (),
        kind: str = "lines",
        without: str = "",
        **popen: Any,
    ) -> Run:
        """pqrun, running a list of commands, or a job file (`kind="yaml"`).

        `without`: a statement that takes something from it that not every system has.
        """
        path = self.directory / f"jobs-{len(self.started)}.{kind}"
        path.write_text(jobs)
        program = (
            ("-c", f"{without}; from pqrun.cli.main import main; main()") if without else ("-m", "pqrun")
        )
        command = [*wrap, sys.executable, *program, "run", *options, str(path)]
        popen = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL} | popen
        more = popen.pop("env", {})
        process = subprocess.Popen(
            command, env=self.environment(**more), cwd=self.directory, start_new_session=True, **popen
        )
        run = Run(process)
        self.started.append(run)
        return run

    def command(self, *words: str, wrap: tuple[str, ...] = ()) -> Facts:
        """Another command of pqrun, to its end."""
        process = subprocess.Popen(
            [*wrap, sys.executable, "-m", "pqrun", *words],
            env=self.environment(), cwd=self.directory, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.started.append(Run(process))
        return self.started[-1].end()

    def run(self, jobs: str, *options: str, **more: Any) -> Facts:
        """The same, to its end."""
        return self.start(jobs, *options, **more).end()

    def clean(self) -> list[Proc]:
        """Ends what a failed test has left, and says what that was."""
        for path in (self.fifo, self.never, self.gate):
            path.unlink()
        left = self.alive()
        deadline = time.monotonic() + 5
        while (more := self.alive()) and time.monotonic() < deadline:
            for proc in more:
                with suppress(OSError):
                    os.kill(proc.pid, signal.SIGKILL)
        for run in self.started:
            run.process.kill()
            run.process.communicate()
        for fd in (self._told, self._never, self._gate):
            os.close(fd)
        return left


class Run:
    """A pqrun that was started."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.pid = process.pid

    def signal(self, number: int, *, group: bool = False) -> None:
        os.killpg(self.pid, number) if group else os.kill(self.pid, number)

    def end(self, within: float = PATIENCE) -> Facts:
        """Waits for its end; nobody who holds its output is waited for."""
        out, err = self.process.communicate(timeout=within)
        return Facts(
            self.process.returncode,
            (out or b"").decode(errors="replace"),
            (err or b"").decode(errors="replace"),
        )

    def watchdogs(self) -> list[int]:
        """The numbers of its two watchdogs, once both are there."""

        def fact() -> list[int]:
            found = [p.pid for p in processes() if p.parent == self.pid and p.command == "pq-warden"]
            return found if len(found) == 2 else []

        return until(fact)

    def noted(self, pids: set[int]) -> None:
        """Waits until the watchdogs could know these jobs: a job may speak before pqrun has noted it."""
        table = until(self._table)
        fd = os.open(table, os.O_RDONLY)
        try:
            until(lambda: pids <= SharedTable(fd).jobs().keys())
        finally:
            os.close(fd)

    def _table(self) -> str:
        """The file that it shares with its watchdogs; other descriptors come and go meanwhile."""
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            path = f"/proc/{self.pid}/fd/{fd}"
            with contextlib.suppress(FileNotFoundError):
                if "memfd:pq-watchdog" in os.readlink(path):
                    return path
        return ""

    def new_watchdogs(self, before: list[int]) -> list[int]:
        """The same once none of those before is left."""
        return until(lambda: found if not {*(found := self.watchdogs())} & {*before} else [])
