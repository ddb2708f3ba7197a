# SPDX-License-Identifier: LGPL-3.0-or-later
"""The nouns: priority, job, retry policy, how a process ended, and what that means.

Frozen data and pure functions. No clock, no process, no file.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Any, NamedTuple


class Priority(IntEnum):
    """Higher goes first; within one, first come first served."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    CRITICAL = 3


class Outcome(StrEnum):
    """How a job ended for good."""

    OK = "ok"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    INTERRUPTED = "interrupted"


class StopReason(StrEnum):
    """Why we asked a running attempt to stop."""

    TIMEOUT = "timeout"
    IDLE = "idle"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class CountedAs(StrEnum):
    """What one ended attempt is counted as; each attempt once."""

    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    RETRIED = "retried"
    STOPPED = "stopped"


class ExitedWith(NamedTuple):
    """The process ended by itself with this code."""

    code: int


class KilledBySignal(NamedTuple):
    """A signal ended the process; `name` as in `SIGKILL`."""

    name: str


class NotStarted(NamedTuple):
    """There was never a process: 127 not found, 126 found but not to be run; `why` for people."""

    code: int
    why: str


class LostExit(NamedTuple):
    """Nobody knows how it ended. `gone`: the place where it ran is, so it may be run again elsewhere."""

    why: str
    worker_lost: bool = False


Exit = ExitedWith | KilledBySignal | NotStarted | LostExit


def is_gone(exit: Exit | None) -> bool:
    """Whether its place was lost, which says nothing about the job: no retry, and nothing flaky."""
    return isinstance(exit, LostExit) and exit.worker_lost


class RetryPolicy(NamedTuple):
    """When and how often to try again. Times in seconds.

    `on` and `permanent` hold exit codes, signal names and the words `timeout`, `signal`, `any`.
    """

    max: int = 0
    delay: float = 1.0
    backoff: str = "exponential"
    factor: float = 2.0
    max_delay: float = 60.0
    jitter: float = 0.0
    on: frozenset[int | str] = frozenset({"any"})
    permanent: frozenset[int | str] = frozenset()

    def wait_before(self, retry: int, chance: float) -> float:
        """Seconds before the `retry`-th retry (1 is the first); `chance` in [0, 1) spreads it."""
        if self.backoff == "constant":
            wait = self.delay
        elif self.backoff == "linear":
            wait = self.delay * retry
        else:
            try:
                wait = self.delay * float(self.factor) ** (retry - 1)
            except OverflowError:  # long after the cap was reached
                wait = self.max_delay if self.delay else 0.0
        return min(wait, self.max_delay) * (1 + self.jitter * (2 * chance - 1))


NO_RETRIES = RetryPolicy()


class Need(NamedTuple):
    """A job that has to end first: `when` it went `ok` (or may fail), just `ended`, or `failed`."""

    job: str
    when: str = "ok"


class Pool(NamedTuple):
    """A resource that jobs share: `size` of it, with names if it is indexed."""

    name: str
    size: int
    items: tuple[str, ...] = ()


class Command(NamedTuple):
    """A shell command (`run` a string) or an argument list (`run` a tuple, no shell).

    `expand` names the variables of `env` in whose values `$NAME` stands for another.
    """

    run: str | tuple[str, ...]
    cwd: str | None = None
    env: tuple[tuple[str, str], ...] = ()
    expand: tuple[str, ...] = ()
    shell: tuple[str, ...] | None = None
    stdin: str | None = None
    signal: str = "SIGTERM"
    keep_leftovers: bool = False


class JobSpec(NamedTuple):
    """What a job is, as its author wrote it. Times in seconds; `None` means without limit.

    `work` is opaque here: a `Command` for a child process, or what another executor takes.
    """

    id: str
    work: Any
    priority: Priority = Priority.NORMAL
    timeout: float | None = None
    idle_timeout: float | None = None
    grace: float = 5.0
    retry: RetryPolicy = NO_RETRIES
    needs: tuple[Need, ...] = ()
    slots: int = 1
    pools: tuple[tuple[str, int], ...] = ()
    tags: tuple[str, ...] = ()
    success_codes: tuple[int, ...] = (0,)
    allow_failure: bool = False
    rerun: bool = True
    on_lost: str = "rerun"
    max_lost: int = 3
    creates: str | None = None
    named: bool = True
    file: str | None = None
    line: int = 0


class AttemptId(NamedTuple):
    """Names one attempt of one job for ever: late news of an earlier one is told apart by it."""

    seq: int
    attempt: int


class Attempt(NamedTuple):
    """One try of one job, as handed to an executor; `pools` holds what was assigned of each."""

    key: AttemptId
    spec: JobSpec
    max_attempts: int
    pools: tuple[tuple[str, str], ...] = ()


class Usage(NamedTuple):
    """CPU seconds of an attempt's process and of what it waited for; most bytes of memory, if known."""

    user: float = 0.0
    system: float = 0.0
    memory: int | None = None


class SelfReport(NamedTuple):
    """What the attempt wrote about itself; `retry_after` in seconds, `progress` from 0 to 1.

    `moved`: what became of the file that it `creates`, if it failed; it is part of the message too.
    """

    status: str | None = None
    progress: float | None = None
    permanent: bool = False
    retry_after: float | None = None
    message: str | None = None
    notes: tuple[str, ...] = ()
    moved: str = ""


NO_REPORT = SelfReport()


class ExitClass(NamedTuple):
    """What an ended attempt means: its outcome if it is the last, and whether a retry may follow."""

    outcome: Outcome
    retryable: bool = False


SUCCESS = ExitClass(Outcome.OK)


def classify_exit(
    spec: JobSpec, exit: Exit, asked: StopReason | None, said: SelfReport = NO_REPORT
) -> ExitClass:
    """Says what an attempt's end means.

    `asked` is our reason if our signal met it alive, else `None`: a job that we stopped ends for
    our reason whatever its code, and one that ended before we asked keeps its own.
    """
    if asked is None and type(exit) is ExitedWith and exit.code in spec.success_codes:
        return SUCCESS
    if asked is not None:
        match asked:
            case StopReason.CANCELLED:
                return ExitClass(Outcome.CANCELLED)
            case StopReason.INTERRUPTED:
                return ExitClass(Outcome.INTERRUPTED)
            case StopReason.TIMEOUT | StopReason.IDLE:
                return ExitClass(Outcome.TIMEOUT, _retryable(spec.retry, ("timeout",), None, said))
    match exit:
        case ExitedWith(code) | NotStarted(code):
            return ExitClass(Outcome.FAILED, _retryable(spec.retry, (code,), code, said))
        case KilledBySignal(name):
            return ExitClass(Outcome.FAILED, _retryable(spec.retry, (name, "signal"), None, said))
        case LostExit(worker_lost=gone):  # what its place took with it has a budget of its own
            return ExitClass(Outcome.FAILED, not gone and _retryable(spec.retry, (), None, said))


STOP_SIGNALS = {"SIGHUP": 1, "SIGINT": 2, "SIGQUIT": 3, "SIGTERM": 15}
"""The signals that stop pqrun, by name, with the numbers that they have everywhere."""
STOP_SPAN_SECONDS = 1.0
_STOP_CODES = frozenset(128 + number for number in STOP_SIGNALS.values())


def ended_by_stop_signal(spec: JobSpec, exit: Exit) -> bool:
    """Say whether this is how a process ends that was told to stop, as pqrun itself may have been.

    A terminal, `systemctl stop` or a shutdown signals all processes alike. 128+N stands for signal N:
    a shell returns it for its child, and programs that clean up first (those of Java, for one) exit with it.
    """
    match exit:
        case KilledBySignal(name):
            return name in STOP_SIGNALS
        case ExitedWith(code):
            return code in _STOP_CODES and code not in spec.success_codes
    return False


def _retryable(policy: RetryPolicy, names: tuple[int | str, ...], code: int | None, said: SelfReport) -> bool:
    if said.permanent or "any" in policy.permanent or any(name in policy.permanent for name in names):
        return False
    if any(name in policy.on for name in names):
        return True
    if code in (126, 127):
        return False
    return code == 75 or "any" in policy.on


_COUNTS = {
    Outcome.OK: CountedAs.COMPLETED,
    Outcome.FAILED: CountedAs.FAILED,
    Outcome.TIMEOUT: CountedAs.TIMEOUT,
}


def counted_as(verdict: ExitClass, *, again: bool) -> CountedAs:
    """As what an ended attempt is counted."""
    return CountedAs.RETRIED if again else _COUNTS.get(verdict.outcome, CountedAs.STOPPED)


class StartRate(NamedTuple):
    """No more than `number` starts within any `seconds`."""

    number: int
    seconds: float


class Shard(NamedTuple):
    """The `number`-th of so many `parts`, counted from 1."""

    number: int
    parts: int


class HaltRule(NamedTuple):
    """Stop the run early: `now` or `soon`, at such a number (or percentage) of fail, success or done."""

    when: str
    what: str
    number: float
    percent: bool = False


def format_command(work: Any) -> str:
    """The command as a person would type it."""
    run = work.run if isinstance(work, Command) else work
    if isinstance(run, tuple):
        import shlex

        return shlex.join(run)
    return str(run)
