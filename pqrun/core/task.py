# SPDX-License-Identifier: LGPL-3.0-or-later
"""The scheduler's record of one unfinished job: its spec, its state, its place, its dependents."""

from __future__ import annotations

from typing import Protocol

from pqrun.core.events import Event
from pqrun.core.job import JobSpec, Outcome
from pqrun.core.states import Pending, State

ONE_SLOT: tuple[int, tuple[tuple[str, int], ...]] = (1, ())
"""The shape of most jobs: one shared tuple, to save memory."""

_PENDING = Pending()
"""The state of each new job: one value for all."""


class Task:
    """The record of one unfinished job. `origin`: how it came into the run (listed, streamed or added).

    `attempts`, `retries` and `lost` include those of earlier processes of the run. `unmet` counts the
    needs that are still open. `dependents` holds the number of each job that needs this one, and when.
    `entry` is its tuple in the queue, or None. `shares` holds the units of pools that its attempt uses.
    """

    __slots__ = (
        "attempts", "cancelled_by", "dependents", "entry", "held", "lost", "origin", "place", "retries", "seq",
        "shape", "shares", "spec", "state", "unmet", "urgency",
    )  # fmt: skip

    def __init__(self, seq: int, spec: JobSpec, origin: int = 0) -> None:
        self.seq = seq
        self.spec = spec
        self.origin = origin
        self.shape = ONE_SLOT if spec.slots == 1 and not spec.pools else (spec.slots, spec.pools)
        self.state: State = _PENDING
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


EndedTask = tuple[Task, Outcome, bool]
"""An ended job that is to run again, its outcome, and whether its failure was allowed."""


class RestoredState(Protocol):
    """The state that an earlier process of the run left: events to record, and jobs to continue."""

    events: list[Event]
    tasks: list[Task]
    ended: list[tuple[str, Outcome, bool]]
    jobs: int
    paused: bool
