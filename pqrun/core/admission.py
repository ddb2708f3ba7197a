# SPDX-License-Identifier: LGPL-3.0-or-later
"""[hot path] The way of jobs into the queue: when needs are met, nobody holds the job, and its time has come.

No clock, process or file. A job that waits for its time is in no queue, so it holds up no other job.
"""

from __future__ import annotations

from typing import Protocol

from pqrun.core import events as ev
from pqrun.core import states as life
from pqrun.core.attempts import Decision, TimerHeap
from pqrun.core.dependencies import DependencyGraph
from pqrun.core.job import Need, Outcome, new
from pqrun.core.ready_queue import ReadyQueue
from pqrun.core.start_policy import Backlog
from pqrun.core.task import Task

MIN_DRIFT_SECONDS = 0.05
"""A smaller change of the wall clock is its usual correction, or the time between two looks at two clocks."""


class EndUnstarted(Protocol):
    """A function that ends a job without another attempt, because of `need` if it is skipped."""

    def __call__(self, task: Task, outcome: Outcome, now: float, need: Need | None = None) -> None: ...


class JobAdmission:
    """The jobs on their way into the queue: new, restored and reopened ones, and those that may not start yet.

    `tasks`: the unfinished jobs by number. `end` ends a job that will never be ready. `delayed`: the jobs that wait for
    a time, by number. `timed`: some job had a time, so `set_drift` is to be called before each decision. `drift`: how
    many seconds the wall clock is ahead of the scheduler's; it changes if the wall clock is set, and while the machine
    or pqrun is suspended.
    """

    def __init__(
        self,
        tasks: dict[int, Task],
        graph: DependencyGraph,
        ready: ReadyQueue,
        backlog: Backlog,
        alarms: TimerHeap,
        log: Decision,
        end: EndUnstarted,
    ) -> None:
        self.delayed: dict[int, Task] = {}
        self.timed = False
        self.drift = 0.0
        self._tasks = tasks
        self._graph = graph
        self._ready = ready
        self._backlog = backlog
        self._alarms = alarms
        self._log = log
        self._events = log.events
        self._end = end
        self._queued = life.Queued(1, 0.0)

    # The way in

    def admit(self, fresh: list[Task], now: float) -> None:
        """Admit new or restored tasks: register all, connect their needs, enqueue those that are ready."""
        tasks, graph, needy = self._tasks, self._graph, []
        for task in fresh:
            tasks[task.seq] = task
            spec = task.spec
            if spec.id:
                graph.name(task)
            if spec.needs:
                needy.append(task)
        self._backlog.came(*fresh)
        if self._ready.limited_tags:
            for task in fresh:
                self._ready.reshape(task)
        never = self._connect(needy) if needy else {}
        for task in fresh:
            state = task.state
            if type(state) is life.Pending and not (task.unmet or never):
                self.enqueue(task, state, now)
            else:
                self._admit_otherwise(task, never.get(task.seq), now)

    def _connect(self, needy: list[Task]) -> dict[int, Need]:
        """Connect the needs of admitted tasks. Return the needs that can never be met, by the number of the task."""
        never: dict[int, Need] = {}
        for task in needy:
            # In any other state, the needs were met in an earlier process.
            if isinstance(task.state, life.Pending):
                self.timed = self.timed or task.spec.not_before is not None
                if need := self._graph.connect(task):
                    never[task.seq] = need
                self._ready.move(self._graph.raise_urgency(task))
        return never

    def _admit_otherwise(self, task: Task, never: Need | None, now: float) -> None:
        """Admit a restored task, or one whose needs are not met or, for `never`, can never be met."""
        if task.seq not in self._tasks:
            return  # skipped, because a job that it needs was skipped a moment ago
        if never is not None:
            self._end(task, Outcome.SKIPPED, now, never)
        elif isinstance(task.state, life.Queued) and task.entry is None:
            self._ready.enter(task, again=task.place < 0)
        elif isinstance(task.state, life.Pending) and not task.unmet:
            self.enqueue(task, task.state, now)

    def enqueue(self, task: Task, state: life.Pending | life.Waiting, now: float) -> None:
        """Put a job whose needs are met into the queue, or let it wait until its time has come."""
        spec = task.spec
        if spec.not_before is not None and self._delay(task, now):
            return
        attempt = task.attempts + 1
        if self._queued != (attempt, now):  # jobs queued in one turn share one state, to save memory
            self._queued = life.enqueue(state, attempt, now)
        task.state = self._queued
        if isinstance(state, life.Waiting):
            self._ready.enter(task, again=task.place != 0)
            self._backlog.came(task)
            self.delayed.pop(task.seq, None)
        else:
            self._ready.enter(task, again=task.place < 0)
        self._events.append(new(ev.JobQueued, (now, task.seq, attempt, spec.priority)))

    def restore(self, tasks: list[Task], now: float) -> None:
        """Admit the jobs of an earlier process of the run, in the states and places that they had."""
        self.admit(tasks, now)
        for task in tasks:
            self._ready.places = max(self._ready.places, -task.place)
            if isinstance(task.state, life.Waiting):
                self._backlog.left(task)
                if isinstance(task.state, life.Delayed):
                    self._wait_for_time(task, task.state)
                else:
                    self._alarms.set(task.state.until, task.seq, task.state)

    def reopen(self, tasks: list[Task], now: float) -> None:
        """Admit ended jobs that are to run again. The pending jobs that need them wait for them once more."""
        waiting = self._graph.reopen(tasks)
        self.admit(tasks, now)
        for other in waiting:
            self._ready.move(self._graph.raise_urgency(other))

    def reconnect(self, task: Task, now: float) -> None:
        """Apply a job's changed needs: enqueue the job, move it back to pending, or skip it."""
        never = self._graph.connect(task)
        if never:
            self._end(task, Outcome.SKIPPED, now, never)
        elif isinstance(task.state, life.Queued) and task.unmet:
            self.leave(task, now)
            task.state = life.block(task.state)
        elif isinstance(task.state, life.Pending) and not task.unmet:
            self.enqueue(task, task.state, now)

    def leave(self, task: Task, now: float) -> None:
        """Remove the job from the queue, or from the jobs that wait for a time, if it is in one of them."""
        if isinstance(task.state, life.Queued):
            self._log.events.append(ev.JobRemoved(now, task.seq))
            self._ready.remove(task)
        elif isinstance(task.state, life.Delayed):
            del self.delayed[task.seq]

    # Jobs that a user holds

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
            self.enqueue(task, pending, now)
        return True

    # Jobs that wait for a time

    def time_changed(self, task: Task, now: float) -> None:
        """Apply the new time of a job that is queued, or waits for its time."""
        self.timed = True
        if isinstance(task.state, life.Queued):
            self._delay(task, now)
        elif isinstance(task.state, life.Delayed):
            self.enqueue(task, task.state, now)

    def set_drift(self, drift: float, now: float) -> None:
        """Tell how far the wall clock is ahead, and set the timers of delayed jobs anew if that has changed."""
        if abs(drift - self.drift) >= MIN_DRIFT_SECONDS:
            self.drift = drift
            for task in list(self.delayed.values()):
                self.time_changed(task, now)

    def _delay(self, task: Task, now: float) -> bool:
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
        task.state = delayed = life.delay(state, task.attempts + 1, until)
        self._log.events.append(ev.JobDelayed(now, task.seq, task.attempts + 1, until))
        self._wait_for_time(task, delayed)
        return True

    def _wait_for_time(self, task: Task, state: life.Delayed) -> None:
        self.timed = True
        self.delayed[task.seq] = task
        self._alarms.set(state.until, task.seq, state)
