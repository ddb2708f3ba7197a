# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which of the ready jobs start now, and what holds back the others. No clock, no process, no file."""

from __future__ import annotations

from math import inf

from pqrun import events as ev
from pqrun.backlog import Backlog
from pqrun.limits import GIVE_UP_AFTER, Bearing, Ceiling, Pace
from pqrun.ready import SLOTS, Ready
from pqrun.running import Decision, Running
from pqrun.task import Task


class Starts:
    """The way from the queue to a slot.

    `holding` says why nothing starts, if it is neither slots nor pools that ready jobs lack; it may
    start again at `opens_at`, or when something else happens if that is `inf`.
    """

    def __init__(
        self,
        ready: Ready,
        running: Running,
        log: Decision,
        pace: Pace,
        backlog: Backlog,
        patience: float = GIVE_UP_AFTER,
    ) -> None:
        self.holding = ""
        self.opens_at = inf
        self.slots = 0
        self.ceiling = Ceiling(patience)
        self._ready = ready
        self._running = running
        self._log = log
        self._pace = pace
        self._backlog = backlog
        self._told: set[str] = set()

    def begin(self, now: float, capacity: int, bearing: Bearing, held: str = "") -> None:
        """Starts all that may start, nothing if the run is `held`."""
        slots = self._looked_at(capacity, now)
        ready, running = self._ready, self._running
        if held:
            self.holding, self.opens_at = (held if len(ready) else ""), inf
            return
        self.holding, self.opens_at = "", inf
        while slots > running.used and len(ready):
            if why := self._closed(now, bearing):
                self._hold(why, bearing, now)
                break
            task = ready.take(slots, slots - running.used)
            if task is None:
                break
            assert isinstance(task, Task)
            running.submit(task, min(task.spec.slots, slots), now)
            self._backlog.left(task)
            self._pace.started(now)

    def _looked_at(self, capacity: int, now: float) -> int:
        """How many slots there are, if the machine bears as many."""
        if self.ceiling.untold and not self._running.awaits_starts:  # what fits is known by now
            self._log.events.append(ev.SlotsChanged(now, int(self.ceiling.slots), self.ceiling.untold))
            self.ceiling.untold = ""
        slots = int(min(capacity, self.ceiling.slots))
        if slots != self.slots:
            self._ready.look_again(SLOTS)
            self.slots = slots
        return slots

    def _closed(self, now: float, bearing: Bearing) -> str:
        """Why not even one may start now."""
        if self.ceiling.closed(now):
            self.opens_at = self.ceiling.opens_at
            return "the machine has no room for another process"
        if len(self._running.tasks) >= bearing.most:
            return bearing.why
        if self._pace.opens_at > now:
            self.opens_at = self._pace.opens_at
            return self._pace.why
        return ""

    def _hold(self, why: str, bearing: Bearing, now: float) -> None:
        self.holding = why
        if why == bearing.why and bearing.option not in ("", *self._told):
            self._told.add(bearing.option)
            self._log.events.append(ev.StartsHeld(now, why))
