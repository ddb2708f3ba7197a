# SPDX-License-Identifier: LGPL-3.0-or-later
"""[hot path] The row of one job in the table of a run: its state, its last attempt, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from pqrun.core.job import (
    CountedAs,
    Exit,
    ExitedWith,
    JobSpec,
    KilledBySignal,
    NotStarted,
    Outcome,
    OutputPlace,
    Priority,
    StopReason,
    Usage,
)

NO_USAGE = Usage()
PENDING, HELD, QUEUED, RUNNING, WAITING = "pending", "held", "queued", "running", "waiting"
UNFINISHED = (PENDING, HELD, QUEUED, RUNNING, WAITING)
_OUTCOMES = {str(outcome): outcome for outcome in Outcome}


class JobRow:
    """The row of one job. Times are in seconds of the engine's clock, and those of the last attempt.

    A job that has neither begun nor ended has a `JobRow`, which holds only what such a job has: 100,000 of them
    may wait. The values of an attempt and of an end are those of the class until then. The table replaces the row
    by a `FullRow` when the job begins or ends.

    `where` is the host of the last attempt, empty for this machine. `priority` is the one in the queue.
    `since`: when the running attempt left the queue, or began as soon as that is known.
    `stopping`: how the running attempt was asked to end (`ending`, `killed`). `status` and `progress`: what it
    has reported. `seconds`: how long the last attempt took, None if none has ended since the job was opened.
    `submitted`: when the last attempt left the queue. `stdout_at`, `stderr_at`: where its output is kept, if any.
    `last`: the number of the last attempt that ended.

    A restart needs `by` (the request that added the job), `counted`, `lost` (attempts whose worker was lost
    after they began), `place` in the queue (0: a new one is due; negative: before its equals) and `until`, when a
    waiting job is due.
    """

    __slots__ = ("by", "place", "priority", "queued", "seq", "spec", "state", "until")

    attempts = retries = last = lost = stdout_bytes = stderr_bytes = 0
    allowed = False
    since = 0.0
    submitted: float | None = None
    started: float | None = None
    ended: float | None = None
    waited: float | None = None
    seconds: float | None = None
    progress: float | None = None
    exit: Exit | None = None
    asked: StopReason | None = None
    counted: CountedAs | None = None
    status: str | None = None
    stdout_at: OutputPlace | None = None
    stderr_at: OutputPlace | None = None
    usage = NO_USAGE
    message = where = stopping = ""

    def __init__(self, seq: int, spec: JobSpec, by: str = "") -> None:
        self.seq = seq
        self.spec = spec
        self.by = by
        self.priority: Priority = spec.priority
        self.state = PENDING
        self.queued: float | None = None
        self.place = 0
        self.until = 0.0

    def copy(self) -> FullRow:
        """Return a row with the same values, which can be changed."""
        row = FullRow(self)
        for name in FullRow.__slots__:
            setattr(row, name, getattr(self, name))
        return row

    @property
    def outcome(self) -> Outcome | None:
        """The way the job ended, or None for a job that has not ended."""
        return _OUTCOMES.get(self.state)

    @property
    def code(self) -> int | None:
        """The exit code of the last attempt, or None."""
        return self.exit.code if isinstance(self.exit, ExitedWith | NotStarted) else None

    @property
    def signal(self) -> str | None:
        """The name of the signal that ended the last attempt, or None."""
        return self.exit.name if isinstance(self.exit, KilledBySignal) else None

    @property
    def stdout(self) -> str | None:
        """The path of the file that holds the stdout of the last attempt and nothing else, or None."""
        return _own_file(self.stdout_at)

    @property
    def stderr(self) -> str | None:
        """The path of the file that holds the stderr of the last attempt and nothing else, or None."""
        return _own_file(self.stderr_at)

    @property
    def max_attempts(self) -> int:
        """The number of attempts that the job may have in all. One that is to be tried again has one more to come."""
        to_come = self.state in (PENDING, HELD, QUEUED, WAITING)
        last = self.attempts - self.retries + self.spec.retry.max + to_come
        return max(self.attempts, last, 1 + self.spec.retry.max)

    @property
    def tries(self) -> int:
        """The number of the present attempt, or the number that the job's retries allow if that is higher."""
        return max(self.attempts, self.spec.retry.max + 1)

    @property
    def run_seconds(self) -> float | None:
        """How long the last attempt ran; None if none has run since the job was opened."""
        return None if self.started is None or self.seconds is None else max(0.0, self.seconds)

    @property
    def is_flaky(self) -> bool:
        """Whether the job succeeded only after a failed attempt of its own."""
        return self.state == "ok" and self.retries > 0

    @property
    def is_delayed(self) -> bool:
        """Whether the job waits for a time that its author set, and not for a retry."""
        return self.state == WAITING and self.counted is not CountedAs.RETRIED

    @property
    def fails_run(self) -> bool:
        """Whether the job's end makes the run fail. An interrupted job that may be rerun does not."""
        if self.state == "ok" or self.allowed:
            return False
        return self.state != "interrupted" or not self.spec.rerun


class FullRow(JobRow):
    """The row of a job that has begun or ended."""

    __slots__ = (
        "allowed", "asked", "attempts", "counted", "ended", "exit", "last", "lost", "message", "progress", "retries",
        "seconds", "since", "started", "status", "stderr_at", "stderr_bytes", "stdout_at", "stdout_bytes", "stopping",
        "submitted", "usage", "waited", "where",
    )  # fmt: skip

    def __init__(self, row: JobRow) -> None:
        (
            self.by,
            self.place,
            self.priority,
            self.queued,
            self.seq,
            self.spec,
            self.state,
            self.until,
        ) = _VALUES_OF_WAITING(row)
        (
            self.allowed, self.asked, self.attempts, self.counted, self.ended, self.exit, self.last, self.lost,
            self.message, self.progress, self.retries, self.seconds, self.since, self.started, self.status,
            self.stderr_at, self.stderr_bytes, self.stdout_at, self.stdout_bytes, self.stopping, self.submitted,
            self.usage, self.waited, self.where,
        ) = _NOT_BEGUN  # fmt: skip


_VALUES_OF_WAITING: Callable[[JobRow], tuple[Any, ...]] = attrgetter(*JobRow.__slots__)
_NOT_BEGUN: tuple[Any, ...] = tuple(getattr(JobRow, name) for name in FullRow.__slots__)
"""The values of a row before the job begins, in the order of the names."""


def _own_file(place: OutputPlace | None) -> str | None:
    return None if place is None or place.pack else place.file
