# SPDX-License-Identifier: LGPL-3.0-or-later
"""One unfinished job as the scheduler keeps it: what was asked for, its state, what hangs on it."""

from __future__ import annotations

from typing import Protocol

from pqrun.core.events import Event
from pqrun.core.job import JobSpec, Outcome
from pqrun.core.states import Pending, State

ONE_SLOT: tuple[int, tuple[tuple[str, int], ...]] = (1, ())
"""What most jobs ask for: one object for all of them."""


class Task:
    """`attempts`, `retries` and `lost` count what earlier processes used up too; `origin` is how it came in."""

    __slots__ = (
        "attempts", "cancelled_by", "dependents", "entry", "held", "lost", "origin", "place", "retries", "seq",
        "shape", "shares", "spec", "state", "unmet", "urgency",
    )  # fmt: skip

    def __init__(self, seq: int, spec: JobSpec, origin: int = 0) -> None:
        self.seq = seq
        self.spec = spec
        self.origin = origin
        self.shape = ONE_SLOT if spec.slots == 1 and not spec.pools else (spec.slots, spec.pools)
        self.state: State = Pending()
        self.urgency = spec.priority
        self.attempts = 0
        self.retries = 0
        self.lost = 0
        self.unmet = 0
        self.dependents: list[tuple[int, str]] | tuple[()] = ()
        self.entry: tuple[int, int, int] | None = None
        self.place = 0
        self.held = 0
        self.cancelled_by = ""
        self.shares: tuple[tuple[str, str], ...] = ()


class RestoredState(Protocol):
    """What an earlier process of the run has left: events to record first, and jobs to go on with."""

    events: list[Event]
    tasks: list[Task]
    ended: list[tuple[str, Outcome, bool]]
    jobs: int
    paused: bool
