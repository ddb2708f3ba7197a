# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a job costs in runs of different lengths, and how punctual a time limit is.

    python -m benchmarks.scale [--jobs 5000,100000,1000000] [--slots 8]

The lists come from stdin. CPU is that of pqrun and its jobs together, the start of the program taken off.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.__main__ import machine
from benchmarks.figures import PQRUN
from benchmarks.measure import cost_of, forget_runs, workplace

LIMIT = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--jobs", default="5000,100000,1000000")
    parser.add_argument("--slots", type=int, default=8)
    given = parser.parse_args()
    with workplace() as here:
        print(f"{machine()}\n\n| jobs | jobs/s | CPU per job, µs | peak memory |\n|---|---|---|---|")
        run = f"{PQRUN} run -q -j{given.slots}"
        start = min((cost_of(f"(echo true | {run})", here) for _ in range(3)), key=lambda cost: cost.cpu)
        for jobs in map(int, given.jobs.split(",")):
            cost = cost_of(f"(yes true | head -n {jobs} | {run})", here)
            each = (cost.cpu - start.cpu) / (jobs - 1) * 1e6
            speed = (jobs - 1) / (cost.wall - start.wall)
            print(f"| {jobs:,} | {speed:,.0f} | {each:.0f} | {cost.peak:.0f} MiB |", flush=True)
            forget_runs()
        late = lateness(here)
        print(
            f"\nA limit of {LIMIT} s was kept {late[0]:.1f} ms late (median), {late[1]:.1f} ms at most, of 20."
        )


def lateness(here: Path) -> tuple[float, float]:
    """Median and maximum, in milliseconds, of how much longer jobs ran than they may."""
    words = [*shlex.split(PQRUN), "run", "-q", "-j2", "-t", str(LIMIT), "--json"]
    done = subprocess.run(words, input=b"sleep 9\n" * 20, cwd=here, capture_output=True, check=False)
    late = [(job["run_s"] - LIMIT) * 1000 for job in json.loads(done.stdout)["jobs"]]
    return statistics.median(late), max(late)


if __name__ == "__main__":
    sys.exit(main())
