# SPDX-License-Identifier: LGPL-3.0-or-later
"""The values that a program and its queue exchange: `Config`, `Job` and the exceptions.

All times are in seconds. `queue` has the queue itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import KW_ONLY, dataclass, field
from errno import ENOENT
from itertools import count
from math import isfinite
from queue import Empty, Full
from threading import TIMEOUT_MAX
from time import monotonic
from typing import Any, ClassVar, Generic, TypeVar

from pqrun.core.job import OPEN_STDIN, Command, Outcome, Priority
from pqrun.core.text import is_printable
from pqrun.executors.local.embedded import ShellResult

P = TypeVar("P")
BACKOFFS = ("exponential", "linear", "constant")
MAX_ID_LENGTH = 200
MAX_RETRIES = 1_000_000


class QueueFull(Full):
    """Raised by `enqueue` if the queue has no room: try again later, or reject the work.

    `accepted` has the futures of the jobs that `enqueue_many(block=True)` added before its timeout.
    """

    def __init__(self, message: str, accepted: Sequence[Future[Any]] = ()) -> None:
        super().__init__(message)
        self.accepted = list(accepted)


class QueueEmpty(Empty):
    """Raised by `dequeue` if no job is queued."""


class QueueClosed(RuntimeError):
    """Raised if the queue has been shut down or has failed, and accepts no more jobs."""


class JobFailed(Exception):
    """The exception of the future of a shell job that failed, and the base class of `JobTimeout`.

    `outcome`: the job's final outcome. `result`: the `ShellResult` of a shell job's last attempt, or
    `None` if the job is not a shell job or did not run.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.outcome = Outcome.FAILED
        self.result: ShellResult | None = None


class JobTimeout(JobFailed, TimeoutError):
    """The exception of the future of a job whose last attempt exceeded the job's timeout."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.outcome = Outcome.TIMEOUT


@dataclass(frozen=True, slots=True)
class Config:
    """The size of a queue and the defaults of its jobs. All times are in seconds.

    `max_workers`: the maximum number of jobs that run at the same time.
    `max_queue_size`: the maximum number of queued jobs.
    `default_timeout`: the timeout of each attempt of a job that has no `timeout`; 0 or `None`: no limit.
    `enable_metrics`: whether `Queue.metrics` is available.
    `retry_delay`, `backoff`, `max_delay`: the wait before the n-th retry is `retry_delay` × 2^(n−1)
    (`exponential`), `retry_delay` × n (`linear`) or `retry_delay` (`constant`), and at most `max_delay`.
    `grace`: the time between asking a job to end and killing it (shell job), or logging that it still
    runs (handler, which cannot be killed).

    Raises `ValueError`, which names the field, if a value is invalid.
    """

    max_workers: int = 10
    max_queue_size: int = 1000
    default_timeout: float | None = 1800.0
    enable_metrics: bool = True
    retry_delay: float = 1.0
    max_delay: float = 60.0
    backoff: str = "exponential"
    grace: float = 5.0

    def __post_init__(self) -> None:
        for name in ("max_workers", "max_queue_size"):
            _check_count(name, getattr(self, name), least=1)
        _check_seconds("default_timeout", self.default_timeout, or_none=True)
        for name in ("retry_delay", "max_delay", "grace"):
            _check_seconds(name, getattr(self, name))
        if not isinstance(self.enable_metrics, bool):
            raise ValueError(f"enable_metrics: true or false, not {self.enable_metrics!r}")
        if self.backoff not in BACKOFFS:
            raise ValueError(f"backoff: {', '.join(BACKOFFS)}, not {self.backoff!r}")

    @classmethod
    def small(cls) -> Config:
        """Return a config with 2 workers, 100 queued jobs and a timeout of 5 minutes."""
        return cls(2, 100, 300.0)

    @classmethod
    def medium(cls) -> Config:
        """Return the default config: 10 workers, 1,000 queued jobs and a timeout of 30 minutes."""
        return cls()

    @classmethod
    def large(cls) -> Config:
        """Return a config with 50 workers, 10,000 queued jobs and a timeout of 1 hour."""
        return cls(50, 10_000, 3600.0)


@dataclass(slots=True, eq=False)
class Job(Generic[P]):
    """A job for a queue. The handler gets the whole job; `payload` is the handler's own data.

    `id`: 1 to 200 printable characters, unique among the unfinished jobs; `""`: an id is generated.
    `priority`: jobs of a higher priority start first.
    `max_retries`: the maximum number of attempts after the first one.
    `timeout`: seconds for each attempt; 0: no limit, `None`: the queue's `default_timeout`.
    `submitted_at` and `retry_count` are set by the queue: seconds since the epoch when the job was
    added, and the number of retries so far.

    Raises `ValueError`, which names the field, if a value is invalid.
    """

    id: str = ""
    _: KW_ONLY
    priority: Priority = Priority.NORMAL
    submitted_at: float | None = field(default=None, init=False)
    payload: P = None  # type: ignore[assignment]
    retry_count: int = field(default=0, init=False)
    max_retries: int = 0
    timeout: float | None = None

    _numbers: ClassVar[count[int]] = count(1)

    def __post_init__(self) -> None:
        if self.id == "":
            self.id = f"job-{next(Job._numbers)}"
        self.check()

    def check(self) -> None:
        """Raise `ValueError`, which names the field, if a field is invalid. `enqueue` calls this again."""
        job_id = self.id
        if type(job_id) is not str or not 0 < len(job_id) <= MAX_ID_LENGTH or not job_id.isprintable():
            _check_id(job_id)
        if type(self.priority) is not Priority:
            self.priority = as_priority(self.priority)
        if self.max_retries != 0 or type(self.max_retries) is not int:
            _check_count("max_retries", self.max_retries, most=MAX_RETRIES)
        if self.timeout is not None:
            _check_seconds("timeout", self.timeout)

    @staticmethod
    def shell(
        command: str | Sequence[str],
        id: str = "",
        *,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        priority: Priority = Priority.NORMAL,
        max_retries: int = 0,
        timeout: float | None = None,
        pty: bool = False,
        open_stdin: bool = False,
    ) -> Job[Command]:
        """Return a shell job: a string for `/bin/sh -c`, or a sequence of arguments without a shell.

        `cwd`: the working directory; `None`: the program's current directory.
        `env`: variables that are added to the program's environment, or replace those of the same name.
        `timeout`: seconds for each attempt; 0: no limit, `None`: the queue's `default_timeout`.

        `pty`: the command gets a terminal of its own; its stdout and stderr are then one stream.
        `open_stdin`: the command reads what `Queue.send` sends, instead of `/dev/null`.

        The future's result is a `ShellResult`.

        Raises `ValueError` if an argument is invalid, and `FileNotFoundError` if `cwd` is relative and
        the current directory has been deleted.
        """
        run = _checked_command(command)
        variables = _checked_variables(env or {})
        where = None if cwd is None else _absolute(os.fspath(cwd))
        stdin = OPEN_STDIN if open_stdin else None
        work = Command(run, cwd=where, env=variables, stdin=stdin, pty=pty)
        return Job(id, priority=priority, payload=work, max_retries=max_retries, timeout=timeout)


class WaitDeadline:
    """The moment `seconds` from now, for several waits with one limit in total. `None`: no limit."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._at = None if seconds is None else monotonic() + seconds

    @property
    def left(self) -> float | None:
        """Seconds until the deadline, as a timeout for the `threading` module; `None`: no limit.

        Capped at `TIMEOUT_MAX`, because `threading` raises `OverflowError` for a longer timeout.
        """
        return None if self._at is None else min(max(self._at - monotonic(), 0.0), TIMEOUT_MAX)


def as_priority(value: Any) -> Priority:
    """Return `value` as a `Priority`; raise `ValueError` if `value` is not one."""
    try:
        return Priority(value)
    except ValueError:
        levels = ", ".join(f"Priority.{level.name}" for level in reversed(Priority))
        raise ValueError(f"priority: one of {levels}, not {value!r}") from None


def _checked_command(command: Any) -> str | tuple[str, ...]:
    words: tuple[Any, ...] = ()
    if isinstance(command, str):
        words = (command,)
    elif isinstance(command, Iterable):
        words = tuple(command)
    if not words or not words[0] or not all(isinstance(word, str) for word in words):
        raise ValueError(f"command: a text, or a list of texts, not {command!r}")
    return command if isinstance(command, str) else words


def _checked_variables(env: Mapping[Any, Any]) -> tuple[tuple[str, str], ...]:
    for name, value in env.items():
        if not isinstance(name, str) or not name or "=" in name or not isinstance(value, str):
            raise ValueError(f"env: names and texts, not {name!r}: {value!r}")
    return tuple(env.items())


def _absolute(path: str) -> str:
    try:
        return os.path.abspath(path)
    except FileNotFoundError:
        why = "the current directory has been deleted: give `cwd` as an absolute path"
        raise FileNotFoundError(ENOENT, why) from None


def _check_id(value: Any) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID_LENGTH or not is_printable(value):
        raise ValueError(f"id: 1 to {MAX_ID_LENGTH} printable characters, not {value!r}")


def _check_count(name: str, value: Any, *, least: int = 0, most: int | None = None) -> None:
    if type(value) is not int or value < least or (most is not None and value > most):
        upto = "" if most is None else f" to {most:,}"
        raise ValueError(f"{name}: a whole number from {least}{upto}, not {value!r}")


def _check_seconds(name: str, value: Any, *, or_none: bool = False) -> None:
    if value is None and or_none:
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value) or value < 0:
        raise ValueError(f"{name}: seconds, 0 or more, not {value!r}")
