# SPDX-License-Identifier: LGPL-3.0-or-later
"""The time limit that is a percentage of the median time of the jobs that have succeeded (`--median-timeout`).

No clock, process or file. Only a run with such a limit uses this module, so that other runs pay nothing for it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable
from math import inf
from random import Random

from pqrun.core import notices as nw
from pqrun.core import states as life
from pqrun.core.attempts import ActiveAttempts, Decision, TimerHeap
from pqrun.core.job import CountedAs, Outcome, StopReason
from pqrun.core.ready_queue import ReadyQueue
from pqrun.core.task import Task

MAX_DURATIONS = 10_000
CHECK_INTERVAL_SECONDS = 1.0


class MedianLimit:
    """The durations of the last `MAX_DURATIONS` attempts that succeeded, and the limit that follows from them.

    `durations` are those that earlier processes of the run have recorded.
    """

    def __init__(self, percent: float, durations: Iterable[float] = ()) -> None:
        self._factor = percent / 100
        self._in_order = deque(durations, MAX_DURATIONS)
        self._sorted = sorted(self._in_order)

    def add(self, seconds: float) -> None:
        """Take the duration of an attempt that succeeded into account."""
        if len(self._in_order) == MAX_DURATIONS:
            del self._sorted[bisect_left(self._sorted, self._in_order[0])]
        self._in_order.append(seconds)
        insort(self._sorted, seconds)

    @property
    def seconds(self) -> float:
        """The limit of one attempt now; `inf` before the first success."""
        count = len(self._sorted)
        if not count:
            return inf
        return self._factor * (self._sorted[(count - 1) // 2] + self._sorted[count // 2]) / 2


class MedianLimitedAttempts(ActiveAttempts):
    """Attempts with this limit beside the timeout of their job.

    The limit changes with each success, so a running attempt is compared with the limit at least once a second.
    """

    def __init__(
        self, ready: ReadyQueue, alarms: TimerHeap, log: Decision, random: Random, limit: MedianLimit
    ) -> None:
        super().__init__(ready, alarms, log, random)
        self.limit = limit

    def submit(self, task: Task, slots: int, now: float) -> None:
        """Submit the task's next attempt, and set the timer that looks for its start."""
        super().submit(task, slots, now)
        self._alarms.set(now + min(self.limit.seconds, CHECK_INTERVAL_SECONDS), task.seq, task.state)

    def started(self, task: Task, news: nw.ProcessStarted) -> None:
        """Record that the attempt has started, and set the timer of its limit."""
        before = task.state
        super().started(task, news)
        if task.state is not before:
            self._look_again(task, news.at)

    def on_timer(self, task: Task, now: float) -> Outcome | None:
        """Stop an attempt that has run longer than the limit; all other timers are those of every attempt."""
        state = task.state
        if isinstance(state, life.Running) and (state.deadline is None or now < state.deadline):
            if now >= state.started + self.limit.seconds:
                self.request_stop(task, StopReason.TIMEOUT, now)
            else:
                self._look_again(task, now)
            return None
        return super().on_timer(task, now)

    def _look_again(self, task: Task, now: float) -> None:
        state = task.state
        assert isinstance(state, life.Running)
        due = min(state.started + self.limit.seconds, now + CHECK_INTERVAL_SECONDS)
        self._alarms.set(due, task.seq, state)

    def _record_end(
        self, task: Task, news: nw.ProcessFinished, now: float, counted: CountedAs, asked: StopReason | None
    ) -> None:
        super()._record_end(task, news, now, counted, asked)
        if counted is CountedAs.COMPLETED:
            self.limit.add(max(0.0, news.ended - news.began))
