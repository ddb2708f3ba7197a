# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the screen of `top` wants to know of a run, whether it lives or not, and whom it asks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from pqrun.metrics import Metrics
from pqrun.top.jobs import Job


class RunNow(NamedTuple):
    """The run as a whole, at the moment `now`; `trouble`: why nothing new can be learnt of it.

    `address` is how to call it on a command line.
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


class News(NamedTuple):
    """What has changed since the last time; `anew`: these are all jobs."""

    run: RunNow
    changed: Sequence[Job] = ()
    gone: Sequence[int] = ()
    anew: bool = False


class Attempt(NamedTuple):
    """One attempt that has ended, or runs (then `seconds` is None)."""

    number: int
    how: str
    seconds: float | None
    message: str = ""


class Details(NamedTuple):
    """More of one job: its attempts, and what it waits for."""

    seq: int
    attempts: Sequence[Attempt] = ()
    why: str = ""


class Piece(NamedTuple):
    """Output from byte `start` on; `over`: that attempt prints no more."""

    data: bytes = b""
    start: int = 0
    over: bool = False


class Source(Protocol):
    """A run to look at. Every call may wait for a disk or for the run, so none comes from the screen."""

    def poll(self) -> News:
        """What is new."""

    def details(self, seq: int) -> Details:
        """More of that job."""

    def words(self, seqs: Iterable[int]) -> dict[int, str]:
        """What those jobs printed last, on one line, safe; only where it has changed."""

    def read(self, seq: int, attempt: int, stream: int, offset: int | None) -> Piece:
        """Output of an attempt from that byte on; None: the last part of it."""

    def act(self, verb: str, **facts: Any) -> dict[str, Any]:
        """Has the run do something; `OwnFailure` or `UserError` if it can't."""

    def again(self, seq: int) -> dict[str, Any]:
        """Has the run take a new job like that one, which has ended; fails as `act` does."""

    def close(self) -> None:
        """Nothing more is asked."""
