# SPDX-License-Identifier: LGPL-3.0-or-later
"""The facts about a run, past or live: the one source of facts of `show`, `top` and `web`.

`view_run` returns the facts at one moment. `RunView` follows a run: whether it is live, what its jobs print,
and requests that change it. Calls may block on the disk or on the run.
"""

from __future__ import annotations

import base64
import contextlib
import os
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from pqrun.control.client import NO_LIVE_RUN, ControlClient
from pqrun.core.errors import NOT_ALL_RUN, OK, SOME_FAILED, InternalFailure, UserError
from pqrun.core.job_row import RUNNING, UNFINISHED, JobRow
from pqrun.core.metrics import Metrics, MetricsCollector
from pqrun.core.text import escape_controls, last_line
from pqrun.journal.index import metrics_of
from pqrun.journal.run_directory import RunDirectory
from pqrun.journal.run_list import DIED, state_of
from pqrun.journal.stored_rows import recorded_output
from pqrun.output.store import Capture, Stream

if TYPE_CHECKING:
    from pqrun.core.past import KnownDurations

STATES = (
    "ok", "failed", "timeout", "cancelled", "skipped", "interrupted", "running", "waiting", "queued", "pending",
    "held",
)  # fmt: skip
LEFT = ("interrupted", *UNFINISHED)
"""The states of the jobs that a run has left: those that have not ended, and those that `resume` runs again."""
LOST = (InternalFailure, UserError, TimeoutError)
"""The errors of a request to a run that is ending or busy."""
REQUEST_TIMEOUT_SECONDS = 10.0
TAIL_BYTES = 256 * 1024
PREVIEW_BYTES = 2048
FAR_FUTURE = 1 << 40
"""An offset behind all output, so that the answer holds only the size."""


class FoldedRun(Protocol):
    """A journal's fold as the facts need it: an index, or a fold in memory."""

    facts: dict[str, Any]

    @property
    def metrics(self) -> MetricsCollector:
        """The run's numbers."""

    def states(self) -> Mapping[str, int]:
        """Return the number of jobs in each state that occurs."""

    def failed(self) -> int:
        """Return the number of jobs that make the run's exit code 1."""

    def cut_short_for_good(self) -> int:
        """Return the number of interrupted jobs that `resume` does not run again."""


@dataclass(slots=True)
class ViewedRun:
    """A run at one moment. `counts`: the number of jobs in each state."""

    run: RunDirectory
    live: bool
    facts: dict[str, Any]
    metrics: Metrics
    state: str
    now: float
    failed: int
    cut_short_for_good: int
    counts: dict[str, int]

    def with_numbers(self, numbers: RunNumbers, facts: dict[str, Any]) -> ViewedRun:
        """Return the run with the numbers that it has told itself, and with facts that are as new."""
        return replace(self, facts=facts, metrics=numbers.metrics, counts=numbers.counts)

    @property
    def process_began(self) -> float:
        """When the last process of the run began: later than the run, if it was resumed."""
        return float(self.facts.get("process_began") or self.facts["began"])  # an older index has it not

    @property
    def code(self) -> int:
        """The run's exit code; of a run that is live or was killed, the code so far."""
        if not self.live and (recorded := self.facts["exit"]) is not None:
            return int(recorded)
        if self.failed:
            return SOME_FAILED
        over = not any(self.counts.get(state) for state in LEFT)
        return OK if over and self.facts["complete"] and self.state != DIED else NOT_ALL_RUN


def view_run(run: RunDirectory, folded: FoldedRun, *, live: bool) -> ViewedRun:
    """Return the facts about a run as a whole."""
    facts, metrics = folded.facts, folded.metrics
    found = Counter(folded.states())
    if not live:
        found["interrupted"] += found.pop("running", 0)
    now = time.time() if live else facts["until"]
    return ViewedRun(
        run=run,
        live=live,
        facts=facts,
        metrics=metrics_of(metrics, now=now, live=live),
        state=state_of(facts, live=live, unfinished=metrics.added - metrics.ended),
        now=now,
        failed=folded.failed(),
        cut_short_for_good=folded.cut_short_for_good(),
        counts={state: found[state] for state in STATES if found[state]},
    )


class RunView:
    """A run that is followed. It may end or be resumed meanwhile. Belongs to one thread."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.live = False
        self.journal_size = 0
        self._client = RunClient(run.path)
        self.output = RunOutput(self._client)
        self._seen: tuple[int, int] | None = None
        self._past: KnownDurations | None = None

    def has_news(self) -> bool:
        """Look whether the run is live, and return whether its journal has changed since the last call."""
        self.live = self.run.in_use()
        journal = os.stat(self.run.journal)
        self.journal_size = journal.st_size
        before, self._seen = self._seen, (journal.st_size, journal.st_mtime_ns)
        return self._seen != before

    def forget(self) -> None:
        """Have `has_news` return True the next time, because the journal could not be read."""
        self._seen = None

    def held(self) -> HeldRun:
        """Return whether a live run is paused or stopping, the usage of its running jobs, and its limits."""
        if self.live:
            with contextlib.suppress(*LOST):
                return self._client.held()
        return HeldRun()

    def numbers(self) -> RunNumbers | None:
        """Return the numbers of a live run as it knows them; None if it does not answer.

        For a reader that is behind the journal.
        """
        if self.live:
            with contextlib.suppress(*LOST):
                return self._client.numbers()
        return None

    def expected(self, seen: ViewedRun, rows: Collection[JobRow], left: int) -> float | None:
        """Return the seconds until `left` jobs have ended, by the times of earlier runs; None if these are not known.

        `rows`: the jobs of the run, or those that have not ended. The first call reads the earlier runs.
        """
        from pqrun.core.past import expected_seconds

        if self._past is None:
            from pqrun.journal.past import look_back

            self._past = look_back(self.run, [row.spec for row in rows]).durations
        average = seen.metrics.average_processing if seen.process_began > seen.facts["began"] else 0.0
        return expected_seconds(
            self._past, rows, seen.facts["workers"] or 0, seen.now, left=left, average=average
        )

    def why(self, row: JobRow) -> str:
        """Return why an unfinished job does not run, or how long it has run; empty if nobody knows."""
        if self.live and row.outcome is None:
            with contextlib.suppress(*LOST):
                reasons = self._client.ask("ps", jobs=[row.spec.id], why=True)["why"]
                return escape_controls(reasons.get(row.spec.id, ""))
        return ""

    def read(
        self, row: JobRow, attempt: int, recorded: Capture | None, stream: int, offset: int | None
    ) -> OutputPiece:
        """Return output from byte `offset`; with None, its last part. `recorded`: of an attempt that has ended."""
        if recorded is not None:
            return self.output.stored(recorded, stream, offset)
        if not self.live or row.state != RUNNING:
            return OutputPiece(b"", offset or 0, over=not self.live)
        return self.output.growing(row.seq, attempt, stream, offset)

    def act(self, verb: str, **facts: Any) -> dict[str, Any]:
        """Send a request to the run; with `seq`, only if `jobs` selects that job and no namesake.

        Raises `InternalFailure` or `UserError` if the request is refused.
        """
        if not self.live:
            raise InternalFailure("the run has ended: you can't change it any more", NO_LIVE_RUN)
        return self._client.change(verb, **facts)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class MeasuredUsage(NamedTuple):
    """The usage of a running job: the CPUs that it keeps busy, and bytes of memory."""

    cpus: float
    memory: int


NO_USAGE: Mapping[int, MeasuredUsage] = MappingProxyType({})
NO_LIMITS: Mapping[str, int] = MappingProxyType({})


class HeldRun(NamedTuple):
    """Whether a live run is paused or stopping, the usage of its running jobs by number, and the limits of tags."""

    paused: bool = False
    stopping: bool = False
    usage: Mapping[int, MeasuredUsage] = NO_USAGE
    tag_limits: Mapping[str, int] = NO_LIMITS


class RunNumbers(NamedTuple):
    """The metrics of a live run, and the number of jobs in each state that occurs."""

    metrics: Metrics
    counts: dict[str, int]


class RunClient:
    """A connection that is opened at the first request, and again after it was lost."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection: ControlClient | None = None

    def held(self) -> HeldRun:
        """Return whether the run is paused or stopping, the usage of its running jobs, and its limits."""
        answer = self.ask("ps", jobs=["state:running"])
        usage = {
            job["seq"]: MeasuredUsage(job["cpus"], job["memory"]) for job in answer["jobs"] if "cpus" in job
        }
        # A run of an older pqrun has no limits of tags.
        return HeldRun(answer["paused"], answer["stopping"], usage, answer.get("tag_limits", NO_LIMITS))

    def numbers(self) -> RunNumbers | None:
        """Return the numbers of the run, None if it is one of an older pqrun, which does not tell them."""
        answer = self.ask("info")
        if "states" not in answer:
            return None
        told = {name: value for name, value in answer["metrics"].items() if name in Metrics._fields}
        counts = answer["states"]
        return RunNumbers(Metrics(**told), {state: counts[state] for state in STATES if counts.get(state)})

    def change(self, verb: str, **facts: Any) -> dict[str, Any]:
        """Send a request that changes the run; with `seq`, only if `jobs` selects that job and no namesake."""
        if (seq := facts.pop("seq", None)) is not None:
            meant = self.ask("ps", jobs=facts["jobs"])["jobs"]
            if [job["seq"] for job in meant] != [seq]:
                raise InternalFailure("the job has just ended: nothing was changed", 1)
        try:
            return self.ask(verb, **facts)
        except TimeoutError:
            raise InternalFailure("the run has not answered in time: the change may still happen") from None

    def ask(self, verb: str, **facts: Any) -> dict[str, Any]:
        """Send a request. A connection that the run dropped while idle is replaced once."""
        for last in (False, True):
            fresh = self._connection is None
            try:
                self._connection = self._connection or ControlClient(self._path)
                return self._connection.request(verb, timeout=REQUEST_TIMEOUT_SECONDS, **facts)
            except TimeoutError:
                self.close()  # else a late answer would be read as that to the next request
                raise
            except InternalFailure as failure:
                if failure.code != NO_LIVE_RUN:
                    raise
                self.close()
                if last or fresh or verb not in ("ps", "output", "info"):
                    raise
        raise AssertionError

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class OutputPiece(NamedTuple):
    """A piece of output that begins at byte `start`. `over`: the attempt will print no more."""

    data: bytes = b""
    start: int = 0
    over: bool = False


class RunOutput:
    """A reader of the output of one run."""

    def __init__(self, client: RunClient) -> None:
        self._client = client
        self._previews: dict[int, tuple[int, list[int]]] = {}

    def words(self, rows: Iterable[JobRow], *, live: bool) -> dict[int, str]:
        """Return the last lines of output: from the run for running jobs, else from files."""
        found: dict[int, str] = {}
        wanted = set()
        for row in rows:
            wanted.add(row.seq)
            if row.state == RUNNING and live:
                if (line := self._newest_line(row.seq, row.attempts)) is not None:
                    found[row.seq] = line
            elif row.last:
                found[row.seq] = self._last_line(row)
        self._previews = {seq: preview for seq, preview in self._previews.items() if seq in wanted}
        return found

    def _newest_line(self, seq: int, attempt: int) -> str | None:
        """Return the newest line of a running job, or None if there is no newer one."""
        before = self._previews.get(seq)
        sizes = before[1] if before is not None and before[0] == attempt else [0, 0]
        line = "" if before is None or before[0] != attempt else None
        for stream in (2, 1):
            try:
                answer = self._client.ask("output", seq=seq, stream=stream, offset=FAR_FUTURE)
                size = int(answer.get("size", 0))
                if answer.get("attempt") != attempt or size == sizes[stream - 1]:
                    continue
                offset = max(0, size - PREVIEW_BYTES)
                answer = self._client.ask("output", seq=seq, stream=stream, offset=offset)
            except LOST:
                return None
            sizes[stream - 1] = size
            line = last_line(base64.b64decode(answer.get("data", ""))) or line
        self._previews[seq] = (attempt, sizes)
        return line

    def _last_line(self, row: JobRow) -> str:
        failed = row.state not in ("ok", RUNNING)
        recorded = recorded_output(row)
        for number in (2, 1) if failed else (1, 2):
            stream = recorded.stream(number)
            if stream.size and (line := last_line(_stored(stream, max(0, stream.size - PREVIEW_BYTES)))):
                return line
        return ""

    def stored(self, recorded: Capture, number: int, offset: int | None) -> OutputPiece:
        """Return output of an attempt that has ended, from byte `offset`; with None, its last part."""
        stream = recorded.stream(number)
        start = max(0, stream.size - TAIL_BYTES) if offset is None else offset
        data = _stored(stream, start)
        return OutputPiece(data, start, start + len(data) >= stream.size or not data)

    def growing(self, seq: int, attempt: int, stream: int, offset: int | None) -> OutputPiece:
        """Return output of a running attempt, from byte `offset`; with None, its last part."""
        try:
            if offset is None:
                size = int(
                    self._client.ask("output", seq=seq, stream=stream, offset=FAR_FUTURE).get("size", 0)
                )
                offset = max(0, size - TAIL_BYTES)
            answer = self._client.ask("output", seq=seq, stream=stream, offset=offset)
        except LOST:
            return OutputPiece(b"", offset or 0)
        fits = answer.get("attempt") == attempt
        return OutputPiece(base64.b64decode(answer.get("data", "")) if fits else b"", offset)


def _stored(stream: Stream, start: int) -> bytes:
    """Return at most `TAIL_BYTES` of recorded output from byte `start`."""
    try:
        return b"".join(stream.pieces(start, min(stream.size, start + TAIL_BYTES)))
    except OSError:
        return b""  # the output was removed, or never kept
