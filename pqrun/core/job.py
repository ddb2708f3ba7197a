# SPDX-License-Identifier: LGPL-3.0-or-later
"""The vocabulary of the domain: priorities, jobs, retry policies, exits, and what an exit means.

Frozen data and pure functions. No clock, process or file.
"""

from enum import IntEnum, StrEnum
from typing import Any, NamedTuple


class Priority(IntEnum):
    """The priority of a job. Higher starts first; jobs of equal priority start in the order they came in."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    CRITICAL = 3


class Outcome(StrEnum):
    """The way a job ended for good."""

    OK = "ok"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    INTERRUPTED = "interrupted"


class StopReason(StrEnum):
    """The reason for which pqrun asked a running attempt to stop."""

    TIMEOUT = "timeout"
    IDLE = "idle"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class CountedAs(StrEnum):
    """The metric that counts an ended attempt. Each attempt is counted once."""

    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    RETRIED = "retried"
    STOPPED = "stopped"


class ExitedWith(NamedTuple):
    """The exit of a process that ended by itself, with this code."""

    code: int


class KilledBySignal(NamedTuple):
    """The exit of a process that a signal ended; `name` is `SIGKILL`, for example."""

    name: str


class NotStarted(NamedTuple):
    """The exit of an attempt without a process: code 127 if the program was not found, else 126.

    `why` is a text for people.
    """

    code: int
    why: str


class LostExit(NamedTuple):
    """The exit of an attempt whose end is unknown.

    `worker_lost`: the worker or the machine of the attempt was lost, so the job may run again elsewhere.
    """

    why: str
    worker_lost: bool = False


Exit = ExitedWith | KilledBySignal | NotStarted | LostExit


def is_gone(exit: Exit | None) -> bool:
    """Return whether the attempt's worker was lost.

    Such an end says nothing about the job: it is not a retry, and does not make the job flaky.
    """
    return isinstance(exit, LostExit) and exit.worker_lost


class RetryPolicy(NamedTuple):
    """The rules for retries: which ends are retried, how often, and after what wait in seconds.

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
        """Return the seconds to wait before retry number `retry` (from 1). `chance` in [0, 1) spreads it."""
        if self.backoff == "constant":
            wait = self.delay
        elif self.backoff == "linear":
            wait = self.delay * retry
        else:
            try:
                wait = self.delay * float(self.factor) ** (retry - 1)
            except OverflowError:  # far above the longest wait
                wait = self.max_delay if self.delay else 0.0
        return min(wait, self.max_delay) * (1 + self.jitter * (2 * chance - 1))


NO_RETRIES = RetryPolicy()


class Need(NamedTuple):
    """A job that must end first.

    `when`: the end that meets the need: `ok` (an allowed failure counts as ok), `ended` or `failed`.
    """

    job: str
    when: str = "ok"


class Pool(NamedTuple):
    """A resource that jobs share: `size` units of it, each with a name in `items` if the pool is indexed."""

    name: str
    size: int
    items: tuple[str, ...] = ()


TAG_POOL = "tag:"
"""The beginning of the name of a pool that limits the jobs with a tag. No other pool has a colon in its name."""

OPEN_STDIN = "open"
"""The value of `Command.stdin` for a job that reads what `pqrun send` sends; a file of this name is `./open`."""
UNKNOWN_SIZE = -1


class InputBlock(NamedTuple):
    """A block of the input of `each --pipe`, which a job reads as its stdin: `size` bytes from `offset` on.

    A job of `--round-robin` reads many blocks of the stream, one after another; its `size` is UNKNOWN_SIZE.
    `file` holds the block alone if it is `kept`, otherwise the whole input. The first `header` bytes of the input
    come before the block; a kept file has them already.
    """

    number: int
    offset: int
    size: int
    file: str
    header: int = 0
    kept: bool = False


class Command(NamedTuple):
    """A shell command (`run` is a text) or an argument list (`run` is a tuple, started without a shell).

    `expand` names the variables of `env` whose values are templates with `$NAME`. `nice` is the niceness of the
    processes; None means that of pqrun. `stdin` is a file, or a text with a line break, or `OPEN_STDIN`. `pty`: the
    job's streams are a terminal of its own.
    """

    run: str | tuple[str, ...]
    cwd: str | None = None
    env: tuple[tuple[str, str], ...] = ()
    expand: tuple[str, ...] = ()
    shell: tuple[str, ...] | None = None
    stdin: str | InputBlock | None = None
    signal: str = "SIGTERM"
    keep_leftovers: bool = False
    nice: int | None = None
    pty: bool = False


class JobSpec(NamedTuple):
    """The description of a job as its author wrote it. Times in seconds; None means no limit.

    `id` is empty in a spec that several jobs share: no job can need them, and they are found by their numbers alone.
    The core never looks into `work`: it is a `Command` for a child process, or the work of another executor. `named`
    is false if the job has no id of its own; its id is then its number. `label` stands in front of each line of its
    output instead of the id. `not_before`: seconds since the epoch, on the wall clock. `args`: the arguments of
    `each` or the values of a matrix, from which the job was made; `arg_names` are the names of the first of them,
    empty for those without a name.
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
    not_before: float | None = None
    label: str | None = None
    arg_names: tuple[str, ...] = ()
    named: bool = True
    file: str | None = None
    args: tuple[str, ...] = ()
    line: int = 0


def run_of(spec: JobSpec) -> str | tuple[str, ...] | None:
    """Return the command of a job as its author wrote it; None for work that is no command."""
    return spec.work.run if isinstance(spec.work, Command) else None


def block_of(spec: JobSpec) -> InputBlock | None:
    """Return the block of the input of `each --pipe` that the job reads."""
    stdin = spec.work.stdin if isinstance(spec.work, Command) else None
    return stdin if isinstance(stdin, InputBlock) else None


new = tuple.__new__
"""Makes a named tuple from all its values, without the call of its Python constructor. For hot files only."""


class AttemptId(NamedTuple):
    """The identity of one attempt of one job. A late notice of an earlier attempt is recognised by it."""

    seq: int
    attempt: int


class OutputPlace(NamedTuple):
    """Where the bytes of a recorded stream are. `pack`: the number of the pack, 0 for a file of the stream's own."""

    file: str
    offset: int = 0
    pack: int = 0


class Attempt(NamedTuple):
    """An attempt of a job as handed to an executor; `pools` holds the job's share of each pool."""

    key: AttemptId
    spec: JobSpec
    max_attempts: int
    pools: tuple[tuple[str, str], ...] = ()


class Usage(NamedTuple):
    """The CPU seconds and the peak memory in bytes of an attempt's process and its waited-for children."""

    user: float = 0.0
    system: float = 0.0
    memory: int | None = None


class SelfReport(NamedTuple):
    """The status report that an attempt wrote about itself; `retry_after` in seconds, `progress` from 0 to 1.

    `moved`: where the failed attempt's `creates` file was moved to; this text is also part of `message`.
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
    """The meaning of an attempt's exit: the job's outcome if no retry follows, and whether one may follow."""

    outcome: Outcome
    retryable: bool = False


SUCCESS = ExitClass(Outcome.OK)


def classify_exit(
    spec: JobSpec, exit: Exit, asked: StopReason | None, said: SelfReport = NO_REPORT
) -> ExitClass:
    """Return the meaning of an attempt's exit.

    `asked` is the reason for which pqrun stopped the attempt, if its signal reached a live process, else
    None. A job that pqrun stopped ends for that reason whatever its exit code; a job that had ended
    before the request keeps its own exit.
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
        case LostExit(worker_lost=gone):  # lost workers are limited by `max_lost`, not by retries
            return ExitClass(Outcome.FAILED, not gone and _retryable(spec.retry, (), None, said))


STOP_SIGNALS = {"SIGHUP": 1, "SIGINT": 2, "SIGQUIT": 3, "SIGTERM": 15}
"""The signals that stop pqrun, by name, with their numbers, which are the same on every system."""
STOP_SPAN_SECONDS = 1.0
_STOP_CODES = frozenset(128 + number for number in STOP_SIGNALS.values())


def ended_by_stop_signal(spec: JobSpec, exit: Exit) -> bool:
    """Return whether the exit looks like that of a process that was told to stop, as pqrun may have been.

    A terminal, `systemctl stop` and a shutdown signal all processes alike. Exit code 128+N stands for
    signal N: a shell returns it for its child, and programs that clean up first, such as those of Java,
    exit with it.
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
    return code == 75 or ("any" in policy.on and code not in (126, 127))


_COUNTS = {
    Outcome.OK: CountedAs.COMPLETED, Outcome.FAILED: CountedAs.FAILED, Outcome.TIMEOUT: CountedAs.TIMEOUT,
}  # fmt: skip


def counted_as(verdict: ExitClass, *, again: bool) -> CountedAs:
    """Return the metric that counts an ended attempt; `again`: the job will run again."""
    return CountedAs.RETRIED if again else _COUNTS.get(verdict.outcome, CountedAs.STOPPED)


class StartRate(NamedTuple):
    """A limit of `number` starts within any `seconds`."""

    number: int
    seconds: float


class Shard(NamedTuple):
    """Part `number` of `parts` of the jobs, counted from 1."""

    number: int
    parts: int


class HaltRule(NamedTuple):
    """The rule that stops a run early: `number` jobs, or a percentage, of `fail`, `success` or `done`.

    `when` is `now` (running jobs are stopped) or `soon` (running jobs may finish).
    """

    when: str
    what: str
    number: float
    percent: bool = False


def format_command(work: Any) -> str:
    """Return the command as a person would type it."""
    run = work.run if isinstance(work, Command) else work
    if isinstance(run, tuple):
        import shlex

        return shlex.join(run)
    return str(run)
