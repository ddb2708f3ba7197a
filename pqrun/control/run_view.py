# SPDX-License-Identifier: LGPL-3.0-or-later
"""The facts about a run, past or live: the one source of facts of `show`, `top` and `web`.

`view_run` returns the facts at one moment. `RunView` follows a run: whether it is live, what its jobs print,
and requests that change it. Calls may block on the disk or on the run.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pqrun.control.client import NO_LIVE_RUN
from pqrun.control.run_client import HeldRun, RunClient
from pqrun.control.run_output import OutputPiece, RunOutput
from pqrun.core.errors import NOT_ALL_RUN, OK, SOME_FAILED, InternalFailure, UserError
from pqrun.core.job_table import RUNNING, JobRow
from pqrun.core.metrics import Metrics, MetricsCollector
from pqrun.core.text import escape_controls
from pqrun.journal.index import metrics_of
from pqrun.journal.run_directory import RunDirectory
from pqrun.journal.run_list import DIED, state_of
from pqrun.output.store import Capture

if TYPE_CHECKING:
    from pqrun.core.past import KnownDurations

STATES = (
    "ok", "failed", "timeout", "cancelled", "skipped", "interrupted", "running", "waiting", "queued", "pending",
    "held",
)  # fmt: skip
UNFINISHED = ("interrupted", "running", "waiting", "queued", "pending", "held")
LOST = (InternalFailure, UserError, TimeoutError)
"""The errors of a request to a run that is ending or busy."""


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
        over = not any(self.counts.get(state) for state in UNFINISHED)
        return OK if over and self.facts["complete"] and self.state != DIED else NOT_ALL_RUN


def view_run(run: RunDirectory, folded: FoldedRun, *, live: bool) -> ViewedRun:
    """Return the facts about a run as a whole."""
    facts, metrics = folded.facts, folded.metrics
    found = Counter(folded.states())
    if not live:
        found["interrupted"] += found.pop("running", 0)
    now = time.time() if live else facts["until"]
    return ViewedRun(
        run, live, facts, metrics_of(metrics, now=now, live=live),
        state_of(facts, live=live, unfinished=metrics.added - metrics.ended), now,
        folded.failed(), folded.cut_short_for_good(), {state: found[state] for state in STATES if found[state]},
    )  # fmt: skip


class RunView:
    """A run that is followed. It may end or be resumed meanwhile. Belongs to one thread."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.live = False
        self._client = RunClient(run.path)
        self.output = RunOutput(self._client)
        self._seen: tuple[int, int] | None = None
        self._past: KnownDurations | None = None

    def has_news(self) -> bool:
        """Look whether the run is live, and return whether its journal has changed since the last call."""
        self.live = self.run.in_use()
        journal = os.stat(self.run.journal)
        before, self._seen = self._seen, (journal.st_size, journal.st_mtime_ns)
        return self._seen != before

    def forget(self) -> None:
        """Have `has_news` return True the next time, because the journal could not be read."""
        self._seen = None

    def held(self) -> HeldRun:
        """Return whether a live run is paused or stopping, and the usage of its running jobs."""
        if self.live:
            with contextlib.suppress(*LOST):
                return self._client.held()
        return HeldRun()

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
