# SPDX-License-Identifier: LGPL-3.0-or-later
"""The recovery of a run: a fold of its journal, from which the next process continues.

The fold follows the scheduler's lifecycle: a job that ran when pqrun died was interrupted, a job that waited
still waits, and a job that ended has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pqrun.core import events as ev
from pqrun.core.errors import InternalFailure
from pqrun.core.job import (
    AttemptId,
    CountedAs,
    JobSpec,
    LostExit,
    Outcome,
    SelfReport,
    StopReason,
    Usage,
    is_gone,
)
from pqrun.journal.format import decode
from pqrun.journal.reader import JournalPosition, JournalReader, gc_paused
from pqrun.journal.run_directory import RunDirectory
from pqrun.output.store import Capture, Logs


@dataclass(slots=True)
class RecoveredJob:
    """One job as the journal leaves it.

    `lost` counts attempts whose worker was lost after they began; `astray` says that the last attempt lost
    its worker. `place` is the job's place in the queue: 0 for none, negative if the job was moved to the
    front. With `keeps_place`, the job keeps the place when it is queued again.
    """

    seq: int
    spec: JobSpec
    by: str = ""
    state: str = "pending"
    attempts: int = 0
    retries: int = 0
    lost: int = 0
    astray: bool = False
    queued_at: float = 0.0
    started_at: float = 0.0
    until: float = 0.0
    place: int = 0
    keeps_place: bool = False
    outcome: Outcome | None = None
    allowed: bool = False
    counted: CountedAs | None = None
    asked: StopReason | None = None


@dataclass(slots=True)
class RecoveredRun:
    """A run as its journal leaves it. `events` are all events so far; times are on the wall clock.

    `tokens` mark the environment of the jobs of each process. `highest` is the highest job number, `places`
    the last place in the queue that was given, `last` the time of the latest event.
    """

    header: dict[str, Any] = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)
    jobs: dict[int, RecoveredJob] = field(default_factory=dict)
    events: list[ev.Event] = field(default_factory=list)
    highest: int = 0
    places: int = 0
    input_ended: bool = False
    input_complete: bool = True
    position: JournalPosition = field(default_factory=JournalPosition)
    last: float = 0.0
    workers: int | None = None
    pools: dict[str, int] = field(default_factory=dict)
    paused: bool = False

    def fold(self, event: ev.Event) -> None:
        """Fold the next event."""
        self.last = max(self.last, event.at)
        match event:
            case ev.JobAdded(_, seq, spec, by):
                self.jobs[seq] = RecoveredJob(seq, spec, by)
                self.highest = max(self.highest, seq)
            case ev.JobQueued(at, seq):
                job = self.jobs[seq]
                job.state, job.queued_at = "queued", at
                if not (job.keeps_place or job.place < 0):
                    self.places += 1
                    job.place = self.places
                job.keeps_place = False
            case ev.JobRemoved(_, seq):
                self.jobs[seq].state = "pending"
            case ev.AttemptSubmitted(at, seq, attempt):
                job = self.jobs[seq]
                job.state, job.attempts, job.started_at = "running", attempt, at
            case ev.AttemptRefused(_, seq, attempt):
                self.jobs[seq].state, self.jobs[seq].attempts = "queued", attempt - 1
            case ev.AttemptEnded(_, seq, _, counted, exit, asked, began, ended):
                job = self.jobs[seq]
                job.state, job.counted, job.asked = "ended", counted, asked
                job.astray = is_gone(exit)
                job.lost += job.astray and ended > began  # equal times: the attempt never reported a start
            case ev.JobWaiting(_, seq, _, until):
                job = self.jobs[seq]
                job.state, job.until = "waiting", until
                if job.astray:
                    job.keeps_place = True
                else:
                    job.retries += 1
                    job.place = 0
            case ev.JobEnded(_, seq, outcome, attempts, allowed):
                job = self.jobs[seq]
                job.state, job.outcome, job.allowed, job.attempts = "done", outcome, allowed, attempts
            case ev.JobReopened(_, seq, outcome, _):
                job = self.jobs[seq]
                job.state, job.outcome = "pending", None
                job.keeps_place = outcome is Outcome.INTERRUPTED
                if outcome is not Outcome.INTERRUPTED:
                    job.retries = job.lost = job.place = 0
            case ev.JobDropped(_, seq):
                del self.jobs[seq]
            case ev.JobChanged(_, seq, spec, _, front):
                job = self.jobs[seq]
                job.spec = spec
                if front:
                    self.places += 1
                    job.place = -self.places
            case ev.InputEnded(complete=complete):
                self.input_ended, self.input_complete = True, complete
            case ev.WorkersChanged(_, workers, _):
                self.workers = workers
            case ev.PoolChanged(_, name, size, _):
                self.pools[name] = size
            case ev.RunPaused(_, paused, _):
                self.paused = paused
            case _:
                pass


def has_jobs(run: RunDirectory) -> bool:
    """Return whether the journal holds the complete list of jobs.

    A run that died before its list was recorded has started no job, so there is nothing to resume.
    """
    if not run.has_journal():
        return False
    listed, added = 0, 0
    for line in JournalReader(run.journal):
        if "pqrun" in line:
            listed = line.get("listed", 0)
        added += line.get("e") == "add"
        if added and added >= listed:
            return True
    return False


def first_header(run: RunDirectory) -> dict[str, Any]:
    """Return what the run was asked to do. Raises InternalFailure if the first line can't be read."""
    return JournalReader(run.journal).first()


def recover(run: RunDirectory) -> RecoveredRun:
    """Read a run's journal to its end. Raises InternalFailure if the run can't continue from it."""
    found = RecoveredRun()
    lines = JournalReader(run.journal)
    logs = Logs(run.logs, keep=True)

    nothing = Capture.stored(logs, AttemptId(0, 0), 0, 0)

    def output(seq: int, attempt: int, out: int, err: int) -> Capture:
        return Capture.stored(logs, AttemptId(seq, attempt), out, err) if out or err else nothing

    number = 0
    try:
        with gc_paused():
            for number, line in enumerate(lines, 1):  # noqa: B007
                _apply(found, line, output)
    except (KeyError, TypeError, ValueError) as error:
        raise InternalFailure(f"{run.journal} is damaged at line {number}; it was not changed") from error
    found.position = lines.position
    if not found.header:
        raise InternalFailure(f"{run.journal} is damaged at line 1; it was not changed")
    if len(found.jobs) < found.header["listed"] and found.highest < found.header["listed"]:
        raise InternalFailure(
            f"{run.journal}: its list of jobs is incomplete; no job ran, and nothing was changed"
        )
    return found


def _apply(
    found: RecoveredRun, line: dict[str, Any], output: Callable[[int, int, int, int], Capture]
) -> None:
    if "pqrun" in line or line.get("e") == "resume":
        found.header = found.header or line
        found.tokens.append(line["token"])
        return
    for event in decode(line, output):
        if isinstance(event, ev.JobReopened):
            event = event._replace(spec=found.jobs[event.seq].spec)
        found.fold(event)
        found.events.append(event)


def cut_short(job: RecoveredJob, now: float) -> list[ev.Event]:
    """Return the events that end a job which was running when pqrun died."""
    lost = LostExit("pqrun was killed while it ran")
    return [
        ev.AttemptEnded(
            now, job.seq, job.attempts, CountedAs.STOPPED, lost, StopReason.INTERRUPTED,
            job.started_at, job.started_at, Usage(), SelfReport(),
        ),
        ev.JobEnded(now, job.seq, Outcome.INTERRUPTED, job.attempts),
    ]  # fmt: skip
