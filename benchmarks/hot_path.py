# SPDX-License-Identifier: LGPL-3.0-or-later
"""What one job of a list costs in Python and in system calls, counted instead of measured.

    python -m benchmarks.hot_path [--jobs 40] [--least 20] [--json]

A run of N jobs and one of 2N jobs are traced, at -j1 with journal and capture; their difference, divided by N,
is the cost of one job in the steady state. The counts hardly depend on the machine: on a busy one the dispatcher
hands over smaller batches, and some jobs are not short any more, so the least of a few rounds is the cost. System
calls are those of pqrun's own threads, without futex and sleeps.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from benchmarks.measure import workplace

MAIN = "MainThread"
NOT_COUNTED = {"futex", "clock_gettime", "clock_nanosleep", "restart_syscall", "exit", "+++", "---"}


Counts = dict[tuple[str, str, str], float]


class Cost(NamedTuple):
    """The cost of one job. `opcodes` and `calls` by (thread, module, function); `syscalls` by name, or None."""

    opcodes: Counts
    calls: Counts
    syscalls: dict[str, float] | None

    def totals(self) -> dict[str, Any]:
        """Return the sums.

        `slot`: the opcodes of the slot's thread, which runs the job and the turn; a part of `opcodes`. `reading`: those
        of the main thread, which reads and adds the job; they are not in `opcodes` and `calls`.
        """
        return {
            "opcodes": sum(n for key, n in self.opcodes.items() if key[0] != MAIN),
            "slot": sum(n for key, n in self.opcodes.items() if key[0].startswith("pqrun-slot")),
            "calls": sum(n for key, n in self.calls.items() if key[0] != MAIN),
            "reading": sum(n for key, n in self.opcodes.items() if key[0] == MAIN),
            "syscalls": None if self.syscalls is None else sum(self.syscalls.values()),
        }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hot_path", description=__doc__)
    parser.add_argument("--jobs", type=int, default=40, help="jobs of the shorter run [40]")
    parser.add_argument("--least", type=float, default=20, help="leave out functions below this [20]")
    parser.add_argument("--slots", type=int, default=1, help="slots [1]")
    parser.add_argument("--line", default="true", help="the command of a job [true]")
    parser.add_argument("--rounds", type=int, default=1, help="count so many times, and take the least [1]")
    parser.add_argument("--json", action="store_true", help="write the sums as JSON, nothing else")
    options = parser.parse_args()
    with workplace() as directory:
        for name, count in (("short", options.jobs), ("long", 2 * options.jobs)):
            (directory / name).write_text(f"{options.line}\n" * count)
        _traced(directory, "short", options.slots)  # compiles the modules
        syscalls = system_calls_of_a_job(directory, options.jobs, options.slots)
        costs = [
            Cost(*python_of_a_job(directory, options.jobs, options.slots), syscalls)
            for _ in range(options.rounds)
        ]
    if options.json:
        totals = [cost.totals() for cost in costs]
        print(json.dumps({name: min(one[name] for one in totals) for name in totals[0]}))
    else:
        print(table(min(costs, key=lambda cost: cost.totals()["opcodes"]), options.least))


def python_of_a_job(directory: Path, jobs: int, slots: int) -> tuple[Counts, Counts]:
    """Return the opcodes and the calls of one job, from a run of `jobs` and one of twice as many."""
    short, long = (_traced(directory, name, slots) for name in ("short", "long"))
    opcodes, calls = ({key: (b[key] - a[key]) / jobs for key in b} for a, b in zip(short, long, strict=True))
    return opcodes, calls


def system_calls_of_a_job(directory: Path, jobs: int, slots: int) -> dict[str, float] | None:
    """Return the system calls of one job by name, None if nothing can be traced here."""
    if not _can_strace():
        return None
    few, many = (_system_calls(directory, name, slots) for name in ("short", "long"))
    return {key: (many[key] - few[key]) / jobs for key in many}


def function_rows(opcodes: Counts, calls: Counts, least: float) -> list[str]:
    """Return the rows of a table: the functions with at least `least` opcodes a job, the most expensive first."""
    rows = ["| opcodes | calls | thread | function |", "|---|---|---|---|"]
    for key, count in sorted(opcodes.items(), key=lambda item: -item[1]):
        if count >= least:
            thread, module, function = key
            rows.append(f"| {count:.0f} | {calls[key]:.2f} | {thread} | {module}: {function} |")
    return rows


def table(cost: Cost, least: float) -> str:
    """Return the functions that cost most, as Markdown."""
    lines = function_rows(cost.opcodes, cost.calls, least)
    by_thread: dict[str, float] = dict.fromkeys((key[0] for key in cost.opcodes), 0.0)
    for (thread, _, _), opcodes in cost.opcodes.items():
        by_thread[thread] += opcodes
    lines += ["", "By thread: " + ", ".join(f"{name} {n:.0f}" for name, n in by_thread.items())]
    if cost.syscalls is not None:
        most = sorted(cost.syscalls.items(), key=lambda item: -item[1])
        lines.append("System calls: " + ", ".join(f"{name} {n:.1f}" for name, n in most if n >= 0.05))
    totals = cost.totals()
    lines.append("One job: " + ", ".join(f"{name} {n:.1f}" for name, n in totals.items() if n is not None))
    return "\n".join(lines)


def _command(name: str, slots: int) -> list[str]:
    return ["run", "-q", f"-j{slots}", name]


def _traced(directory: Path, name: str, slots: int) -> tuple[Counter[tuple[str, str, str]], ...]:
    """Run pqrun under a tracer in a process of its own, and return its opcodes and calls."""
    found = directory / "counts"
    subprocess.run(
        [sys.executable, "-c", "from benchmarks.hot_path import count; count()", str(found), *_command(name, slots)],
        cwd=directory, env={**os.environ, "PYTHONPATH": _root()}, stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    opcodes, calls = (Counter({tuple(k): n for k, n in part}) for part in json.loads(found.read_text()))
    return opcodes, calls


def count() -> None:
    """Run pqrun in this process and write its counts to the file that is the first argument."""
    target = sys.argv.pop(1)
    tracer = Tracer()

    def leave(code: int) -> None:
        sys.settrace(None)
        threading.settrace(None)
        Path(target).write_text(json.dumps([list(part.items()) for part in (tracer.opcodes, tracer.calls)]))
        end(code)

    from pqrun.cli.main import entry

    end, os._exit = os._exit, leave  # type: ignore[assignment]
    threading.settrace(tracer.trace)
    sys.settrace(tracer.trace)
    entry()


class Tracer:
    """A trace function that counts opcodes and calls by thread, module and function."""

    def __init__(self) -> None:
        self.opcodes: Counter[tuple[str, str, str]] = Counter()
        self.calls: Counter[tuple[str, str, str]] = Counter()

    def trace(self, frame: FrameType, _event: str, _arg: Any) -> Any:
        """Count this call, and the opcodes of its frame."""
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        code, opcodes = frame.f_code, self.opcodes
        module = code.co_filename.removeprefix(f"{_root()}/").rpartition("site-packages/")[2]
        key = (threading.current_thread().name, module, code.co_qualname)
        self.calls[key] += 1

        def inside(_frame: FrameType, event: str, _arg: Any) -> Any:
            opcodes[key] += event == "opcode"
            return inside

        return inside


def _can_strace() -> bool:
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True).returncode == 0


def _system_calls(directory: Path, name: str, slots: int) -> Counter[str]:
    """Run pqrun under strace, and return the system calls of its own threads."""
    traces = directory / f"traces-{name}"
    shutil.rmtree(traces, ignore_errors=True)
    traces.mkdir()
    process = subprocess.Popen(
        ["strace", "-ff", "-b", "execve", "-o", str(traces / "t"), sys.executable, "-m", "pqrun", *_command(name, slots)],
        cwd=directory, env={**os.environ, "PYTHONPATH": _root()}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    process.wait()
    by_thread = {int(path.suffix[1:]): path.read_text(errors="replace") for path in traces.iterdir()}
    threads = [
        next(tid for tid, text in by_thread.items() if text.startswith("execve(") and "pqrun" in text[:500])
    ]
    for tid in threads:
        threads += map(int, re.findall(r"^clone3?\(.*CLONE_THREAD.* = (\d+)$", by_thread[tid], re.MULTILINE))
    names = (
        line.split("(", 1)[0].split()[0] for tid in threads for line in by_thread[tid].splitlines() if line
    )
    return Counter(name for name in names if name not in NOT_COUNTED and not name.startswith("<"))


def _root() -> str:
    return str(Path(__file__).parents[1])


if __name__ == "__main__":
    sys.exit(main())
