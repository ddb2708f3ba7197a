# SPDX-License-Identifier: LGPL-3.0-or-later
"""What one call of a queue in a program costs in Python, counted instead of measured.

    python -m benchmarks.library_path [--jobs 200] [--workers 10] [--many] [--no-metrics] [--least 5] [--json]

As `hot_path` does: N jobs and 2N jobs are traced, and their difference, divided by N, is the cost of one job. The
jobs are added while all workers are busy, and then run by the workers in bursts, as in a queue that has much to do.
No thread gives way to another before it waits, so the counts are the same each time. `program` is the part of the
thread that adds the jobs and waits for their futures; in `turns` are the turns of the engine.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections import Counter
from typing import Any, NamedTuple

from benchmarks.hot_path import Tracer, function_rows
from pqrun import Config, Context, Job, Queue

NEVER_SECONDS = 1000.0
PROGRAM, WORKERS = "program", "workers and engine"
Counts = dict[tuple[str, str, str], float]


class CallCost(NamedTuple):
    """The cost of one job: opcodes and calls by (program or workers, module, function)."""

    opcodes: Counts
    calls: Counts

    def totals(self) -> dict[str, float]:
        """Return the sums."""
        return {
            "opcodes": sum(self.opcodes.values()),
            "program": sum(n for key, n in self.opcodes.items() if key[0] == PROGRAM),
            "calls": sum(self.calls.values()),
            "turns": sum(n for key, n in self.calls.items() if key[2] == "Engine._turn"),
        }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.library_path", description=__doc__)
    parser.add_argument("--jobs", type=int, default=200, help="jobs of the smaller queue [200]")
    parser.add_argument("--workers", type=int, default=10, help="workers [10]")
    parser.add_argument("--many", action="store_true", help="add them by one call of `enqueue_many`")
    parser.add_argument("--no-metrics", action="store_true", help="with enable_metrics=False")
    parser.add_argument("--least", type=float, default=5, help="leave out functions below this [5]")
    parser.add_argument("--json", action="store_true", help="write the sums as JSON, nothing else")
    options = parser.parse_args()
    sys.setswitchinterval(NEVER_SECONDS)
    few, many = (
        traced(jobs, options.workers, many=options.many, metrics=not options.no_metrics)
        for jobs in (options.jobs, 2 * options.jobs)
    )
    cost = CallCost(
        *({key: (b[key] - a[key]) / options.jobs for key in a | b} for a, b in zip(few, many, strict=True))
    )
    print(json.dumps(cost.totals()) if options.json else table(cost, options.least))


def traced(jobs: int, workers: int, *, many: bool, metrics: bool) -> tuple[Counter[Any], ...]:
    """Trace a queue with this number of jobs, and return its opcodes and calls."""
    tracer, gate = Tracer(), threading.Event()

    def handler(_context: Context, job: Job[bool]) -> None:
        if job.payload:
            gate.wait()

    config = Config(max_workers=workers, max_queue_size=2 * jobs, enable_metrics=metrics)
    threading.settrace(tracer.trace)
    with Queue(handler, config) as queue:
        busy = [queue.enqueue(Job(payload=True)) for _ in range(workers)]
        _until(lambda: all(handle.running() for handle in busy))
        queue.pause()
        todo = [Job(payload=False) for _ in range(jobs)]
        sys.settrace(tracer.trace)
        handles = queue.enqueue_many(todo) if many else [queue.enqueue(job) for job in todo]
        sys.settrace(None)
        queue.size()
        gate.set()
        for handle in busy:
            handle.result()
        _until(lambda: len(queue) == jobs)
        time.sleep(0.05)  # until the workers wait
        queue.unpause()
        queue.join()
        sys.settrace(tracer.trace)
        for handle in handles:
            handle.result()
        sys.settrace(None)
    threading.settrace(None)  # type: ignore[arg-type]
    return tuple(map(_by_part, (tracer.opcodes, tracer.calls)))


def _until(fact: Any) -> None:
    while not fact():
        time.sleep(0.01)


def _by_part(counts: Counter[tuple[str, str, str]]) -> Counter[tuple[str, str, str]]:
    parts: Counter[tuple[str, str, str]] = Counter()
    for (thread, module, function), count in counts.items():
        parts[PROGRAM if thread == "MainThread" else WORKERS, module, function] += count
    return parts


def table(cost: CallCost, least: float) -> str:
    """Return the functions that cost most, as Markdown."""
    lines = function_rows(cost.opcodes, cost.calls, least)
    lines += ["", "One job: " + ", ".join(f"{name} {n:.2f}" for name, n in cost.totals().items())]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
