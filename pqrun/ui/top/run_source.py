# SPDX-License-Identifier: LGPL-3.0-or-later
"""What `top` asks of a run: the values that it shows, and the protocol of their source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from pqrun.control.run_client import NO_USAGE, MeasuredUsage
from pqrun.control.run_output import OutputPiece
from pqrun.core.metrics import Metrics
from pqrun.ui.top.jobs import ListedJob


class RunState(NamedTuple):
    """The whole run at the time `now`. `trouble`: why the run can no longer be read.

    `address` is the run's name on a command line. `usage`: of the running jobs, by number, where it is measured.
    `delayed` jobs wait for a time. `since`: when its present process began, None for the first one. `expected`: the
    seconds left by the times of earlier runs, if they are known and no rate is known yet.
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

    def words(self, seqs: Iterable[int]) -> dict[int, str]:
        """Return the last output of those jobs as one safe line each, where it may have changed."""

    def read(self, seq: int, attempt: int, stream: int, offset: int | None) -> OutputPiece:
        """Return output of an attempt from byte `offset`; with None, its last part."""

    def act(self, verb: str, **facts: Any) -> dict[str, Any]:
        """Send a request to the run. Raises `InternalFailure` or `UserError` if it is refused."""

    def close(self) -> None:
        """Close the connection and the files."""
