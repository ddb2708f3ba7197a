# SPDX-License-Identifier: LGPL-3.0-or-later
"""`python -m benchmarks`: how pqrun compares, as ratios measured alternately on this machine.

Every figure is a pair of commands, run in turn A B A B …; what is told is the median of the ratios,
pair by pair, so that a machine whose speed drifts drifts for both. Peers that are not installed are
left out. Writes Markdown to stdout, and JSON with `--json FILE`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
from datetime import date
from pathlib import Path

from benchmarks.figures import Figure, figures
from benchmarks.measure import Cost, cost_of, forget_runs, workplace


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="pairs of runs for each figure [5]")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full number of jobs [1.0]")
    parser.add_argument("--only", default="", help="figures whose name holds this")
    parser.add_argument("--json", help="write the figures to this file too")
    options = parser.parse_args()
    with workplace() as directory:
        chosen = [f for f in figures(directory, options.scale) if options.only in f.name]
        results = []
        print(heading(options))
        for figure in chosen:
            if figure.peer is not None and shutil.which(figure.peer) is None:
                print(f"| {figure.name} | {figure.reach} | {figure.peer} is not installed | | |", flush=True)
                continue
            result = run(figure, options.rounds)
            results.append(result)
            print(row(figure, result), flush=True)
    if options.json:
        facts = {"date": str(date.today()), "machine": machine(), "figures": results}
        Path(options.json).write_text(json.dumps(facts, indent=1))


def run(figure: Figure, rounds: int) -> dict[str, object]:
    """The figure's ratios: wall, CPU, and memory of the first command."""
    wall, cpu, peak, ours = [], [], [], []
    for number in range(rounds + 1):
        first = cost_of(figure.ours, figure.directory)
        second = cost_of(figure.theirs, figure.directory) if figure.theirs else Cost(1.0, 1.0, 1.0)
        if number == 0:
            continue  # a warm-up for both
        wall.append(first.wall / second.wall)
        cpu.append(first.cpu / second.cpu)
        peak.append(first.peak)
        ours.append(first.wall)
        forget_runs()
    return {
        "name": figure.name,
        "reach": figure.reach,
        "wall": statistics.median(wall),
        "cpu": statistics.median(cpu),
        "peak_mib": max(peak),
        "seconds": statistics.median(ours),
        "spread": [min(wall), max(wall)],
        "compared": figure.theirs is not None,
    }


def heading(options: argparse.Namespace) -> str:
    return (
        f"Measured on {date.today()}, {machine()}; medians of {options.rounds} alternating pairs"
        f" (least and most in brackets).\n\n"
        "| what, against what | reach | wall ratio | CPU ratio | peak memory |\n|---|---|---|---|---|"
    )


def row(figure: Figure, result: dict[str, object]) -> str:
    low, high = result["spread"]  # type: ignore[misc]
    peak = f"{result['peak_mib']:.0f} MiB"
    if not result["compared"]:
        return f"| {figure.name} | {figure.reach} | {result['seconds']:.2f} s | | {peak} |"
    wall = f"{result['wall']:.2f} [{low:.2f} to {high:.2f}]"
    return f"| {figure.name} | {figure.reach} | {wall} | {result['cpu']:.2f} | {peak} |"


def machine() -> str:
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores, {platform.system()} {platform.release()}, CPython {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main())
