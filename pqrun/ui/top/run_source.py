# SPDX-License-Identifier: LGPL-3.0-or-later
"""The source of what `top` shows: the index of a run's journal, and the run itself while it is live.

Calls may block, so `view` makes them all on one thread of its own. The journal tells which jobs
changed, so no call asks the run about all of its jobs, and `top` can go on when the run has ended.
"""

from __future__ import annotations

import base64
import contextlib
import os
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from pqrun.control.client import NO_LIVE_RUN, ControlClient
from pqrun.core.errors import InternalFailure, UserError
from pqrun.core.job import AttemptId, format_command
from pqrun.core.job_table import JobRow
from pqrun.core.metrics import Metrics
from pqrun.core.text import describe_exit, escape_controls, last_line, strip_ansi
from pqrun.journal.index import Index, StaleIndex, as_seen, metrics_of, watch
from pqrun.journal.reader import JournalReader
from pqrun.journal.run_directory import RunDirectory, find_run, run_directories
from pqrun.journal.run_list import state_of
from pqrun.output.store import Capture, Logs
from pqrun.ui.top.jobs import ListedJob


class RunState(NamedTuple):
    """The whole run at the time `now`. `trouble`: why the run can no longer be read.

    `address` is the run's name on a command line.
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


class OutputPiece(NamedTuple):
    """A piece of output that begins at byte `start`. `over`: the attempt will print no more."""

    data: bytes = b""
    start: int = 0
    over: bool = False


class RunSource(Protocol):
    """A run to show. Every method may block on the disk or on the run."""

    def poll(self) -> RunUpdate:
        """Return what has changed since the last call."""

    def details(self, seq: int) -> JobDetails:
        """Return the details of a job."""

    def words(self, seqs: Iterable[int]) -> dict[int, str]:
        """Return the last output of those jobs as one safe line each, where it may have changed."""

    def read(self, seq: int, attempt: int, stream: int, offset: int | None) -> OutputPiece:
        """Return output of an attempt from byte `offset`; with None, its last part."""

    def act(self, verb: str, **facts: Any) -> dict[str, Any]:
        """Send a request to the run. Raises `InternalFailure` or `UserError` if it is refused."""

    def again(self, seq: int) -> dict[str, Any]:
        """Ask the run to add a job like the ended job `seq`. Raises as `act` does."""

    def close(self) -> None:
        """Close the connection and the files."""


LOCK_TIMEOUT_SECONDS = 10.0
TAIL_BYTES = 256 * 1024
PREVIEW_INTERVAL_SECONDS = 2048
FAR_FUTURE = 1 << 40
"""An offset behind all output, so that the answer holds only the size."""
MAX_LINE_LENGTH = 300
NO_CLIENT = "\0"
"""An id that no job has. `ps` for it returns the state of the run without any jobs."""


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
        self._logs = Logs(run.logs, keep=True)
        self._open = contextlib.ExitStack()
        self._index: Index | None = None
        self._seen: tuple[int, int] | None = None
        self._known: dict[int, ListedJob] = {}
        self._live = False
        self._talk: ControlClient | None = None
        self._glances: dict[int, tuple[int, list[int]]] = {}
        self._now: RunState | None = None

    def poll(self) -> RunUpdate:
        """Return what has changed; if the run can no longer be read, its last state and the trouble."""
        try:
            news = self._poll()
        except (InternalFailure, UserError, OSError) as failure:
            self._forget_index()
            if self._now is None:
                raise
            self._live = False
            news = RunUpdate(self._now._replace(live=False, trouble=escape_controls(str(failure))))
        self._now = news.run
        return news

    def _poll(self) -> RunUpdate:
        self._live = self._run.in_use()
        anew = self._index is None
        index = self._index or self._opened()
        changed: set[int] = set()
        journal = os.stat(self._run.journal)
        if (stamp := (journal.st_size, journal.st_mtime_ns)) != self._seen:
            try:
                changed = index.catch_up()
            except StaleIndex:  # a queue has compacted its journal
                self._forget_index()
                index, anew = self._opened(), True
            self._seen = stamp
        if anew:
            self._known = {row.seq: self._job(row) for row in index.jobs()}
            return RunUpdate(self._run_now(index), list(self._known.values()), (), True)
        gone: set[int] = set()
        if len(self._known.keys() | changed) != index.metrics.added:
            gone = self._known.keys() - {seq for (seq,) in index.rows("seq")}
            for seq in gone:
                del self._known[seq]
        # When the run has died, its running jobs count as interrupted, so all jobs are read again.
        died = self._now is not None and self._now.live and not self._live
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
        self._seen = None

    def _run_now(self, index: Index) -> RunState:
        facts, live = index.facts, self._live
        added, ended = index.metrics.added, index.metrics.ended
        state = state_of(facts, live=live, unfinished=added - ended)
        now = time.time() if live else facts["until"]
        numbers: Metrics = metrics_of(index, now=now, live=live)
        name = ", ".join(os.path.basename(str(file)) for file in facts["files"])
        paused = stopping = False
        if live:
            with contextlib.suppress(InternalFailure, UserError, TimeoutError):
                answer = self._ask("ps", jobs=[NO_CLIENT])
                paused, stopping = answer["paused"], answer["stopping"]
        return RunState(
            escape_controls(os.path.basename(self._run.path)), escape_controls(name), state, live, facts["began"], now,
            facts["workers"], numbers, added, ended, paused, stopping, facts["complete"],
            address=self._run.address,
        )  # fmt: skip

    def _job(self, row: JobRow) -> ListedJob:
        row = as_seen(row, live=self._live)
        spec = row.spec
        command = escape_controls(" ".join(format_command(spec.work)[:MAX_LINE_LENGTH].split()))
        name = escape_controls(" ".join(spec.id[:MAX_LINE_LENGTH].split())) if spec.named else command
        return ListedJob(
            row.seq, spec.id, name or "?", command, row.state, spec.priority,
            tuple(escape_controls(str(tag)) for tag in spec.tags), row.attempts, row.max_attempts, spec.timeout,
            row.queued, row.started, row.ended, _how(row), strip_ansi(row.message[:MAX_LINE_LENGTH]),
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
        if row.state == "running":
            attempts.append(PastAttempt(row.attempts, "running" if self._live else "interrupted", None))
        why = ""
        if self._live and row.state in ("running", "waiting", "queued", "pending", "held"):
            with contextlib.suppress(InternalFailure, UserError, TimeoutError):
                why = escape_controls(
                    self._ask("ps", jobs=[row.spec.id], why=True)["why"].get(row.spec.id, "")
                )
        return JobDetails(seq, attempts, why)

    def words(self, seqs: Iterable[int]) -> dict[int, str]:
        """Return the last lines of output: from the run for running jobs, else from files."""
        wanted = sorted(set(seqs))
        found: dict[int, str] = {}
        if self._index is None:
            return found
        for row in _chosen(self._index, set(wanted)):
            if row.state == "running" and self._live:
                if (line := self._glance(row.seq, row.attempts)) is not None:
                    found[row.seq] = line
            elif row.last:
                found[row.seq] = self._last_words(row)
        self._glances = {seq: glance for seq, glance in self._glances.items() if seq in wanted}
        return found

    def _glance(self, seq: int, attempt: int) -> str | None:
        """Return the newest line of a running job, or None if there is no newer one."""
        before = self._glances.get(seq)
        sizes = before[1] if before is not None and before[0] == attempt else [0, 0]
        line = "" if before is None or before[0] != attempt else None
        for stream in (2, 1):
            try:
                answer = self._ask("output", seq=seq, stream=stream, offset=FAR_FUTURE)
                size = int(answer.get("size", 0))
                if answer.get("attempt") != attempt or size == sizes[stream - 1]:
                    continue
                offset = max(0, size - PREVIEW_INTERVAL_SECONDS)
                answer = self._ask("output", seq=seq, stream=stream, offset=offset)
            except (InternalFailure, UserError, TimeoutError):
                return None
            sizes[stream - 1] = size
            line = last_line(base64.b64decode(answer.get("data", ""))) or line
        self._glances[seq] = (attempt, sizes)
        return line

    def _last_words(self, row: JobRow) -> str:
        failed = row.state not in ("ok", "running")
        sizes = (row.stdout_bytes, row.stderr_bytes)
        for stream in (2, 1) if failed else (1, 2):
            if size := sizes[stream - 1]:
                start = max(0, size - PREVIEW_INTERVAL_SECONDS)
                data = self._stored(AttemptId(row.seq, row.last), sizes, stream, start)
                if line := last_line(data):
                    return line
        return ""

    def read(self, seq: int, attempt: int, stream: int, offset: int | None) -> OutputPiece:
        """Return output: from the run while the attempt runs, from its file when it has ended."""
        if self._index is None or not (found := self._index.jobs("seq = ?", seq)):
            return OutputPiece(over=True)
        row = found[0]
        ended = [one for one in self._index.attempts(seq) if one.last == attempt]
        sizes = (ended[0].stdout_bytes, ended[0].stderr_bytes) if ended else None
        if sizes is not None:
            size = sizes[stream - 1]
            start = max(0, size - TAIL_BYTES) if offset is None else offset
            data = self._stored(AttemptId(seq, attempt), sizes, stream, start)
            return OutputPiece(data, start, start + len(data) >= size or not data)
        if not self._live or row.state != "running":
            return OutputPiece(b"", offset or 0, over=not self._live)
        try:
            if offset is None:
                size = int(self._ask("output", seq=seq, stream=stream, offset=FAR_FUTURE).get("size", 0))
                offset = max(0, size - TAIL_BYTES)
            answer = self._ask("output", seq=seq, stream=stream, offset=offset)
        except (InternalFailure, UserError, TimeoutError):
            return OutputPiece(b"", offset or 0)
        fits = answer.get("attempt") == attempt
        return OutputPiece(base64.b64decode(answer.get("data", "")) if fits else b"", offset)

    def _stored(self, key: AttemptId, sizes: tuple[int, int], stream: int, start: int) -> bytes:
        """Return at most `TAIL_BYTES` of an output file from byte `start`."""
        try:
            capture = Capture.stored(self._logs, key, *sizes).stream(stream)
            return b"".join(capture.pieces(start, min(capture.size, start + TAIL_BYTES)))
        except OSError:
            return b""  # the output was removed, or never kept

    def act(self, verb: str, **facts: Any) -> dict[str, Any]:
        """Send a request to the run; with `seq`, only if `jobs` selects that job and no namesake."""
        if not self._live:
            raise InternalFailure("the run has ended: you can't change it any more", NO_LIVE_RUN)
        if (seq := facts.pop("seq", None)) is not None:
            meant = self._ask("ps", jobs=facts["jobs"])["jobs"]
            if [job["seq"] for job in meant] != [seq]:
                raise InternalFailure("the job has just ended: nothing was changed", 1)
        try:
            return self._ask(verb, **facts)
        except TimeoutError:
            raise InternalFailure("the run has not answered in time: the change may still happen") from None

    def again(self, seq: int) -> dict[str, Any]:
        """Ask the run to add a job like an ended one, without its needs: those have ended too."""
        facts: dict[str, Any] = {}
        for line in JournalReader(self._run.journal):
            if line.get("s") == seq and line.get("e") in ("add", "change"):
                facts = line["job"]
        if not facts:
            raise InternalFailure("the journal no longer contains the job", 1)
        return self.act("add", add=[{name: value for name, value in facts.items() if name != "needs"}])

    def _ask(self, verb: str, **facts: Any) -> dict[str, Any]:
        """Send a request. A connection that the run dropped while idle is replaced once."""
        for last in (False, True):
            fresh = self._talk is None
            try:
                self._talk = self._talk or ControlClient(self._run.path)
                return self._talk.request(verb, timeout=LOCK_TIMEOUT_SECONDS, **facts)
            except TimeoutError:
                self._hang_up()  # else a late answer would be read as that to the next request
                raise
            except InternalFailure as failure:
                if failure.code != NO_LIVE_RUN:
                    raise
                self._hang_up()
                if last or fresh or verb not in ("ps", "output", "info"):
                    raise
        raise AssertionError

    def _hang_up(self) -> None:
        if self._talk is not None:
            self._talk.close()
            self._talk = None

    def close(self) -> None:
        self._hang_up()
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
