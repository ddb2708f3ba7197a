# SPDX-License-Identifier: LGPL-3.0-or-later
"""Make pqrun's system calls fail, one a run, and look whether the promises hold.

    python tests/integration/process/syscalls/inject.py                       all points, two at a time
    python tests/integration/process/syscalls/inject.py --sample 100 --seed 3
    python tests/integration/process/syscalls/inject.py main:socket:EACCES    points whose name begins so

Needs strace, and leave to trace. Each point is a run of the batch in `scenario.py` in which one call of one
thread fails (`points.py` says which can fail how), and a `resume`, if there is anything left to do.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from syscalls.place import GONE_WITHIN, Ended, Place, why_not
from syscalls.points import ALONE, ROLES, TRACED, Point, points_in
from syscalls.scenario import PRINTS, all_have_run, marks, recorded_ends, twice

CODES = {0, 1, 2, 3, 4, 5, 70}


class Finding(NamedTuple):
    """A point at which a promise did not hold."""

    point: Point
    what: str
    said: str
    hit: bool


STDERR_FAILED = re.compile(r"write\(2<[^>\n]*/err>.*\(INJECTED\)")  # then the exit code alone can tell


def find_points(roles: Sequence[str] = ROLES) -> list[Point]:
    """Traces a run that goes well for each of the threads."""

    def log_of(role: str) -> list[str]:
        place = Place()
        try:
            ended = place.run(role, ["-e", f"trace=access,{TRACED}"], mapping=True)
            assert ended.code == (-signal.SIGKILL if role == ALONE else 0), (
                f"{role}: {ended.code} {ended.err}"
            )
            return ended.log.splitlines()
        finally:
            place.remove()

    seen: set[tuple[str, str, str]] = set()
    with ThreadPoolExecutor(2) as pool:
        logs = list(pool.map(log_of, roles))
    return [point for role, log in zip(roles, logs, strict=True) for point in points_in(role, log, seen)]


def wrong_at(place: Place, ended: Ended) -> str:
    """What did not hold, in words; empty if all did. Also resumes."""
    until = time.monotonic() + GONE_WITHIN
    while (left := place.alive()) and time.monotonic() < until:
        time.sleep(0.02)
    if ended.code is None:
        return "it hangs"
    if left:
        return f"left running: {left}"
    ran = marks(place.ran)[len(place.earlier) :]
    if repeated := [mark for mark in ran if mark.partition(".")[0] in place.ended_earlier]:
        return f"recorded as ended, and ran again: {repeated}"
    if ended.code == -signal.SIGKILL:
        return wrong_afterwards(place, ended, len(ran))
    if ended.code not in CODES:
        return f"exit {ended.code}"
    memory = "MemoryError" in ended.err or "out of memory" in ended.err
    if ended.code == 70 and not memory:
        return "exit 70"
    if "Traceback" in ended.err or "Traceback" in ended.out or "Exception ignored" in ended.err:
        return "a traceback"
    if ended.code and not ended.err.strip() and not STDERR_FAILED.search(ended.log):
        return f"exit {ended.code} without a word"
    if again := twice(ran):
        return f"ran twice: {again}"
    if ended.code == 0:
        if not all_have_run(place.earlier + ran):
            return f"exit 0, but only these ran: {place.earlier + ran}"
        if not place.earlier and (missing := [name for name in PRINTS if f"out-{name}\n" not in ended.out]):
            return f"exit 0, but without the output of {missing}"
        return ""
    if ended.code == 2 and ran:
        return f"exit 2, but something ran: {ran}"
    return wrong_afterwards(place, ended, len(place.earlier) + len(ran))


def wrong_afterwards(place: Place, ended: Ended, ran: int) -> str:
    """Resumes, and says what does not hold then; `ran`: so many attempts had begun before."""
    done = recorded_ends(place.run_dir / "journal.jsonl")
    journal = place.run_dir / "journal.jsonl"
    recorded = journal.exists() and journal.stat().st_size > 0
    again = ["resume", "--failed", str(place.run_dir)]
    fresh = ["run", str(place.path / "jobs.json"), "--run-dir", str(place.run_dir)]
    last = place.follow_up(*(again if recorded else fresh))
    if recorded and not done and last.code == 4 and ("incomplete" in last.err or "empty" in last.err):
        shutil.rmtree(place.run_dir)
        last = place.follow_up(*fresh)
    if last.code != 0:
        return f"after exit {ended.code} resume ended with {last.code}: {last.err}"
    both = marks(place.ran)
    if not all_have_run(both):
        return f"after resume only these have run: {both}"
    if repeated := [m for m in both[ran:] if m.partition(".")[0] in done]:
        return f"recorded as ended, and ran again: {repeated}"
    return ""


def examine(point: Point) -> tuple[Finding | None, bool]:
    """One run with one failure; and whether the call was reached."""
    place = Place()
    try:
        inject = f"inject={point.call}:error={point.error}:when={point.number}"
        ended = place.run(point.role, ["-e", f"trace={point.call}", "-e", inject])
        hit = "(INJECTED)" in ended.log
        wrong = wrong_at(place, ended)
        return (Finding(point, wrong, ended.err[-6000:], hit) if wrong else None), hit
    finally:
        place.remove()


def sample(points: Sequence[Point], size: int, seed: int) -> list[Point]:
    """So many of them, each call and error as often as it goes."""
    order = list(points)
    random.Random(seed).shuffle(order)
    taken: Counter[tuple[str, str]] = Counter()
    ranked = []
    for point in order:
        ranked.append((taken[point.call, point.error], len(ranked), point))
        taken[point.call, point.error] += 1
    return [point for *_, point in sorted(ranked)][:size]


def summary(points: Sequence[Point], hits: Counter[str], findings: Sequence[Finding]) -> str:
    """A table for the docs."""
    calls = sorted({point.call for point in points})
    lines = ["| call | fails with | points | reached | findings |", "|---|---|---|---|---|"]
    for call in calls:
        ours = [point for point in points if point.call == call]
        errors = " ".join(sorted({point.error for point in ours}))
        bad = sum(finding.point.call == call for finding in findings)
        lines.append(f"| `{call}` | {errors} | {len(ours)} | {hits[call]} | {bad} |")
    total = f"| all | | {len(points)} | {sum(hits.values())} | {len(findings)} |"
    return "\n".join([*lines, total])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="only points whose name begins so")
    parser.add_argument("--sample", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-j", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="show the points and end")
    options = parser.parse_args()
    if why := why_not():
        sys.exit(why)
    points = find_points()
    if options.names:
        points = [point for point in points if str(point).startswith(tuple(options.names))]
    if options.sample:
        points = sample(points, options.sample, options.seed)
    if options.list:
        for point in points:
            print(point, point.stack, point.text, sep="\n    ")
        return 0
    began = time.monotonic()
    hits: Counter[str] = Counter()
    findings: list[Finding] = []
    with ThreadPoolExecutor(options.j) as pool:
        for done, (point, (finding, hit)) in enumerate(
            zip(points, pool.map(examine, points), strict=True), 1
        ):
            hits[point.call] += hit
            if finding is not None:
                findings.append(finding)
                print(
                    f"\n=== {point} ({'reached' if hit else 'NOT REACHED'})\n{point.stack}\n{point.text}\n{finding.what}"
                )
                print(finding.said, flush=True)
            if done % 50 == 0:
                print(
                    f"--- {done} of {len(points)}, {len(findings)} findings, {time.monotonic() - began:.0f} s",
                    flush=True,
                )
    print(summary(points, hits, findings))
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
