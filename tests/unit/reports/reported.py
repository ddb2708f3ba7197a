# SPDX-License-Identifier: LGPL-3.0-or-later
"""Whole runs on a fake clock, told to all reports at once: one for every way in which a run can end."""

import json
import os
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from pqrun.core import events as ev
from pqrun.core.job import (
    AttemptId,
    Command,
    ExitedWith,
    HaltRule,
    JobSpec,
    KilledBySignal,
    LostExit,
    Need,
    NotStarted,
    Priority,
    RetryPolicy,
)
from pqrun.core.job_table import JobTable
from pqrun.core.metrics import MetricsCollector
from pqrun.core.scheduler import Scheduler
from pqrun.core.settings import OutputSettings, ReportSettings
from pqrun.engine.dispatcher import Observers
from pqrun.output.store import Capture, Logs
from pqrun.output.writer import StreamWriter
from pqrun.reports import write_after
from pqrun.reports.digest import RunDigest
from pqrun.reports.json_document import document, run_facts
from pqrun.reports.report import Ending, RunInfo
from pqrun.reports.report_set import ReportSet
from pqrun.testing import FakeClock, Fate, RecordedRun, SimulatedExecutor, simulate

FILES = {
    "junit": "junit.xml", "trace": "trace.json", "summary": "summary.md", "metrics": "run.prom",
    "joblog": "joblog", "events": "events.jsonl", "html": "run.html",
}  # fmt: skip
if find_spec("prometheus_client") is None:
    del FILES["metrics"]


def job(name, seconds=1.0, exit=ExitedWith(0), *, tries=(), run=None, **spec):
    """A job and how its attempts go: `tries` first, then `exit`."""
    spec.setdefault("retry", RetryPolicy(max=len(tries), delay=0.5))
    work = Command(run or f"run {name}")
    return JobSpec(name, work, file="ci/jobs.yaml", line=3, **spec), [*tries, exit], seconds


@dataclass
class Cell:
    """One way for a run to go."""

    jobs: list
    code: int
    options: dict = field(default_factory=dict)
    asks: list = field(default_factory=list)
    slots: int = 2


def by_signal(name):
    return [(1.5, lambda scheduler, now: scheduler.stop(f"signal {name}", now))]


CELLS = {
    "ok": Cell([job("a"), job("b", priority=Priority.HIGH), job("c", 0.25, tags=("x",))], 0),
    "failed": Cell([job("a"), job("b", exit=ExitedWith(3)), job("c", exit=KilledBySignal("SIGSEGV"))], 1),
    "not started": Cell([job("a", 0.0, exit=NotStarted(127, "cannot run nope: No such file"))], 1),
    "flaky": Cell([job("a", tries=[ExitedWith(1), KilledBySignal("SIGKILL")]), job("b")], 0),
    "lost": Cell([job("a", tries=[LostExit("its worker died", worker_lost=True)]), job("b")], 0),
    "tried in vain": Cell([job("a", tries=[ExitedWith(1), ExitedWith(2)], exit=ExitedWith(3))], 1),
    "timeout": Cell([job("a", 9.0, timeout=2.0), job("b")], 1),
    "skipped": Cell(
        [job("a", exit=ExitedWith(1)), job("b", needs=(Need("a"),)), job("c", needs=(Need("b"),))], 1
    ),
    "allowed": Cell([job("a", exit=ExitedWith(1), allow_failure=True), job("b", needs=(Need("a"),))], 0),
    "halt": Cell([job("a", exit=ExitedWith(1)), job("b", 9.0), job("c")], 1, {"halt": HaltRule("now", "fail", 1)}),
    "deadline": Cell([job("a"), job("b", 9.0), job("c", 9.0), job("d")], 3, {"deadline": 3.0}),
    "int": Cell([job("a"), job("b", 9.0), job("c", 9.0), job("d")], 130, asks=by_signal("SIGINT")),
    "term": Cell([job("a"), job("b", 9.0), job("c", 9.0), job("d")], 143, asks=by_signal("SIGTERM")),
    "nothing": Cell([], 0),
}  # fmt: skip


class Told(RecordedRun):
    """A story that is also told to reports, with what the attempts printed."""

    def __init__(self, reports, outputs, logs, never):
        super().__init__()
        self.never = never
        self.reports, self.outputs, self.logs = reports, outputs, logs
        self.batches = []

    def put(self, events):
        events = [self._with_output(event) for event in events if not self._never_began(event)]
        super().put(events)
        self.batches.append(events)
        self.reports.deliver(events)

    def _never_began(self, event):
        """The simulation says that everything began."""
        return isinstance(event, ev.AttemptStarted) and event.seq in self.never

    def _with_output(self, event):
        if not isinstance(event, ev.AttemptEnded) or not self.outputs or event.seq in self.never:
            return event
        printed = self.outputs.get(event.seq, self.outputs.get("all", (b"", b"")))
        key = AttemptId(event.seq, event.attempt)
        for number, data in enumerate(printed, 1):
            path = Path(self.logs.path(key, number))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return event._replace(output=Capture.stored(self.logs, key, *map(len, printed)))


class Written:
    """What a run has left: reports in a `directory`, beside the `document` of --json."""

    def path(self, name):
        return self.directory / FILES[name]

    def jobs(self):
        return {entry["id"]: entry for entry in self.document["jobs"]}

    def lines(self):
        return [json.loads(line) for line in self.path("events").read_text().splitlines()]


@dataclass
class Played(Written):
    """What a run has left."""

    directory: Path
    document: dict
    events: list
    code: int
    said: str
    batches: list
    reports: ReportSet
    run: RunInfo
    ending: Ending


def digest_of(played):
    """The digest of a run that has been played."""
    digest = RunDigest(JobTable())
    Observers(digest.table, [digest]).deliver(played.events)
    digest.finish(played.ending)
    return digest


def settings_for(directory, **more):
    return ReportSettings(**{name: str(directory / file) for name, file in FILES.items()}, **more)


def play(
    directory,
    cell,
    *,
    outputs=None,
    settings=None,
    ci="none",
    environment=None,
    began=1_700_000_000.0,
    wait=None,
):
    """Plays it and finishes all reports, as the program does."""
    fates = {spec.id: (exits, seconds) for spec, exits, seconds in cell.jobs}

    def fate(attempt):
        exits, seconds = fates[attempt.spec.id]
        return Fate(seconds=seconds, exit=exits[min(attempt.key.attempt, len(exits)) - 1])

    clock = FakeClock(began)
    options = dict(cell.options)
    if "deadline" in options:
        options["deadline"] += began
    scheduler = Scheduler(**options)
    scheduler.add([spec for spec, _, _ in cell.jobs], began)
    scheduler.end_input(began)
    if settings is None:
        settings = settings_for(directory) if ci == "none" else ReportSettings()
    reports = ReportSet(
        settings, OutputSettings(ci=ci), environment={} if environment is None else environment
    )
    run = RunInfo("r1", ("ci/jobs.yaml",), cell.slots, began, clock.wall, None)
    table = JobTable(began, keeps_ended=True)
    reports.begin(run, table)
    logs = Logs(str(directory / "logs"), keep=True)
    asks = [(began + at, ask) for at, ask in cell.asks]
    executor = SimulatedExecutor(clock, cell.slots, fate, asks=asks)
    never = {n for n, (_, exits, _) in enumerate(cell.jobs, 1) if isinstance(exits[0], NotStarted)}
    story = simulate(scheduler, executor, Told(reports, outputs or {}, logs, never))

    metrics = MetricsCollector(began)
    metrics.fold(story.events)
    snapshot = metrics.snapshot(clock.now())
    facts = run_facts(
        "r1", state="stopped" if scheduler.stopping else "ended", files=["ci/jobs.yaml"], workers=cell.slots,
        began=began, ended=clock.now(), input_complete=True, directory=None,
    )  # fmt: skip
    code = 1 if table.failed else 3 if table.left_undone else 0
    for name, number in (("SIGINT", 130), ("SIGTERM", 143)):
        code = number if scheduler.stopping and scheduler.stopping.cause.endswith(name) else code
    said = directory / "stderr"
    fd = os.open(said, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    ending = Ending(code, snapshot, facts)
    waiting = {} if wait is None else {"wait": wait}
    final = reports.finish(ending, err=StreamWriter(fd, "standard error"), **waiting)
    os.close(fd)
    told = document(facts, snapshot, table.all_rows(), clock.wall)
    text = said.read_text()
    return Played(directory, told, story.events, final, text, story.batches, reports, run, ending)


def write_again(played, directory, events=None):
    """The same reports, made afterwards from what a journal keeps."""
    return write_after(
        settings_for(directory), played.events if events is None else events, played.run, played.ending
    )
