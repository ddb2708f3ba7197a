# SPDX-License-Identifier: LGPL-3.0-or-later
"""The page of a run with very many jobs, made from events that no run has to take the time for."""

import random
from collections.abc import Iterator
from pathlib import Path

from pqrun.core import events as ev
from pqrun.core.job import NO_REPORT, Command, CountedAs, ExitedWith, JobSpec, Need, Outcome, Priority, Usage
from pqrun.core.metrics import MetricsCollector
from pqrun.core.settings import ReportSettings
from pqrun.reports import write_after
from pqrun.reports.json_document import run_facts
from pqrun.reports.report import Ending, RunInfo

BEGAN = 1_700_000_000.0


def events_of(count: int, workers: int = 64) -> Iterator[ev.Event]:
    """The events of `count` jobs, of which one in a thousand fails; every tenth needs the one before."""
    chance = random.Random(1)
    free = [BEGAN] * workers
    for seq in range(1, count + 1):
        work = Command(f"python -m simulation --seed {seq} --size {seq % 17} > results/{seq}.json")
        needs = (Need(f"simulation-{seq - 1}"),) if seq % 10 == 0 else ()
        priority = Priority(seq % 4)
        spec = JobSpec(f"simulation-{seq}", work, priority, needs=needs, file="jobs.yaml", line=seq)
        spec = spec._replace(arg_names=("seed", "size"), args=(str(seq), str(seq % 17)))
        yield ev.JobAdded(BEGAN, seq, spec)
        yield ev.JobQueued(BEGAN, seq, 1, priority)
        slot = min(range(workers), key=free.__getitem__) if seq % 50 == 0 else seq % workers
        at, took = free[slot], chance.uniform(0.05, 2.0)
        free[slot] = end = at + took
        yield ev.AttemptSubmitted(at, seq, 1, at - BEGAN)
        yield ev.AttemptStarted(at, seq, 1, f"slot {slot + 1}")
        bad = seq % 1000 == 0
        counted = CountedAs.FAILED if bad else CountedAs.COMPLETED
        usage = Usage(took * 0.8, took * 0.1, 50_000_000 + seq)
        exit = ExitedWith(int(bad))
        yield ev.AttemptEnded(end, seq, 1, counted, exit, None, at, end, usage, NO_REPORT)
        yield ev.JobEnded(end, seq, Outcome.FAILED if bad else Outcome.OK, 1)


def write_many(path: Path, count: int) -> None:
    """Write the page of a run with `count` jobs."""
    events = list(events_of(count))
    metrics = MetricsCollector(BEGAN)
    metrics.fold(events)
    end = max(event.at for event in events)
    facts = run_facts(
        "many", state="ended", files=["jobs.yaml"], workers=64, began=BEGAN, ended=end, input_complete=True,
        directory=None,
    )  # fmt: skip
    run = RunInfo("many", ("jobs.yaml",), 64, BEGAN, lambda at: at)
    failures = write_after(
        ReportSettings(html=str(path)), events, run, Ending(1, metrics.snapshot(end), facts)
    )
    assert failures == []
