# SPDX-License-Identifier: LGPL-3.0-or-later
"""The protocol between a live run and the parts that show it, measure it or change it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from pqrun.core.job import AttemptId, JobSpec
    from pqrun.core.job_row import JobRow
    from pqrun.core.metrics import Metrics
    from pqrun.engine.clock import Clock
    from pqrun.output.store import Capture


class JobUsage(NamedTuple):
    """The usage of one attempt.

    `cpus`: the CPUs that it kept busy since the last sample. `memory`: bytes now. `peak`: the most bytes so
    far.
    """

    cpus: float
    memory: int
    peak: int


class JobStdin(Protocol):
    """The open standard input of a running attempt. Its method may be called on any thread."""

    def send(self, data: bytes, *, end: bool = False) -> int:
        """Send `data` to the attempt, all or nothing, without blocking, and then the end of its input if `end`.

        Returns the number of bytes that the attempt has not taken yet. Raises Rejected if too many are waiting,
        or if the attempt reads no more.
        """


class JobHistory(Protocol):
    """The rows of all jobs that a run has recorded, read in parts. Used within turns."""

    @property
    def rows(self) -> Mapping[int, JobRow]: ...

    def read(self) -> bool:
        """Read the next part; return whether all is read, up to the last turn. Raises `Rejected`."""


class InputStream(Protocol):
    """The stdin of a job that stays, and gets one block of the input after another."""

    def send(self, file: int, pipe: int) -> None:
        """Write the stream from its beginning into a pipe. `file`: the open file that holds it.

        Raises OSError, BrokenPipeError if the job no longer reads.
        """


class LiveRun(Protocol):
    """A live run, for the live table, the control socket, the usage monitor and the executor.

    Its methods may be called on any thread. `control_socket`: the path of the socket, "" without one. A run
    that is `endless` (a queue) does not end when no jobs are left. `validate_job` raises UserError for a job
    that can't run here; None accepts every job.
    """

    @property
    def clock(self) -> Clock: ...
    @property
    def control_socket(self) -> str: ...
    @property
    def endless(self) -> bool: ...
    @property
    def validate_job(self) -> Callable[[JobSpec], None] | None: ...

    def facts(self) -> dict[str, Any]:
        """Return what is known of the run as a whole, as in `--json`."""

    def history(self) -> JobHistory | None:
        """Return a reader of what the run has recorded of its jobs, or None if it keeps no journal."""

    def job_options(self) -> Mapping[str, Any]:
        """Return the options of the command line that are for every job."""

    def metrics(self) -> Metrics:
        """Return the metrics of this moment. Not for use within a turn, which holds the engine's lock."""

    def metrics_in_turn(self, now: float) -> Metrics:
        """Return the metrics within a turn."""

    def seconds_left(self, now: float) -> float | None:
        """Return the estimated seconds until all jobs have ended; None if unknown, or while jobs are read.

        Never waits, so it may be called within a turn.
        """

    def states(self) -> dict[str, int]:
        """Return the number of jobs in each state that occurs, as the observers know it."""

    def hold_reason(self) -> str:
        """Return what keeps queued jobs from starting although workers are free; "" if nothing does."""

    def workers(self) -> int: ...
    def resize(self, count: int) -> None: ...
    def output_of(self, key: AttemptId) -> Capture | None: ...
    def stdin_of(self, key: AttemptId) -> JobStdin | None: ...
    def pids(self) -> Mapping[AttemptId, int]: ...
    def status_path(self, key: AttemptId) -> str: ...

    def input_stream(self, number: int) -> InputStream | None:
        """Return the stream that the job of this block of the input reads, None if the block is complete."""

    def usage(self) -> Mapping[AttemptId, JobUsage]:
        """Return the last measurement of the running attempts."""

    def peak_of(self, key: AttemptId) -> int | None:
        """Return the most memory that the attempt was measured with, in bytes."""

    def warn(self, text: str) -> None:
        """Show a message to the user."""

    def spare(self) -> None:
        """Give up threads and descriptors that the run can do without, because the jobs need them."""
