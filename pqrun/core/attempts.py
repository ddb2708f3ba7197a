# SPDX-License-Identifier: LGPL-3.0-or-later
"""[hot path] The attempts that hold slots, from submission to end, and the timers of jobs.

No clock, process or file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from heapq import heapify, heappop, heappush
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from pqrun.core import events as ev
from pqrun.core import notices as nw
from pqrun.core import states as life
from pqrun.core.job import (
    STOP_SPAN_SECONDS,
    Attempt,
    AttemptId,
    CountedAs,
    ExitedWith,
    Outcome,
    SelfReport,
    StopReason,
    classify_exit,
    counted_as,
    ended_by_stop_signal,
    is_gone,
    new,
)
from pqrun.core.ready_queue import ReadyQueue
from pqrun.core.states import State
from pqrun.core.task import Task
from pqrun.core.text import host_name

if TYPE_CHECKING:
    from random import Random

MIN_REBUILD_SIZE = 64
MIN_START_PAUSE_SECONDS = 0.001
"""How long to wait at least, and at most, for the notice that an attempt has started when its time is over already."""
MAX_START_PAUSE_SECONDS = 1.0


class TimerHeap:
    """A heap of timers. A timer is valid only while its job is still in the state object that set the timer.

    `tasks`: the unfinished jobs by number. `heap`: all timers, valid or stale.
    """

    def __init__(self, tasks: Mapping[int, Task]) -> None:
        self._tasks = tasks
        self.heap: list[tuple[float, int, int, State]] = []
        self._order = 0
        self._rebuild_at = MIN_REBUILD_SIZE

    def set(self, when: float, seq: int, state: State) -> None:
        """Set a timer of the job `seq` for the time `when`; it is void once the job has left `state`."""
        if len(self.heap) >= self._rebuild_at:
            # Drop stale timers, or 200,000 short jobs with a timeout, run beside one long job, would
            # leave 200,000 of them in the heap.
            self.heap = [alarm for alarm in self.heap if not self._stale(alarm)]
            heapify(self.heap)
            self._rebuild_at = max(MIN_REBUILD_SIZE, 2 * len(self.heap))
        self._order += 1
        heappush(self.heap, (when, self._order, seq, state))

    def due(self, now: float) -> Iterator[int]:
        """Yield the jobs whose timers are due, in order. The caller may set more timers meanwhile."""
        while self.heap and self.heap[0][0] <= now:
            alarm = heappop(self.heap)
            if not self._stale(alarm):
                yield alarm[2]

    def next(self) -> float:
        """Return the time of the next valid timer, or `inf` if no timer is set."""
        while self.heap and self._stale(self.heap[0]):
            heappop(self.heap)
        return self.heap[0][0] if self.heap else inf

    def _stale(self, alarm: tuple[float, int, int, State]) -> bool:
        task = self._tasks.get(alarm[2])
        return task is None or task.state is not alarm[3]


MAX_UNCOUNTED_LOSSES = 20


class StopAttempt(NamedTuple):
    """The command to ask an attempt to end, or with `force` to kill it."""

    key: AttemptId
    force: bool


class SignalAttempt(NamedTuple):
    """The command to send a signal, such as `SIGUSR1`, to the processes of an attempt."""

    key: AttemptId
    name: str


SchedulerCommand = Attempt | StopAttempt | SignalAttempt
"""An `Attempt` is the command to start it."""


class Decision(NamedTuple):
    """The events since the last decision (what happened), and the commands to carry out."""

    events: list[ev.Event]
    acts: list[SchedulerCommand]


class ActiveAttempts:
    """The attempts that hold slots. Appends events and commands to `log`, which the scheduler hands on."""

    def __init__(self, ready: ReadyQueue, alarms: TimerHeap, log: Decision, seed: str | int) -> None:
        self.tasks: dict[int, Task] = {}
        self.used = 0
        self._signalled_at: float | None = None
        self._ready = ready
        self._alarms = alarms
        self._log = log
        self._seed = seed
        self._random: Random | None = None
        self._events, self._acts = log

    @property
    def awaits_starts(self) -> bool:
        """Whether an executor has not yet reported the start, or the refusal, of some attempt."""
        return any(isinstance(task.state, life.Submitted) for task in self.tasks.values())

    def submit(self, task: Task, slots: int, now: float) -> None:
        """Take the task's next attempt from the queue into `slots` slots, and append its start command."""
        state = task.state
        assert type(state) is life.Queued
        seq, spec = task.seq, task.spec
        attempt, since = state
        task.state = submitted = life.submit(state)
        task.attempts = attempt
        task.held = slots
        shares: tuple[tuple[str, str], ...] = ()
        if task.shape[1]:
            task.shares = self._ready.pools.take(task.shape[1])
            shares = task.shares[len(task.shares) - len(spec.pools) :]  # the others are limits of tags
        self.used += slots
        self.tasks[seq] = task
        self._events.append(new(ev.AttemptSubmitted, (now, seq, attempt, now - since)))
        timeout = spec.timeout
        if timeout is not None:
            self._alarms.set(now + timeout, seq, submitted)
        last = attempt + spec.retry.max - task.retries
        self._acts.append(new(Attempt, (new(AttemptId, (seq, attempt)), spec, last, shares)))

    def started(self, task: Task, news: nw.ProcessStarted) -> None:
        """Record that the executor has started the attempt, and set the timer of its timeout."""
        if type(task.state) is life.Submitted:
            (seq, attempt), at, where = news
            host = "" if where.startswith("slot ") else host_name(where)
            task.state = running = life.start(task.state, at, task.spec.timeout, host)
            self._log.events.append(new(ev.AttemptStarted, (at, seq, attempt, where)))
            if running.deadline is not None:
                self._alarms.set(running.deadline, task.seq, running)

    def observe(
        self,
        task: Task,
        news: nw.ProcessRestarted | nw.OutputIdle | nw.StatusReceived | nw.OutputAdvanced,
        now: float,
    ) -> None:
        """Record a notice about an attempt that runs."""
        match news:
            case nw.ProcessRestarted(key, where):
                self._log.events.append(ev.AttemptRestarted(now, *key, where))
            case nw.OutputIdle():
                self.request_stop(task, StopReason.IDLE, now)
            case nw.StatusReceived(key, status, progress):
                self._log.events.append(ev.StatusReported(now, key.seq, key.attempt, status, progress))
            case nw.OutputAdvanced(key, stream, upto, output):
                self._log.events.append(ev.OutputGrew(now, key.seq, key.attempt, stream, upto, output))

    def undo_submit(self, task: Task, why: str, now: float) -> None:
        """Put a task back in the queue, with nothing counted, because the machine refused the start."""
        state = task.state
        assert isinstance(state, life.Submitted | life.Stopping)
        self._release(task)
        task.state = life.undo_submit(state, state.since if isinstance(state, life.Submitted) else now)
        task.attempts -= 1
        self._log.events.append(ev.AttemptRefused(now, task.seq, state.attempt, why))

    def request_stop(self, task: Task, reason: StopReason, now: float, *, force: bool = False) -> None:
        """Ask the task's attempt to end, or kill it with `force`. The reason of the first request is kept."""
        state = task.state
        if isinstance(state, life.Unsettled):
            # A cancelled job gets no retry, so the cause of its end need not be waited for.
            if reason is StopReason.CANCELLED and state.reason is not reason:
                task.state = state = life.give_up(state, reason)
                self._alarms.set(now, task.seq, state)
            return
        if isinstance(state, life.Submitted | life.Running):
            task.state = state = life.ask_to_stop(state, reason, now + task.spec.grace)
            if not force:
                self._tell(task, state, now)
                self._alarms.set(state.kill_at, task.seq, state)
        if force and isinstance(state, life.Stopping) and not state.killed:
            task.state = state = life.kill(state)
            self._tell(task, state, now)

    def signalled(self, now: float) -> None:
        """Record that a signal told pqrun to stop. An attempt that such a signal ended counts as interrupted.

        This holds for attempts that ended up to `STOP_SPAN_SECONDS` before `now`, because a process group or
        a shutdown signals its processes in no particular order.
        """
        if self._signalled_at is None:
            self._signalled_at = now
            for task in self.tasks.values():
                if isinstance(task.state, life.Unsettled):
                    self._alarms.set(now, task.seq, task.state)

    def on_timer(self, task: Task, now: float) -> Outcome | None:
        """Act on a due timer: the timeout or the grace period is over, or an unsettled end can be settled.

        Return the job's outcome, or None if the job has not ended.
        """
        match task.state:
            # The notice of its start may lie in the engine's inbox: executors post it without a wake-up.
            case life.Submitted() as state:
                # A pause so short that the clock does not show it would be due again at once, for ever.
                pause = min(max(task.spec.timeout or 0.0, MIN_START_PAUSE_SECONDS), MAX_START_PAUSE_SECONDS)
                self._alarms.set(now + pause, task.seq, state)
            case life.Running():
                self.request_stop(task, StopReason.TIMEOUT, now)
            case life.Stopping(reason=reason):
                self.request_stop(task, reason, now, force=True)
            case life.Unsettled(report=report):
                return self.finish(task, report, now)
        return None

    def finish(self, task: Task, news: nw.ProcessFinished, now: float) -> Outcome | None:
        """Settle an attempt that ended. Return the job's outcome, or None if the job has not ended yet."""
        state, exit = task.state, news.exit
        # The state of an attempt that nobody asked to stop, else None.
        unasked: life.Submitted | life.Running | None = None
        if type(state) is life.Running:
            unasked = state
        elif type(state) is life.Submitted:
            unasked = state
            if news.slot:  # a short attempt tells its start with its end
                (seq, attempt), began = news.key, news.began
                self._log.events.append(new(ev.AttemptStarted, (began, seq, attempt, news.slot)))
        if unasked is not None and type(exit) is ExitedWith and exit.code in task.spec.success_codes:
            self._record_end(task, news, now, CountedAs.COMPLETED, None)
            task.state = life.finish(unasked, Outcome.OK)
            return Outcome.OK
        if type(unasked) is life.Submitted and news.slot:
            task.state = life.start(unasked, news.began, None)
        return self._finish_otherwise(task, news, now)

    def _finish_otherwise(self, task: Task, news: nw.ProcessFinished, now: float) -> Outcome | None:
        """Settle an attempt that failed or was asked to stop.

        If this returns None, the job waits for a retry, or until the cause of its end is settled.
        """
        state = task.state
        assert isinstance(state, life.Submitted | life.Running | life.Stopping | life.Unsettled)
        gone = is_gone(news.exit)
        reason = state.reason if isinstance(state, life.Stopping | life.Unsettled) else None
        asked = reason if news.stopped or gone else None
        if not news.stopped and ended_by_stop_signal(task.spec, news.exit):
            if self._signalled_at is not None:
                if news.ended >= self._signalled_at - STOP_SPAN_SECONDS:
                    asked = reason or StopReason.INTERRUPTED
            elif not isinstance(state, life.Unsettled) and now < news.ended + STOP_SPAN_SECONDS:
                task.state = unsettled = life.hold_back(state, news)
                self._alarms.set(news.ended + STOP_SPAN_SECONDS, task.seq, unsettled)
                return None
        verdict = classify_exit(task.spec, news.exit, asked, news.said)
        lost = gone and asked is None and _may_rerun(task)
        again = lost or (verdict.retryable and task.retries < task.spec.retry.max)
        again = again and reason is not StopReason.CANCELLED
        self._record_end(task, news, now, counted_as(verdict, again=again), asked)
        if not again:
            task.state = life.finish(state, verdict.outcome)
            return verdict.outcome
        if lost:  # runs again at once, at its old place in the queue
            task.lost += isinstance(state, life.Running)
            pause = 0.0
        else:
            task.retries += 1
            task.place = 0
            pause = self._pause_before(task, news.said)
        task.state = waiting = life.retry(state, now + pause)
        self._log.events.append(ev.JobWaiting(now, task.seq, waiting.attempt, waiting.until))
        self._alarms.set(waiting.until, task.seq, waiting)
        return None

    def _record_end(
        self, task: Task, news: nw.ProcessFinished, now: float, counted: CountedAs, asked: StopReason | None
    ) -> None:
        self._release(task)
        (seq, attempt), exit, _, began, ended, usage, said, output, where, _ = news
        end = (now, seq, attempt, counted, exit, asked, began, ended, usage, said, output, where)
        self._events.append(new(ev.AttemptEnded, end))

    def _release(self, task: Task) -> None:
        del self.tasks[task.seq]
        self.used -= task.held
        if task.shares or self._ready.passed_over:
            self._ready.give_back(task)

    def _tell(self, task: Task, state: life.Stopping, now: float) -> None:
        self._log.events.append(ev.AttemptStopping(now, task.seq, state.attempt, state.reason, state.killed))
        self._log.acts.append(StopAttempt(AttemptId(task.seq, state.attempt), state.killed))

    def _pause_before(self, task: Task, said: SelfReport) -> float:
        if said.retry_after is not None:
            return said.retry_after
        policy = task.spec.retry
        return policy.wait_before(task.retries, self._vary() if policy.jitter else 0.5)

    def _vary(self) -> float:
        """Return a random number from 0 to 1. `random` takes 2 ms to load, and few jobs have jitter."""
        if self._random is None:
            from random import Random

            self._random = Random(self._seed)
        return self._random.random()


def _may_rerun(task: Task) -> bool:
    """Return whether a job that lost its worker may run again.

    A loss before the start was reported is not counted, up to `MAX_UNCOUNTED_LOSSES` attempts: without
    that limit, a job whose every worker dies before reporting would be submitted for ever.
    """
    if task.spec.on_lost != "rerun":
        return False
    free = isinstance(task.state, life.Submitted) and task.attempts <= MAX_UNCOUNTED_LOSSES
    return free or task.lost < task.spec.max_lost
