# SPDX-License-Identifier: LGPL-3.0-or-later
"""[hot path] The row of one job in the table of a run: its state, its last attempt, and what follows from them."""

from __future__ import annotations

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
_OUTCOMES = {str(outcome): outcome for outcome in Outcome}


class JobRow:
    """The row of one job. Times are in seconds of the engine's clock, and those of the last attempt.

    `where` is the host of the last attempt, empty for this machine. `priority` is the one in the queue, which
    a job may inherit. `since`: when the running attempt left the queue, or began as soon as that is known.
    `stopping`: how the running attempt was asked to end (`ending`, `killed`). `status` and `progress`: what it
    has reported. `seconds`: how long the last attempt took, None if none has ended since the job was opened.
    `submitted`: when the last attempt left the queue. `stdout_at`, `stderr_at`: where its output is kept, if any.
    `last`: the number of the last attempt that ended.

    A restart needs `by` (the request that added the job), `counted`, `lost` (attempts whose worker was lost
    after they began), `place` in the queue (0: a new one is due; negative: before its equals) and `until`, when a
    waiting job is due.
    """

    __slots__ = (
        "allowed", "asked", "attempts", "by", "counted", "ended", "exit", "last", "lost", "message", "place",
        "priority", "progress", "queued", "retries", "seconds", "seq", "since", "spec", "started", "state",
        "status", "stderr_at", "stderr_bytes", "stdout_at", "stdout_bytes", "stopping", "submitted", "until", "usage",
        "waited", "where",
    )  # fmt: skip

    def __init__(
        self,
        seq: int,
        spec: JobSpec,
        state: str = PENDING,
        attempts: int = 0,
        retries: int = 0,
        queued: float | None = None,
        *,
        by: str = "",
    ) -> None:
        self.seq = seq
        self.spec = spec
        self.priority: Priority = spec.priority
        self.state = state
        self.attempts = attempts
        self.retries = retries
        self.queued = queued
        self.since = 0.0
        self.submitted: float | None = None
        self.started: float | None = None
        self.ended: float | None = None
        self.waited: float | None = None
        self.seconds: float | None = None
        self.exit: Exit | None = None
        self.asked: StopReason | None = None
        self.usage = NO_USAGE
        self.message = ""
        self.stdout_at: OutputPlace | None = None
        self.stderr_at: OutputPlace | None = None
        self.stdout_bytes = self.stderr_bytes = 0
        self.allowed = False
        self.where = ""
        self.stopping = ""
        self.status: str | None = None
        self.progress: float | None = None
        self.by = by
        self.counted: CountedAs | None = None
        self.last = self.lost = self.place = 0
        self.until = 0.0

    def copy(self) -> JobRow:
        """Return a row with the same values."""
        row = JobRow(self.seq, self.spec)
        for name in self.__slots__:
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


def _own_file(place: OutputPlace | None) -> str | None:
    return None if place is None or place.pack else place.file
