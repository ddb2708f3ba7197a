# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a Python program and its queue hand each other: settings, jobs, errors.

Plain values and their checks; how a queue works is in `queue`. All times in seconds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import KW_ONLY, dataclass, field
from errno import ENOENT
from itertools import count
from math import isfinite
from queue import Empty, Full
from threading import TIMEOUT_MAX
from time import monotonic
from typing import Any, ClassVar, Generic, TypeVar

from pqrun.core.job import Command, Outcome, Priority
from pqrun.core.text import is_printable
from pqrun.executors.local.embedded import ShellResult

P = TypeVar("P")
BACKOFFS = ("exponential", "linear", "constant")
MAX_ID_LENGTH = 200
MAX_RETRIES = 1_000_000


class QueueFull(Full):
    """There is no room in the queue: come back later, or do without.

    `accepted` has the handles of what `enqueue_many(block=True)` had put in before its time ran out.
    """

    def __init__(self, message: str, accepted: Sequence[Future[Any]] = ()) -> None:
        super().__init__(message)
        self.accepted = list(accepted)


class QueueEmpty(Empty):
    """There is nothing to take out of the queue."""


class QueueClosed(RuntimeError):
    """The queue has been shut down: it takes no more jobs."""


class JobFailed(Exception):
    """A shell job did not end well, or (as `JobTimeout`) a job ran out of time.

    `outcome` says how it ended; `result` is what a shell job has left, if it ran.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.outcome = Outcome.FAILED
        self.result: ShellResult | None = None


class JobTimeout(JobFailed, TimeoutError):
    """The last attempt did not end within the job's time limit."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.outcome = Outcome.TIMEOUT


@dataclass(frozen=True, slots=True)
class Config:
    """How large a queue is, and what holds for all its jobs.

    `default_timeout` is for jobs without a `timeout` of their own; 0 or `None`: no limit. Before
    the n-th retry a job waits `retry_delay` × 2^(n−1) (`exponential`), × n (`linear`) or just that
    (`constant`), at most `max_delay`. A job that is asked to end is given `grace`: a shell job is
    killed then, a handler is reported. `ValueError` names the field that can't be so.
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
        """2 workers, room for 100 jobs, 5 minutes for each."""
        return cls(2, 100, 300.0)

    @classmethod
    def medium(cls) -> Config:
        """10 workers, room for 1,000 jobs, half an hour for each: what a queue has without a config."""
        return cls()

    @classmethod
    def large(cls) -> Config:
        """50 workers, room for 10,000 jobs, an hour for each."""
        return cls(50, 10_000, 3600.0)


@dataclass(slots=True, eq=False)
class Job(Generic[P]):
    """Something to do: `payload` is for the handler, the rest for the queue.

    `id` is unique among unfinished jobs. `max_retries` are extra attempts. `timeout` in seconds for
    each attempt; 0: no limit, `None`: the queue's default. `submitted_at` (seconds since the epoch)
    and `retry_count` are the queue's to set. `ValueError` names the field that can't be so.
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
        """`ValueError` if a field can't be so."""
        _check_id(self.id)
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
    ) -> Job[Command]:
        """A command: a text for `/bin/sh -c`, or a list of arguments without a shell.

        `env` is added to the program's environment; without `cwd` it starts where the program is.
        """
        words = (command,) if isinstance(command, str) else tuple(command)
        if not words or not words[0] or not all(isinstance(word, str) for word in words):
            raise ValueError(f"command: a text, or a list of texts, not {command!r}")
        variables = tuple((env or {}).items())
        for name, value in variables:
            if not isinstance(name, str) or not name or "=" in name or not isinstance(value, str):
                raise ValueError(f"env: names and texts, not {name!r}: {value!r}")
        where = None if cwd is None else _absolute(os.fspath(cwd))
        work = Command(command if isinstance(command, str) else words, cwd=where, env=variables)
        return Job(id, priority=priority, payload=work, max_retries=max_retries, timeout=timeout)


class WaitDeadline:
    """So many seconds from now; `None`: never."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._at = None if seconds is None else monotonic() + seconds

    @property
    def left(self) -> float | None:
        """Seconds until then, as what waits wants it."""
        return None if self._at is None else min(max(self._at - monotonic(), 0.0), TIMEOUT_MAX)


def as_priority(value: Any) -> Priority:
    """`ValueError` if it is none."""
    try:
        return Priority(value)
    except ValueError:
        levels = ", ".join(f"Priority.{level.name}" for level in reversed(Priority))
        raise ValueError(f"priority: one of {levels}, not {value!r}") from None


def _absolute(path: str) -> str:
    try:
        return os.path.abspath(path)
    except FileNotFoundError:
        why = "the current directory has been deleted: a `cwd` has to be named in full"
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
