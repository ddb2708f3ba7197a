# SPDX-License-Identifier: LGPL-3.0-or-later
"""Where a job's microseconds go: the same jobs with one thing more each time, alternately, and the differences.

    python -m benchmarks.split [--jobs 5000] [--slots 2] [--rounds 5]

All numbers are per job, the start of the program taken off. CPU is that of pqrun and its jobs together.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

from benchmarks.__main__ import machine
from benchmarks.figures import FLOOR, PQRUN
from benchmarks.measure import cost_of, forget_runs, workplace

STEPS = {
    "spawn and wait for `sh -c true`, in C": "./floor {slots} {jobs}",
    "pqrun's loop: queue, slots, own sessions, nothing left behind": "{run} --no-journal --output raw {list}",
    "capture of both streams": "{run} --no-journal {list}",
    "journal": "{run} {list}",
    "a line in the log of each job": "{run} --progress plain {list}",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.split", description=__doc__)
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with workplace() as here:
        subprocess.run(["cc", "-O2", "-o", str(here / "floor"), str(FLOOR)], check=True)
        for name, count in (("list", given.jobs), ("one", 1)):
            (here / name).write_text("true;\n" * count)  # the semicolon makes it the shell's
        wall: dict[str, list[float]] = {step: [] for step in STEPS}
        cpu: dict[str, list[float]] = {step: [] for step in STEPS}
        for _ in range(given.rounds + 1):
            for step, command in STEPS.items():
                costs = []
                for name, jobs in (("list", given.jobs), ("one", 1)):
                    quiet = "" if "plain" in command else "-q"
                    run = f"{PQRUN} run {quiet} -j{given.slots}"
                    words = command.format(run=run, list=name, slots=given.slots, jobs=jobs)
                    costs.append(cost_of(words, here))
                wall[step].append((costs[0].wall - costs[1].wall) / (given.jobs - 1) * 1e6)
                cpu[step].append((costs[0].cpu - costs[1].cpu) / (given.jobs - 1) * 1e6)
            forget_runs()
    print(f"{given.jobs:,} jobs, -j{given.slots}, {machine()}; medians of {given.rounds} rounds\n")
    print("| what | wall, µs | more | CPU, µs | more |\n|---|---|---|---|---|")
    before = (0.0, 0.0)
    for step in STEPS:
        now = (statistics.median(wall[step][1:]), statistics.median(cpu[step][1:]))
        print(
            f"| {step} | {now[0]:.0f} | {now[0] - before[0]:+.0f} | {now[1]:.0f} | {now[1] - before[1]:+.0f} |"
        )
        before = now


if __name__ == "__main__":
    sys.exit(main())
