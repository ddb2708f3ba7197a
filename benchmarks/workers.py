# SPDX-License-Identifier: LGPL-3.0-or-later
"""Jobs a second over the number of workers, for a CPU-bound, an I/O-bound and a memory-bound job.

    python -m benchmarks.workers [--rounds N] [--only KIND]

Each round runs the same list of jobs once with every number of workers and divides each throughput by the
throughput of one worker in the same round, so that a machine whose speed drifts drifts for both. The tables on
stdout show the median of these ratios over the rounds, as Markdown. `docs/tuning.md` says how to read them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.__main__ import machine
from benchmarks.measure import cost_of, forget_runs, workplace

MEBIBYTE = 1024 * 1024
BAR_LENGTH = 32


class Kind(NamedTuple):
    """One kind of job: a name, the command of a job, the number of jobs in a list, and the numbers of workers."""

    name: str
    command: str
    jobs: int
    workers: tuple[int, ...]


KINDS = (
    Kind("CPU-bound", "awk 'BEGIN { for (i = 0; i < 3000000; i++) x += i * i }'", 24, (1, 2, 3, 4, 8, 16)),
    Kind("I/O-bound", "sleep 0.25", 64, (1, 2, 4, 8, 16, 32, 64)),
    Kind(
        "memory-bound",
        f"{sys.executable} -c 'a = bytes({64 * MEBIBYTE}); [bytearray(a) for _ in range(12)]'",
        24,
        (1, 2, 3, 4, 8, 16),
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each list with each number [3]")
    parser.add_argument("--only", default="", help="kinds whose name contains this text")
    options = parser.parse_args()
    print(f"Measured on {machine()}; medians of {options.rounds} rounds (least and most in brackets).")
    with workplace() as directory:
        for kind in KINDS:
            if options.only in kind.name:
                print(table(kind, ratios(kind, options.rounds, directory)), flush=True)


def ratios(kind: Kind, rounds: int, directory: Path) -> dict[int, list[float]]:
    """Return, for each number of workers, its throughput in each round as a multiple of one worker's."""
    jobs = directory / "jobs"
    jobs.write_text(f"{kind.command}\n" * kind.jobs)
    found: dict[int, list[float]] = {number: [] for number in kind.workers}
    for _ in range(rounds):
        seconds = {}
        for number in kind.workers:
            command = f"{sys.executable} -m pqrun run -q --output none -j {number} {jobs}"
            seconds[number] = cost_of(command, directory).wall
            forget_runs()
        for number in kind.workers:
            found[number].append(seconds[1] / seconds[number])
    return found


def table(kind: Kind, found: dict[int, list[float]]) -> str:
    """Return the kind's curve as a table of Markdown; the longest bar is the best throughput."""
    medians = {number: statistics.median(values) for number, values in found.items()}
    best = max(medians.values())
    command = kind.command.replace(sys.executable, "python3")
    lines = [
        f"\n{kind.name}: `{command}`, {kind.jobs} jobs\n",
        "| `-j` | throughput | |",
        "|---|---|---|",
    ]
    for number, middle in medians.items():
        bar = "█" * max(1, round(BAR_LENGTH * middle / best))
        spread = f"[{min(found[number]):.2f} to {max(found[number]):.2f}]"
        lines.append(f"| {number} | {middle:.2f} {spread} | {bar} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
