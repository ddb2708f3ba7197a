# SPDX-License-Identifier: LGPL-3.0-or-later
"""The protocols of the places where attempts run: an executor runs them, a backend opens the executor.

An executor reports through a `Reporter`. Each attempt gives at most one `ProcessStarted`, then
exactly one `ProcessFinished` or `StartRejected`. The end of a short attempt can tell its start
(`ProcessFinished.slot`), which saves a notice. A stop that can't be obeyed is answered with a
`ProcessFinished` whose exit is `LostExit`. Scheduling, retries and priorities belong to the scheduler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Protocol

from pqrun.core.job import Attempt, AttemptId, JobSpec
from pqrun.core.notices import ExecutorNotice

if TYPE_CHECKING:
    from pqrun.core.start_policy import Headroom
    from pqrun.engine.live_run import JobStdin, LiveRun
    from pqrun.engine.reactor import Reactor
    from pqrun.output.store import Capture, Logs


class Reporter(Protocol):
    """The receiver of notices. Its methods may be called on any thread and never wait for another turn.

    `post` leaves the notices for the next turn; `turn` also runs a turn, which carries out what follows.
    `fail` ends the run, because the executor itself has failed.
    """

    def post(self, *notices: ExecutorNotice, urgent: bool = True) -> None: ...
    def turn(self, *notices: ExecutorNotice) -> None: ...
    def fail(self, error: BaseException) -> None: ...


class Executor(Protocol):
    """A place where attempts run.

    `capacity`, `start`, `stop` and `signal` are called under the engine's lock, the other methods on any thread.
    """

    def capacity(self) -> int:
        """Return the number of slots in all; the scheduler counts those in use."""

    def start(self, attempt: Attempt) -> None:
        """Start an attempt. Never blocks, and never raises for a mistake of the user."""

    def stop(self, key: AttemptId, *, force: bool) -> None:
        """Ask the attempt to end, or kill it. Never blocks; an unknown or ended attempt is ignored."""

    def signal(self, key: AttemptId, name: str) -> None:
        """Send a signal to the processes of an attempt that `pids` lists. Never blocks; others are ignored."""

    def resize(self, count: int) -> None:
        """Change the number of attempts at a time. Running attempts continue."""

    def output_of(self, key: AttemptId) -> Capture | None:
        """Return what a running attempt has printed so far, None if there is nothing or it is elsewhere."""

    def stdin_of(self, key: AttemptId) -> JobStdin | None:
        """Return the open standard input of an attempt; None if it has none, or is not running here."""

    def pids(self) -> Mapping[AttemptId, int]:
        """Return the leaders of the running attempts that are processes of this machine."""

    def close(self) -> None:
        """Stop everything and release all resources. May wait; may be called again."""


class LoadLimit(Protocol):
    """A limit of concurrent attempts by load and memory.

    If the limit holds back starts, the engine asks again at `next_check_at`.
    """

    next_check_at: float

    def headroom(self, now: float, running: Callable[[], Sized]) -> Headroom: ...


class RunFiles(Protocol):
    """The name of a run, and the places of its files.

    `token` marks the processes of this part of the run. `lock_fds`: descriptors that keep the run locked.
    """

    run_id: str
    token: str
    workspace: str
    logs: Logs

    @property
    def address(self) -> str: ...
    @property
    def lock_fds(self) -> Sequence[int]: ...


class TerminalGuard(Protocol):
    """A process that restores the terminal if pqrun is killed."""

    def keep_terminal(self, **facts: object) -> None: ...


class Backend(Protocol):
    """A place where the commands of a run run: opened before the run has threads, closed as its last part.

    `machine` limits the starts by the load there. `validate_job` raises UserError for a job that the place
    can't run; None accepts every job. `watchdogs` end the running jobs if pqrun is killed; None if there are
    none on this machine. `guarded` says whether a watchdog was alive for the whole run; None if that is
    unknown.
    """

    @property
    def machine(self) -> LoadLimit: ...
    @property
    def watchdogs(self) -> TerminalGuard | None: ...
    @property
    def guarded(self) -> bool | None: ...
    @property
    def validate_job(self) -> Callable[[JobSpec], None] | None: ...

    def count_workers(self, said: str | None) -> int:
        """Turn the value of `-j` into a number of workers."""

    def open(self, files: RunFiles, directory: str, reactor: Reactor) -> None:
        """Prepare the place; jobs start in `directory`. Called on the main thread before any other exists."""

    def executor(self, count: int, live: LiveRun, reporter: Reporter) -> Executor:
        """Create the executor, with `count` workers."""

    def workers(self) -> int:
        """Return the present number of workers."""

    def status_path(self, key: AttemptId) -> str:
        """Return the path of the attempt's status file."""

    def suspend(self, *, stopped: bool) -> None:
        """Stop the running jobs together with pqrun, or continue them."""

    def close(self) -> list[str]:
        """End the remaining jobs. Return one text for each error."""
