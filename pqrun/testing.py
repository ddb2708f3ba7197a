# SPDX-License-Identifier: LGPL-3.0-or-later
"""A fake clock and a simulated executor, with which runs of hours take milliseconds.

For the project's own tests and for authors of executors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from pqrun.core.events import Event
from pqrun.core.scheduler import Scheduler
from pqrun.engine.executor import LoadLimit
from pqrun.executors.simulated import FakeClock, Fate, SimulatedExecutor, run_simulated

__all__ = ["FakeClock", "Fate", "RecordedRun", "SimulatedExecutor", "simulate"]


@dataclass
class RecordedRun:
    """A sink that keeps all events of a run."""

    events: list[Event] = field(default_factory=list)
    backlogged: bool = False

    def put(self, events: Sequence[Event]) -> None:
        """Keep the events."""
        self.events.extend(events)


def simulate(
    scheduler: Scheduler,
    executor: SimulatedExecutor,
    story: RecordedRun | None = None,
    *,
    check: Callable[[Scheduler], None] | None = None,
    machine: LoadLimit | None = None,
    past: Iterable[Event] = (),
) -> RecordedRun:
    """Run the scheduler to its end in simulated time. Return the recorded run; see `run_simulated`."""
    story = story or RecordedRun()
    run_simulated(scheduler, executor, story, check=check, machine=machine, past=past)
    return story
