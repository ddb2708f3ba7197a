# SPDX-License-Identifier: LGPL-3.0-or-later
"""The metrics of a run whose queue lies in a table: numbers alone, that go into JSON and back."""

from __future__ import annotations

from collections import Counter
from math import log
from typing import Any

from pqrun.metrics import Metrics, RunningMetrics
from pqrun.model import Count, Outcome, Priority

_STEP = log(1.01)
_NUMBERS = (
    "began", "enqueued", "dequeued", "removed", "active", "attempts_timeout", "added", "ended", "waited",
    "processed", "last_end",
)  # fmt: skip


class Tally(RunningMetrics):
    """`RunningMetrics`, told of one thing after another instead of events."""

    def state(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            **{name: getattr(self, name) for name in _NUMBERS},
            "counts": self.counts, "outcomes": self.outcomes, "priorities": list(self.by_priority.values()),
            "durations": list(self._durations.items()),
        }  # fmt: skip

    @classmethod
    def restored(cls, state: dict[str, Any]) -> Tally:
        """The reverse of `state`."""
        tally = cls()
        for name in _NUMBERS:
            setattr(tally, name, state[name])
        tally.counts = Counter({Count(name): count for name, count in state["counts"].items()})
        tally.outcomes = Counter({Outcome(name): count for name, count in state["outcomes"].items()})
        tally.by_priority = dict(zip(Priority, state["priorities"], strict=True))
        tally._durations = Counter(dict(state["durations"]))
        return tally

    def at(self, now: float | None, oldest: float | None) -> Metrics:
        """The numbers at that moment; `oldest`: since when the first of the queue waits."""
        now = self.last_end if now is None else now
        waited = 0.0 if oldest is None else max(0.0, now - oldest)
        return self.snapshot(now)._replace(oldest_wait=waited)

    def entered(self, priority: int) -> None:
        """A job is in the queue."""
        self.enqueued += 1
        self.by_priority[priority] += 1  # type: ignore[index]  # an IntEnum's number stands for it

    def left_queue(self, priority: int) -> None:
        """It left without an attempt."""
        self.dequeued += 1
        self.removed += 1
        self.by_priority[priority] -= 1  # type: ignore[index]

    def submitted(self, priority: int, waited: float) -> None:
        """It left for a slot."""
        self.dequeued += 1
        self.active += 1
        self.waited += waited
        self.by_priority[priority] -= 1  # type: ignore[index]

    def refused(self, priority: int, waited: float) -> None:
        """It is back as if it had never left."""
        self.dequeued -= 1
        self.active -= 1
        self.waited -= waited
        self.by_priority[priority] += 1  # type: ignore[index]

    def attempt_ended(self, at: float, counted: str, seconds: float, asked: str | None) -> None:
        """An attempt is over."""
        self.active -= 1
        self.counts[counted] += 1  # type: ignore[index]
        self.attempts_timeout += asked in ("timeout", "idle")
        self.last_end = at
        self.processed += seconds
        self._durations[round(log(max(seconds, 1e-6)) / _STEP)] += 1

    def job_ended(self, at: float, outcome: str) -> None:
        """A job is over."""
        self.ended += 1
        self.outcomes[outcome] += 1  # type: ignore[index]
        self.last_end = at

    def taken_back(self, outcome: str) -> None:
        """It was not over after all, or is no longer part of the run."""
        self.ended -= 1
        self.outcomes[outcome] -= 1  # type: ignore[index]

    def moved(self, before: int, after: int) -> None:
        """A queued job's priority changed."""
        self.by_priority[before] -= 1  # type: ignore[index]
        self.by_priority[after] += 1  # type: ignore[index]
