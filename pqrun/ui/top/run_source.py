# SPDX-License-Identifier: LGPL-3.0-or-later
"""The source of what `top` shows: its values, its protocol, and a recorded run, live or past.

A recorded run is read from the index of its journal, and from the run itself while it is live. Calls may block, so
`polling` makes them all on one thread of its own. The journal tells which jobs changed, so no call asks the run about
all of its jobs, and `top` can go on when the run has ended.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from pqrun.control.run_view import (
    LEFT,
    NO_LIMITS,
    NO_USAGE,
    MeasuredUsage,
    OutputPiece,
    RunView,
    ViewedRun,
    view_run,
)
from pqrun.core.errors import InternalFailure, UserError
from pqrun.core.job import format_command
from pqrun.core.job_row import RUNNING, WAITING, JobRow
from pqrun.core.metrics import MIN_ENDS, SETTLING_SECONDS, Metrics
from pqrun.core.text import describe_exit, escape_controls, strip_ansi
from pqrun.journal.index import Index, StaleIndex, as_seen, watch
from pqrun.journal.run_directory import RunDirectory, find_run, run_directories
from pqrun.journal.stored_rows import recorded_output
from pqrun.ui.top.jobs import ListedJob

MAX_LINE_LENGTH = 300
MAX_EXPECTED_JOBS = 5_000
"""Up to this number of unfinished jobs, their times are added up at each poll while no rate is known."""
MIN_MEASURED_SECONDS = 1.0
"""How long an attempt ran at least, for its share of a CPU to mean something."""


class RunState(NamedTuple):
    """The whole run at the time `now`. `trouble`: why the run can no longer be read.

    `address` is the run's name on a command line. `usage`: of the running jobs, by number, where it is measured.
    `delayed` jobs wait for a time. `tag_limits`: how many jobs with a tag may run at a time. `since`: when its
    present process began, None for the first one. `expected`: the seconds left by the times of earlier runs, if
    they are known and no rate is known yet.
    """

    id: str
    name: str
    state: str
    live: bool
    began: float
    now: float
    workers: int | None
    metrics: Metrics
    added: int
    ended: int
    paused: bool = False
    stopping: bool = False
    complete: bool = True
    trouble: str = ""
    address: str = ""
    usage: Mapping[int, MeasuredUsage] = NO_USAGE
    delayed: int = 0
    tag_limits: Mapping[str, int] = NO_LIMITS
    since: float | None = None
    expected: float | None = None


class RunUpdate(NamedTuple):
    """The changes since the last poll; with `anew`, `changed` holds all jobs."""

    run: RunState
    changed: Sequence[ListedJob] = ()
    gone: Sequence[int] = ()
    anew: bool = False


class PastAttempt(NamedTuple):
    """An attempt that has ended, or that runs (then `seconds` is None)."""

    number: int
    how: str
    seconds: float | None
    message: str = ""


class JobDetails(NamedTuple):
    """The attempts of a job, and why it does not run."""

    seq: int
    attempts: Sequence[PastAttempt] = ()
    why: str = ""


class RunSource(Protocol):
    """A run to show. Every method may block on the disk or on the run."""

    def poll(self) -> RunUpdate:
        """Return what has changed since the last call."""

    def details(self, seq: int) -> JobDetails:
        """Return the details of a job."""

    def last_output(self, seqs: Iterable[int]) -> dict[int, str]:
        """Return the last output of those jobs as one safe line each, where it may have changed."""

    def read(self, seq: int, attempt: int, stream: int, offset: int | None) -> OutputPiece:
        """Return output of an attempt from byte `offset`; with None, its last part."""

    def act(self, verb: str, **facts: Any) -> dict[str, Any]:
        """Send a request to the run. Raises `InternalFailure` or `UserError` if it is refused."""

    def close(self) -> None:
        """Close the connection and the files."""


def which_run(name: str | None) -> RunDirectory:
    """Return the run to show: the named one, the job's own, the only live one, or the latest."""
    if name is not None:
        return find_run(name)
    if path := os.environ.get("PQRUN_SOCKET", ""):
        return find_run(f"{os.path.dirname(path)}/")
    live = [run for run in run_directories() if run.in_use()]
    if len(live) > 1:
        names = ", ".join(sorted(os.path.basename(run.path) for run in live))
        raise UserError(f"several runs are live ({names}): choose one with `pqrun top RUN`")
    return live[0] if live else find_run("latest")


class RecordedRunSource:
    """A recorded run, live or past. It may end or be resumed while it is shown."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._view = RunView(run)
        self._open = contextlib.ExitStack()
        self._index: Index | None = None
        self._known: dict[int, ListedJob] = {}
        self._now: RunState | None = None
        self._rate_since = 0.0

    def poll(self) -> RunUpdate:
        """Return what has changed; if the run can no longer be read, its last state and the trouble."""
        try:
            news = self._poll()
        except (InternalFailure, UserError, OSError) as failure:
            self._forget_index()
            if self._now is None:
                raise
            self._view.live = False
            news = RunUpdate(self._now._replace(live=False, trouble=escape_controls(str(failure))))
        self._now = news.run
        return news

    def _poll(self) -> RunUpdate:
        has_news = self._view.has_news()
        anew = self._index is None
        index = self._index or self._opened()
        changed: set[int] = set()
        if has_news:
            try:
                changed = index.catch_up()
            except StaleIndex:  # a queue has compacted its journal
                self._forget_index()
                index, anew = self._opened(), True
        if anew:
            self._known = {row.seq: self._job(row) for row in index.jobs()}
            return RunUpdate(self._run_now(index), list(self._known.values()), (), True)
        gone: set[int] = set()
        if len(self._known.keys() | changed) != index.metrics.added:
            gone = self._known.keys() - {seq for (seq,) in index.rows("seq")}
            for seq in gone:
                del self._known[seq]
        # When the run has died, its running jobs count as interrupted, so all jobs are read again.
        died = self._now is not None and self._now.live and not self._view.live
        rows = index.jobs() if died else _chosen(index, changed - gone)
        jobs = [self._job(row) for row in rows]
        # `changed` also holds unchanged jobs, because the index loads and reports neighbouring rows too.
        jobs = [job for job in jobs if self._known.get(job.seq) != job]
        self._known.update((job.seq, job) for job in jobs)
        return RunUpdate(self._run_now(index), tuple(jobs), tuple(sorted(gone)))

    def _opened(self) -> Index:
        self._index = self._open.enter_context(watch(self._run))
        self._index.catch_up()
        return self._index

    def _forget_index(self) -> None:
        self._open.close()
        self._index = None
        self._view.forget()

    def _run_now(self, index: Index) -> RunState:
        seen = view_run(self._run, index, live=self._view.live)
        facts = seen.facts
        name = ", ".join(os.path.basename(str(file)) for file in facts["files"])
        numbers = seen.metrics
        added, ended = index.metrics.added, index.metrics.ended
        held = self._view.held()
        delayed = 0
        if seen.live and added - ended > numbers.current_queue_size + numbers.active_workers:
            [(delayed,)] = index.rows("count(*)", "not_before IS NOT NULL", order="1")
        return RunState(
            id=escape_controls(os.path.basename(self._run.path)), name=escape_controls(name), state=seen.state,
            live=seen.live, began=facts["began"], now=seen.now, workers=facts["workers"], metrics=numbers,
            added=added, ended=ended, paused=held.paused, stopping=held.stopping, complete=facts["complete"],
            address=self._run.address, usage=held.usage, delayed=delayed, tag_limits=held.tag_limits,
            since=seen.process_began, expected=self._expected(index, seen, added - ended),
        )  # fmt: skip

    def _expected(self, index: Index, seen: ViewedRun, left: int) -> float | None:
        """Return the seconds left by the times of earlier runs, while too few jobs have ended for a rate."""
        since = seen.process_began
        if not (seen.live and seen.facts["input_ended"] and 0 < left <= MAX_EXPECTED_JOBS):
            return None
        if self._now is None or self._rate_since == since:
            return None  # the first screen does not wait for earlier runs
        if seen.now - since >= SETTLING_SECONDS and len(index.ended_since(since, most=MIN_ENDS)) == MIN_ENDS:
            self._rate_since = since
            return None
        jobs_left = f"state IN ({', '.join(map(repr, LEFT))})"
        return self._view.expected(seen, index.jobs(jobs_left), left)

    def _job(self, row: JobRow) -> ListedJob:
        row = as_seen(row, live=self._view.live)
        spec = row.spec
        command = escape_controls(" ".join(format_command(spec.work)[:MAX_LINE_LENGTH].split()))
        name = escape_controls(" ".join(spec.id[:MAX_LINE_LENGTH].split())) if spec.named else command
        ran = _length(row.started, row.ended) if row.last == row.attempts else None
        measured = ran is not None and ran >= MIN_MEASURED_SECONDS
        cpus = (row.usage.user + row.usage.system) / ran if measured and ran else None
        return ListedJob(
            seq=row.seq, id=spec.id, name=name or "?", command=command, state=row.state, priority=spec.priority,
            tags=tuple(escape_controls(str(tag)) for tag in spec.tags), attempts=row.attempts,
            most=row.max_attempts, timeout=spec.timeout, queued=row.queued, began=row.started, ended=row.ended,
            how=_how(row), message=strip_ansi(row.message[:MAX_LINE_LENGTH]), cpus=cpus,
            memory=row.usage.memory if measured else None,
            due=row.until if self._view.live and row.state == WAITING else None,
            not_before=spec.not_before if row.is_delayed else None, needs=spec.needs,
        )  # fmt: skip

    def details(self, seq: int) -> JobDetails:
        """Return a job's attempts from the index, and from a live run why the job does not run."""
        if self._index is None or not (found := self._index.jobs("seq = ?", seq)):
            return JobDetails(seq)
        row = found[0]
        attempts = [
            PastAttempt(
                ended.last, _how(ended), _length(ended.started, ended.ended),
                strip_ansi(ended.message[:MAX_LINE_LENGTH]),
            )
            for ended in self._index.attempts(seq)
        ]  # fmt: skip
        if row.state == RUNNING:
            attempts.append(PastAttempt(row.attempts, "running" if self._view.live else "interrupted", None))
        return JobDetails(seq, attempts, self._view.why(row))

    def last_output(self, seqs: Iterable[int]) -> dict[int, str]:
        """Return the last lines of output, where they may have changed."""
        if self._index is None:
            return {}
        return self._view.output.words(_chosen(self._index, set(seqs)), live=self._view.live)

    def read(self, seq: int, attempt: int, stream: int, offset: int | None) -> OutputPiece:
        """Return output: from the run while the attempt runs, from its file when it has ended."""
        if self._index is None or not (found := self._index.jobs("seq = ?", seq)):
            return OutputPiece(over=True)
        ended = {one.last: one for one in self._index.attempts(seq)}.get(attempt)
        recorded = None if ended is None else recorded_output(ended)
        return self._view.read(found[0], attempt, recorded, stream, offset)

    def act(self, verb: str, **facts: Any) -> dict[str, Any]:
        """Send a request to the run; with `seq`, only if `jobs` selects that job and no namesake."""
        return self._view.act(verb, **facts)

    def close(self) -> None:
        self._view.close()
        self._forget_index()


def _chosen(index: Index, seqs: set[int]) -> list[JobRow]:
    """Return these jobs from the index, 500 at a time: SQLite limits the parameters of a query."""
    wanted = sorted(seqs)
    found: list[JobRow] = []
    for start in range(0, len(wanted), 500):
        part = wanted[start : start + 500]
        found += index.jobs(f"seq IN ({','.join('?' * len(part))})", *part)
    return found


def _how(row: JobRow) -> str:
    return "" if row.exit is None else escape_controls(describe_exit(row.exit, row.asked, row.spec.timeout))


def _length(began: float | None, ended: float | None) -> float | None:
    return None if began is None or ended is None else max(0.0, ended - began)
