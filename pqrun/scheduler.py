# SPDX-License-Identifier: LGPL-3.0-or-later
"""Decides what to do next. No clock, no process, no file: only facts and time.

Asks (`add`, `stop`, `cancel`, …) and news change its mind; `decide` says what follows from it, as
events to record and acts to carry out. The same calls always give the same answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from random import Random
from typing import NamedTuple, Protocol, assert_never

from pqrun import events as ev
from pqrun import lifecycle as life
from pqrun import news as nw
from pqrun.alarms import Alarms
from pqrun.graph import Graph, UnknownNeed
from pqrun.limits import Ceiling, Halting
from pqrun.model import (
    Attempt,
    Halt,
    JobSpec,
    Key,
    Need,
    Outcome,
    Pool,
    Said,
    StopReason,
    count_of,
    judge,
)
from pqrun.ready import SLOTS, Ready
from pqrun.task import Task


class Start(NamedTuple):
    """Act: begin this attempt."""

    attempt: Attempt


class Stop(NamedTuple):
    """Act: ask this attempt to end, or kill it."""

    key: Key
    force: bool


Act = Start | Stop


class Decision(NamedTuple):
    """What happened since the last one, and what is to be done about it."""

    events: list[ev.Event]
    acts: list[Act]


class Restart(Protocol):
    """What an earlier process of the run has left: events to record first, and jobs to go on with."""

    events: list[ev.Event]
    tasks: list[Task]
    ended: list[tuple[str, Outcome, bool]]
    jobs: int


class Scheduler:
    """The queue model: who runs next, when to try again, when to stop."""

    def __init__(
        self,
        *,
        pools: Iterable[Pool] = (),
        max_queue: int = 1000,
        halt: Halt | None = None,
        deadline: float = inf,
        random: Random | None = None,
    ) -> None:
        self.tasks: dict[int, Task] = {}
        self.graph = Graph(self.tasks)
        self.ready = Ready(pools)
        self.max_queue = max_queue
        self.paused = False
        self.stopping: ev.RunStopping | None = None
        self.input_ended = False
        self.jobs = 0
        self._halting = Halting(halt)
        self._deadline = deadline
        self._random = random or Random(0)
        self._place = 0
        self._unstarted = 0
        self._active: dict[int, Task] = {}
        self._used = 0
        self._slots = 0
        self._ceiling = Ceiling()
        self._alarms = Alarms(lambda seq: task.state if (task := self.tasks.get(seq)) else None)
        self._events: list[ev.Event] = []
        self._acts: list[Act] = []

    # What people and files ask for

    @property
    def done(self) -> bool:
        """Nothing runs, and nothing more will."""
        if self.stopping is not None:
            return not self._active
        return self.input_ended and not self.tasks

    @property
    def room(self) -> int:
        """How many more jobs may be read ahead."""
        return 0 if self.stopping or self.input_ended else self.max_queue - self._unstarted

    def running(self) -> list[Task]:
        """The jobs that have a slot."""
        return list(self._active.values())

    def find(self, job_id: str) -> Task | None:
        """The unfinished job of that id."""
        return self.graph.find(job_id)

    def knows(self, job_id: str) -> bool:
        """Whether there was a job of that id, ended or not."""
        return self.graph.knows(job_id)

    def add(self, specs: Iterable[JobSpec], now: float) -> None:
        """New jobs, which may need each other and earlier ones; `UnknownNeed` if not even that."""
        fresh = []
        for spec in specs:
            self.jobs += 1
            task = Task(self.jobs, spec)
            self._events.append(ev.JobAdded(now, self.jobs, spec))
            fresh.append(task)
        self._take_in(fresh, now)

    def restore(self, restart: Restart, now: float) -> None:
        """Goes on with what an earlier process has left."""
        self._events += restart.events
        self.jobs = restart.jobs
        for job_id, outcome, allowed in restart.ended:
            self.graph.remember(job_id, outcome, allowed=allowed)
        self._take_in(restart.tasks, now)
        for task in restart.tasks:
            if isinstance(task.state, life.Waiting):
                self._unstarted -= 1
                self._alarms.set(task.state.until, task.seq, task.state)

    def _take_in(self, fresh: list[Task], now: float) -> None:
        for task in fresh:
            self.tasks[task.seq] = task
            self._unstarted += 1
            self.graph.name(task)
        never: dict[int, Need] = {}
        for task in fresh:
            if task.spec.needs:
                if need := self.graph.connect(task):
                    never[task.seq] = need
                self._move_up(task)
        for task in fresh:
            if task.seq in never:
                if task.seq in self.tasks:
                    self._skip(task, never[task.seq], now)
            elif isinstance(task.state, life.Queued) and task.entry is None:
                self._put_in_place(task)
            elif isinstance(task.state, life.Pending) and not task.unmet and task.seq in self.tasks:
                self._enqueue(task, task.state, now)

    def end_input(self, now: float, *, complete: bool = True, why: str = "") -> None:
        """No more jobs will come."""
        if not self.input_ended:
            self.input_ended = True
            self._events.append(ev.InputEnded(now, self.jobs, complete, why))

    def stop(self, cause: str, now: float, *, drain: bool = False, force: bool = False) -> None:
        """Start nothing new; running jobs are asked to end, or killed, unless they may finish."""
        self.stopping = ev.RunStopping(now, cause, drain, force)
        self._events.append(self.stopping)
        if not drain:
            for task in list(self._active.values()):
                self._ask_to_stop(task, StopReason.INTERRUPTED, now, force=force)

    def pause(self, *, paused: bool, now: float, by: str = "") -> None:
        """Hold back starts, or no longer."""
        if self.paused != paused:
            self.paused = paused
            self._events.append(ev.RunPaused(now, paused, by))

    def cancel(self, task: Task, now: float) -> None:
        """Ends a job: at once if it does not run, else after its grace."""
        match task.state:
            case life.Queued():
                self._events.append(ev.JobRemoved(now, task.seq))
                self.ready.remove(task)
                self._drop(task, Outcome.CANCELLED, now)
            case life.Pending() | life.Waiting():
                self._drop(task, Outcome.CANCELLED, now)
            case life.Submitted() | life.Running():
                self._ask_to_stop(task, StopReason.CANCELLED, now)
            case life.Stopping() | life.Finished():
                pass
            case _:
                assert_never(task.state)

    # What executors report

    def observe(self, news: nw.News, now: float) -> None:
        """Takes in one report; what comes too late for its attempt is dropped."""
        task = self._active.get(news.key.seq)
        if task is None or task.attempts != news.key.attempt:
            return
        seq, attempt = news.key
        match news:
            case nw.Started(_, at, where):
                if isinstance(task.state, life.Submitted):
                    task.state = running = life.start(task.state, at, task.spec.timeout)
                    self._events.append(ev.AttemptStarted(at, seq, attempt, where))
                    if running.deadline is not None:
                        self._alarms.set(running.deadline, seq, running)
            case nw.Idle():
                self._ask_to_stop(task, StopReason.IDLE, now)
            case nw.Told(_, status, progress):
                self._events.append(ev.JobSaid(now, seq, attempt, status, progress))
            case nw.Grew(_, stream, upto, output):
                self._events.append(ev.OutputGrew(now, seq, attempt, stream, upto, output))
            case nw.Refused(_, why):
                self._undo(task, why, now)
            case nw.Ended():
                self._settle(task, news, now)
            case _:
                assert_never(news)

    # What follows from it

    def decide(self, now: float, capacity: int) -> Decision:
        """What has happened since the last decision, and what is to be done now."""
        if now >= self._deadline and self.stopping is None:
            self.stop("deadline", now)
        self._ring_alarms(now)
        slots = int(min(capacity, self._ceiling.slots))
        if slots != self._slots:
            self.ready.look_again(SLOTS)
            self._slots = slots
        closed = self._ceiling.closed(now)
        if not (closed or self.paused or self.stopping):
            while task := self.ready.take(slots, slots - self._used):
                assert isinstance(task, Task)
                self._submit(task, min(task.spec.slots, slots), now)
        decision = Decision(self._events, self._acts)
        self._events, self._acts = [], []
        return decision

    def next_alarm(self) -> float:
        """When `decide` has to be asked again although nothing happened; `inf`: never."""
        alarm = min(self._alarms.next(), inf if self.stopping else self._deadline)
        return min(alarm, self._ceiling.opens_at)

    # Steps

    def _move_up(self, task: Task) -> None:
        for hurried in self.graph.hurry(task):
            if hurried.entry is not None:
                self.ready.push(hurried, (-hurried.urgency, hurried.place, hurried.seq))

    def _enqueue(self, task: Task, state: life.Pending | life.Waiting, now: float) -> None:
        task.state = life.enqueue(state, task.attempts + 1, now)
        self._put_in_place(task)
        if isinstance(state, life.Waiting):
            self._unstarted += 1
        self._events.append(ev.JobQueued(now, task.seq, task.attempts + 1, task.spec.priority))

    def _put_in_place(self, task: Task) -> None:
        self._place += 1
        task.place = self._place
        self.ready.push(task, (-task.urgency, self._place, task.seq))

    def _submit(self, task: Task, slots: int, now: float) -> None:
        assert isinstance(task.state, life.Queued)
        task.state = state = life.submit(task.state)
        task.attempts = state.attempt
        task.held = slots
        if task.spec.pools:
            task.shares = self.ready.pools.take(task.spec.pools)
        self._used += slots
        self._unstarted -= 1
        self._active[task.seq] = task
        self._events.append(ev.AttemptSubmitted(now, task.seq, state.attempt, now - state.since))
        if task.spec.timeout is not None:
            self._alarms.set(now + task.spec.timeout, task.seq, state)
        last = state.attempt + task.spec.retry.max - task.retries
        self._acts.append(Start(Attempt(Key(task.seq, state.attempt), task.spec, last, task.shares)))

    def _release(self, task: Task) -> None:
        del self._active[task.seq]
        self._used -= task.held
        self.ready.give_back(task, task.shares)
        task.shares = ()

    def _undo(self, task: Task, why: str, now: float) -> None:
        """The machine could not start it: back to the front of its equals, nothing used up."""
        state = task.state
        if not isinstance(state, life.Submitted | life.Stopping):
            return
        self._release(task)
        self._unstarted += 1
        task.state = life.refuse(state, now)
        task.attempts -= 1
        self._events.append(ev.AttemptRefused(now, task.seq, state.attempt, why))
        self.ready.push(task, (-task.urgency, task.place, task.seq))
        if isinstance(state, life.Stopping) and state.reason is StopReason.CANCELLED:
            self.cancel(task, now)
        fits = self._ceiling.refused(self._used, now)
        if fits is not None:
            self._events.append(ev.SlotsChanged(now, fits, why))

    def _ask_to_stop(self, task: Task, reason: StopReason, now: float, *, force: bool = False) -> None:
        state = task.state
        if isinstance(state, life.Submitted | life.Running):
            task.state = state = life.ask_to_stop(state, reason, now + task.spec.grace)
            if not force:
                self._tell_to_stop(task, state, now)
                self._alarms.set(state.kill_at, task.seq, state)
        if force and isinstance(state, life.Stopping) and not state.killed:
            task.state = state = life.kill(state)
            self._tell_to_stop(task, state, now)

    def _tell_to_stop(self, task: Task, state: life.Stopping, now: float) -> None:
        self._events.append(ev.AttemptStopping(now, task.seq, state.attempt, state.reason, state.killed))
        self._acts.append(Stop(Key(task.seq, state.attempt), state.killed))

    def _settle(self, task: Task, news: nw.Ended, now: float) -> None:
        state = task.state
        assert isinstance(state, life.Submitted | life.Running | life.Stopping)
        asked = state.reason if news.stopped and isinstance(state, life.Stopping) else None
        verdict = judge(task.spec, news.exit, asked, news.said)
        again = verdict.retryable and task.retries < task.spec.retry.max
        self._release(task)
        self._ceiling.went_well()
        self._events.append(
            ev.AttemptEnded(
                now, task.seq, state.attempt, count_of(verdict, again=again), news.exit, asked,
                news.began, news.ended, news.usage, news.said, news.output,
            )
        )  # fmt: skip
        if again:
            task.retries += 1
            task.state = waiting = life.retry(state, now + self._pause_before(task, news.said))
            self._events.append(ev.JobWaiting(now, task.seq, waiting.attempt, waiting.until))
            self._alarms.set(waiting.until, task.seq, waiting)
        else:
            task.state = life.finish(state, verdict.outcome)
            self._conclude(task, verdict.outcome, now)

    def _pause_before(self, task: Task, said: Said) -> float:
        if said.retry_after is not None:
            return said.retry_after
        policy = task.spec.retry
        return policy.wait_before(task.retries, self._random.random() if policy.jitter else 0.5)

    def _drop(self, task: Task, outcome: Outcome, now: float) -> None:
        """It ends without another attempt."""
        state = task.state
        assert isinstance(state, life.Pending | life.Queued | life.Waiting)
        if not isinstance(state, life.Waiting):
            self._unstarted -= 1
        task.state = life.drop(state, outcome, task.attempts)
        self._conclude(task, outcome, now)

    def _skip(self, task: Task, need: Need, now: float) -> None:
        assert isinstance(task.state, life.Pending)
        self._unstarted -= 1
        task.state = life.drop(task.state, Outcome.SKIPPED, task.attempts)
        self._conclude(task, Outcome.SKIPPED, now, need)

    def _conclude(self, task: Task, outcome: Outcome, now: float, need: Need | None = None) -> None:
        """A job has ended for good: tell it, and go on with what hung on it (and so on, in turn)."""
        ended = [(task, outcome, need)]
        while ended:
            task, outcome, need = ended.pop()
            # What was to mend a failure and found none to mend is no failure itself.
            allowed = (need is not None and need.when == "failed") or (
                task.spec.allow_failure and outcome in (Outcome.FAILED, Outcome.TIMEOUT)
            )
            because = need.job if need else ""
            self._events.append(ev.JobEnded(now, task.seq, outcome, task.attempts, allowed, because))
            del self.tasks[task.seq]
            self._consider_halting(outcome, now, allowed=allowed)
            for other, never in self.graph.settle(task, outcome, allowed=allowed):
                assert isinstance(other.state, life.Pending)
                if never is None:
                    self._enqueue(other, other.state, now)
                else:
                    self._unstarted -= 1
                    other.state = life.drop(other.state, Outcome.SKIPPED, other.attempts)
                    ended.append((other, Outcome.SKIPPED, never))

    def _consider_halting(self, outcome: Outcome, now: float, *, allowed: bool) -> None:
        self._halting.count(outcome, allowed=allowed)
        if self.stopping is None and (halt := self._halting.reached(self.jobs)):
            self.stop("halt", now, drain=halt.when == "soon")

    def _ring_alarms(self, now: float) -> None:
        for seq in self._alarms.due(now):
            task = self.tasks[seq]
            match task.state:
                case life.Waiting() as state:
                    self._enqueue(task, state, now)
                case life.Submitted() as state:  # its start may be in the mail: nobody was woken for that
                    self._alarms.set(now + min(task.spec.timeout or 1.0, 1.0), seq, state)
                case life.Running():
                    self._ask_to_stop(task, StopReason.TIMEOUT, now)
                case life.Stopping(reason=reason):
                    self._ask_to_stop(task, reason, now, force=True)


__all__ = ["Act", "Decision", "Scheduler", "Start", "Stop", "UnknownNeed"]
