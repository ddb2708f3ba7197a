# SPDX-License-Identifier: LGPL-3.0-or-later
"""The jobs that may not start yet: those that a user holds, and those that wait for a time. No clock, process or file.

A job that waits for its time is in no queue, so it holds up no other job.
"""

from __future__ import annotations

from collections.abc import Callable

from pqrun.core import events as ev
from pqrun.core import states as life
from pqrun.core.attempts import Decision, TimerHeap
from pqrun.core.ready_queue import ReadyQueue
from pqrun.core.start_policy import Backlog
from pqrun.core.task import Task

MIN_DRIFT_SECONDS = 0.05
"""A smaller change of the wall clock is its usual correction, or the time between two looks at two clocks."""

Enqueue = Callable[[Task, life.Pending | life.Waiting, float], None]


class Holds:
    """The held and the delayed jobs.

    `enqueue` puts a job that may start into the queue. `delayed`: the jobs that wait for a time, by number. `timed`:
    some job had a time, so `set_drift` is to be called before each decision. `drift`: how many seconds the wall clock
    is ahead of the scheduler's; it changes if the wall clock is set, and while the machine or pqrun is suspended.
    """

    def __init__(
        self, ready: ReadyQueue, backlog: Backlog, alarms: TimerHeap, log: Decision, enqueue: Enqueue
    ) -> None:
        self.delayed: dict[int, Task] = {}
        self.timed = False
        self.drift = 0.0
        self._ready = ready
        self._backlog = backlog
        self._alarms = alarms
        self._log = log
        self._enqueue = enqueue

    def hold(self, task: Task, now: float, by: str) -> bool:
        """Keep a job without a slot from starting until it is released. Return whether that changed the job."""
        state = task.state
        if isinstance(state, life.Held) or not isinstance(state, life.Pending | life.Queued | life.Waiting):
            return False
        self.leave(task, now)
        if isinstance(state, life.Waiting):
            self._backlog.came(task)
        task.state = life.hold(state)
        task.unmet += 1
        task.place = min(task.place, 0)
        self._log.events.append(ev.JobHeld(now, task.seq, True, by))
        return True

    def release(self, task: Task, now: float, by: str) -> bool:
        """Let a held job start. Return whether the job was held."""
        if not isinstance(task.state, life.Held):
            return False
        task.state = pending = life.release(task.state)
        task.unmet -= 1
        self._log.events.append(ev.JobHeld(now, task.seq, False, by))
        if not task.unmet:
            self._enqueue(task, pending, now)
        return True

    def leave(self, task: Task, now: float) -> None:
        """Remove the task from the queue, or from the jobs that wait for a time, if it is in one of them."""
        if isinstance(task.state, life.Queued):
            self._log.events.append(ev.JobRemoved(now, task.seq))
            self._ready.remove(task)
        elif isinstance(task.state, life.Delayed):
            del self.delayed[task.seq]

    def delay(self, task: Task, now: float) -> bool:
        """Keep a job from starting if its time has not come. Return whether that is so."""
        self.timed = True
        state, not_before = task.state, task.spec.not_before
        assert isinstance(state, life.Pending | life.Queued | life.Waiting)
        if not_before is None or (until := not_before - self.drift) <= now:
            return False
        self.leave(task, now)
        if not isinstance(state, life.Waiting):
            self._backlog.left(task)
            task.place = min(task.place, 0)
        task.state = life.delay(state, task.attempts + 1, until)
        self._log.events.append(ev.JobDelayed(now, task.seq, task.attempts + 1, until))
        self.restore(task)
        return True

    def restore(self, task: Task) -> None:
        """Set the timer of a delayed job."""
        assert isinstance(task.state, life.Delayed)
        self.timed = True
        self.delayed[task.seq] = task
        self._alarms.set(task.state.until, task.seq, task.state)

    def time_changed(self, task: Task, now: float) -> None:
        """Apply the new time of a job that is queued, or waits for its time."""
        self.timed = True
        if isinstance(task.state, life.Queued):
            self.delay(task, now)
        elif isinstance(task.state, life.Delayed):
            self._enqueue(task, task.state, now)

    def set_drift(self, drift: float, now: float) -> None:
        """Tell how far the wall clock is ahead, and set the timers of delayed jobs anew if that has changed."""
        if abs(drift - self.drift) >= MIN_DRIFT_SECONDS:
            self.drift = drift
            for task in list(self.delayed.values()):
                self.time_changed(task, now)
