# SPDX-License-Identifier: LGPL-3.0-or-later
"""Draw docs/live.svg, the picture of the live table in docs/tutorial.md, from a simulated run.

python docs/live_svg.py
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from random import Random

from rich.console import Console

from pqrun.core.events import Event, JobAdded
from pqrun.core.job import NO_REPORT, Attempt, Command, ExitedWith, JobSpec, Priority, RetryPolicy, SelfReport
from pqrun.core.job_table import JobTable
from pqrun.core.metrics import MetricsCollector
from pqrun.core.scheduler import Scheduler
from pqrun.engine.dispatcher import Observers
from pqrun.testing import FakeClock, Fate, SimulatedExecutor, simulate
from pqrun.ui.live.layout import frame, max_failures, max_running, max_waiting
from pqrun.ui.live.state import JobPreview, LiveTableState, TableView

WORKERS = 4
MOMENT = 205.0
COLUMNS, ROWS = 110, 40
PICTURE = Path(__file__).with_name("live.svg")

SECONDS = {"render/chapter-07": 112.0, "db:backup --full": 74.0, "lint": 4.0, "fetch[exchange-rates]": 37.0}
ENDS = {
    "test[PY=3.12,OS=mac]": (1, "E  AssertionError: expected 3 workers, got 4"),
    "lint": (2, "pqrun/cli.py:88:5: F841 local variable 'x' is assigned to but never used"),
    "sync:eu-west": (255, "ssh: connect to host eu-west port 22: Connection timed out"),
    "fetch[exchange-rates]": (22, "curl: (22) The requested URL returned error: 503"),
}
SHOWS = {
    "render/chapter-07": JobPreview(line="frame 1482/2000"),
    "db:backup --full": JobPreview("dumping table orders", 0.62),
    "test[PY=3.13,OS=mac]": JobPreview(line="tests/test_queue.py ....... [ 48%]"),
}


RETRIED = JobSpec(
    "fetch[exchange-rates]",
    Command("curl …"),
    priority=Priority.HIGH,
    timeout=60.0,
    retry=RetryPolicy(max=3, delay=60.0),
)


def first_jobs() -> list[JobSpec]:
    """Return the jobs of the job file."""
    tries = RetryPolicy(max=2, delay=5.0)
    return [
        JobSpec("checkout", Command("git clone …"), priority=Priority.CRITICAL),
        JobSpec("lint", Command("ruff check"), timeout=60.0),
        *(JobSpec(f"page-{n:02}", Command(f"make page-{n}"), timeout=90.0) for n in range(1, 34)),
        JobSpec("sync:eu-west", Command("rsync …"), timeout=30.0, retry=tries),
        *(
            JobSpec(f"test[PY=3.{minor},OS={system}]", Command("tox"), timeout=600.0)
            for minor in (11, 12, 13)
            for system in ("linux", "mac")
        ),
        *(JobSpec(f"page-{n:02}", Command(f"make page-{n}"), timeout=90.0) for n in range(34, 87)),
        *(JobSpec(f"thumbnails-{n}", Command("thumb"), priority=Priority.LOW) for n in range(1, 13)),
    ]


def urgent_jobs() -> list[JobSpec]:
    """Return urgent jobs that are added while the run is live."""
    return [
        JobSpec("render/chapter-07", Command("render 7"), priority=Priority.HIGH, timeout=120.0),
        JobSpec(
            "db:backup --full",
            Command("backup"),
            priority=Priority.HIGH,
            timeout=300.0,
            retry=RetryPolicy(max=2),
        ),
    ]


def simulated_events(*more: JobSpec) -> list[Event]:
    """Return the events of the run. `more`: further urgent jobs."""
    random = Random(7)

    def fate(attempt: Attempt) -> Fate:
        name = attempt.spec.id
        seconds = SECONDS.get(name.split("-")[0]) or SECONDS.get(name) or random.uniform(4.0, 17.0)
        if name == "db:backup --full" and attempt.key.attempt == 1:
            return Fate(12.0, ExitedWith(75), said=SelfReport(message="pg_dump: error: the server is busy"))
        code, message = ENDS.get(name, (0, None))
        return Fate(seconds, ExitedWith(code), said=SelfReport(message=message) if message else NO_REPORT)

    scheduler = Scheduler(seed=7)
    scheduler.add(first_jobs(), 0.0)

    def add_and_end(scheduler: Scheduler, now: float) -> None:
        scheduler.add([*urgent_jobs(), *more], now)
        scheduler.end_input(now)

    executor = SimulatedExecutor(FakeClock(), WORKERS, fate, asks=[(118.0, add_and_end)])
    return list(simulate(scheduler, executor).events)


def facts_at(moment: float, rows: int, events: list[Event]) -> TableView:
    """Return what the table shows at that moment of the run."""
    table, metrics = JobTable(), MetricsCollector(0.0)
    live_state = LiveTableState(table)
    past = [event for event in events if event.at <= moment]
    Observers(table, [live_state]).deliver(past)
    metrics.fold(past)
    most = max_running(rows)
    names = {event.seq: event.spec.id for event in past if isinstance(event, JobAdded)}
    shows = {key: SHOWS[names[key.seq]] for key in live_state.running_keys(most) if names[key.seq] in SHOWS}
    running = live_state.running(moment, most, shows)
    numbers = metrics.snapshot(moment)
    waiting = live_state.waiting(moment, max_waiting(rows))
    last_retry = live_state.table.waits(moment)[2] + numbers.average_processing
    return TableView(
        title="nightly.yaml",
        run="k3f9mw",
        elapsed=moment,
        total=table.added,
        complete=table.input_ended,
        outcomes=table.outcomes,
        metrics=numbers,
        workers=WORKERS,
        running=running,
        reserve=len(running),
        waiting=waiting,
        failures=live_state.failures(moment, max_failures(rows)),
        has_progress=live_state.has_progress,
        rate=table.rate.per_second(moment),
        eta=table.rate.eta(moment, table.unfinished, waiting=len(waiting), last_retry=last_retry),
        keys=True,
    )


def picture() -> str:
    """Return the SVG."""
    console = Console(
        record=True,
        width=COLUMNS,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        _environ={},
    )
    table = frame(facts_at(MOMENT, ROWS, simulated_events(RETRIED)), COLUMNS, ROWS)
    console.print(table, crop=False)
    return without_fonts(console.export_svg(title="pqrun run nightly.yaml", unique_id="pqrun"))


def without_fonts(svg: str) -> str:
    """Return the SVG with the reader's own monospace font: a picture must not make its readers ask another host."""
    svg = re.sub(r"\s*@font-face\s*\{[^}]*\}", "", svg)
    return re.sub(r"font-family: *(Fira Code|arial)[^;]*;", "font-family: monospace;", svg)


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
