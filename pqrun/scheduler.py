# SPDX-License-Identifier: LGPL-3.0-or-later
"""Decides what to do next. No clock, no process, no file: only facts and time.

Asks (`add`, `stop`, `cancel`, …) and news change its mind; `decide` says what follows from it, as
events to record and acts to carry out. The same calls always give the same answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from math import inf
from random import Random
from typing import NamedTuple, assert_never

from pqrun import events as ev
from pqrun import lifecycle as life
from pqrun import news as nw
from pqrun.model import (
    NOTHING_SAID,
    Attempt,
    Count,
    Exited,
    Halt,
    JobSpec,
    Key,
    Outcome,
    Pool,
    Priority,
    Said,
    StopReason,
    Verdict,
    judge,
)
from pqrun.ready import SLOTS, Entry, Ready, Shape

AGAIN_AFTER_REFUSAL = 0.25
FAR_ENOUGH = 64


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


class UnknownNeed(Exception):
    """A job needs one that is not known."""


class Task:
    """One unfinished job: what was asked for, its state, and what hangs on it."""

    __slots__ = (
        "dependents", "entry", "held", "queued_order", "retries", "seq", "shape", "shares", "spec", "state",
        "unmet", "urgency",
    )  # fmt: skip

    def __init__(self, seq: int, spec: JobSpec) -> None:
        self.seq = seq
        self.spec = spec
        self.shape: Shape = (spec.slots, spec.pools)
        self.state: life.State = life.Pending()
        self.urgency = spec.priority
        self.retries = 0
        self.unmet = 0
        self.dependents: list[tuple[int, str]] = []
        self.entry: Entry | None = None
        self.queued_order = 0
        self.held = 0
        self.shares: tuple[tuple[str, str], ...] = ()


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
        self.max_queue = max_queue
        self.paused = False
        self.stopping: ev.RunStopping | None = None
        self.input_ended = False
        self.jobs = 0
        self.ready = Ready(pools)
        self._halt = halt
        self._deadline = deadline
        self._random = random or Random(0)
        self._ids: dict[str, int] = {}
        self._ended: dict[str, tuple[Outcome, bool]] = {}
        self._order = 0
        self._unstarted = 0
        self._active: dict[int, Task] = {}
        self._used = 0
        self._slots = 0
        self._ceiling: float = inf
        self._unrefused = 0
        self._start_again_at = -inf
        self._counts = {"fail": 0, "success": 0, "done": 0}
        self._alarms: list[tuple[float, int, int, life.State]] = []
        self._alarm_order = 0
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

    def find(self, job_id: str) -> Task | None:
        """The unfinished job of that id."""
        seq = self._ids.get(job_id)
        if seq is None and job_id.isdecimal():
            task = self.tasks.get(int(job_id))
            return task if task is not None and task.spec.id == job_id else None
        return None if seq is None else self.tasks.get(seq)

    def knows(self, job_id: str) -> bool:
        """Whether there was a job of that id, ended or not."""
        return job_id in self._ids or job_id in self._ended or self.find(job_id) is not None

    def add(self, specs: Iterable[JobSpec], now: float) -> None:
        """New jobs, which may need each other and earlier ones; `UnknownNeed` if not even that."""
        fresh = []
        for spec in specs:
            self.jobs += 1
            task = self.tasks[self.jobs] = Task(self.jobs, spec)
            self._unstarted += 1
            if spec.named:
                self._ids[spec.id] = self.jobs
            self._events.append(ev.JobAdded(now, self.jobs, spec))
            fresh.append(task)
        for task in fresh:
            self._connect(task)
        for task in fresh:
            if isinstance(task.state, life.Pending) and not task.unmet:
                self._enqueue(task, task.state, now, 1)
            elif task.unmet < 0:
                self._skip(task, now)

    def restore(self, task: Task, attempt: int, until: float | None) -> None:
        """Sets the clock of a job that an earlier process has tried: its next attempt, and when."""
        if until is not None and not task.unmet:
            if isinstance(task.state, life.Queued):
                self.ready.remove(task)
            task.state = life.Waiting(attempt, until)
            self._alarm(until, task)

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
        if task is None or _attempt(task.state) != news.key.attempt:
            return
        state = task.state
        match news:
            case nw.Started(key, at, where):
                if isinstance(state, life.Submitted):
                    task.state = running = life.start(state, at, task.spec.timeout)
                    self._events.append(ev.AttemptStarted(at, key.seq, key.attempt, where))
                    if running.deadline is not None:
                        self._alarm(running.deadline, task)
            case nw.Idle():
                self._ask_to_stop(task, StopReason.IDLE, now)
            case nw.Told(key, status, progress):
                self._events.append(ev.JobSaid(now, key.seq, key.attempt, status, progress))
            case nw.Grew(key, stream, upto, output):
                self._events.append(ev.OutputGrew(now, key.seq, key.attempt, stream, upto, output))
            case nw.Refused(key, why):
                self._undo(task, key, why, now)
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
        slots = int(min(capacity, self._ceiling))
        if slots != self._slots:
            self.ready.look_again(SLOTS)
            self._slots = slots
        if now >= self._start_again_at:
            self._start_again_at = -inf
        if not (self.paused or self.stopping or now < self._start_again_at):
            while task := self.ready.take(slots, slots - self._used):
                assert isinstance(task, Task)
                self._submit(task, min(task.spec.slots, slots), now)
        decision = Decision(self._events, self._acts)
        self._events, self._acts = [], []
        return decision

    def next_alarm(self) -> float:
        """When `decide` has to be asked again although nothing happened; `inf`: never."""
        while self._alarms and self._stale(self._alarms[0]):
            heappop(self._alarms)
        alarm = min(self._alarms[0][0] if self._alarms else inf, inf if self.stopping else self._deadline)
        return min(alarm, self._start_again_at) if self._start_again_at > -inf and len(self.ready) else alarm

    def running(self) -> list[Task]:
        """The jobs that have a slot."""
        return list(self._active.values())

    # Steps

    def _connect(self, task: Task) -> None:
        """Hangs a job on what it needs; `unmet` counts that, -1 if it can never be met."""
        for need in task.spec.needs:
            if need.job in self._ended:
                if not _met(need.when, *self._ended[need.job]):
                    task.unmet = -1
                    return
                continue
            other = self.find(need.job)
            if other is None:
                if need.job.isdecimal() and 0 < int(need.job) < task.seq and need.when != "failed":
                    continue  # an unnamed job that ended ok is not kept in mind
                raise UnknownNeed(f"job `{task.spec.id}` needs `{need.job}`, which is not known")
            other.dependents.append((task.seq, need.when))
            task.unmet += 1
            self._hurry(other, task.urgency)

    def _hurry(self, task: Task, urgency: Priority) -> None:
        """What an urgent job needs is as urgent, and so on down."""
        hurried = [task]
        while hurried:
            task = hurried.pop()
            if task.urgency >= urgency:
                continue
            task.urgency = urgency
            if task.entry is not None:
                self.ready.push(task, (-urgency, task.queued_order, task.seq))
            hurried += [other for need in task.spec.needs if (other := self.find(need.job)) is not None]

    def _enqueue(self, task: Task, state: life.Pending | life.Waiting, now: float, attempt: int) -> None:
        task.state = life.enqueue(state, attempt, now)
        self._order += 1
        task.queued_order = self._order
        self.ready.push(task, (-task.urgency, self._order, task.seq))
        if isinstance(state, life.Waiting):
            self._unstarted += 1
        self._events.append(ev.JobQueued(now, task.seq, attempt, task.spec.priority))

    def _submit(self, task: Task, slots: int, now: float) -> None:
        assert isinstance(task.state, life.Queued)
        task.state = state = life.submit(task.state)
        task.held = slots
        task.shares = self.ready.pools.take(task.spec.pools) if task.spec.pools else ()
        self._used += slots
        self._unstarted -= 1
        self._active[task.seq] = task
        self._events.append(ev.AttemptSubmitted(now, task.seq, state.attempt, now - state.since))
        if task.spec.timeout is not None:
            self._alarm(now + task.spec.timeout, task)
        last = state.attempt + task.spec.retry.max - task.retries
        self._acts.append(Start(Attempt(Key(task.seq, state.attempt), task.spec, last, task.shares)))

    def _release(self, task: Task) -> None:
        del self._active[task.seq]
        self._used -= task.held
        self.ready.give_back(task, task.shares)
        task.shares = ()

    def _undo(self, task: Task, key: Key, why: str, now: float) -> None:
        state = task.state
        if not isinstance(state, life.Submitted | life.Stopping):
            return
        self._release(task)
        self._unstarted += 1
        task.state = life.refuse(state, now)
        self._events.append(ev.AttemptRefused(now, key.seq, key.attempt, why))
        self.ready.push(task, (-task.urgency, task.queued_order, task.seq))
        if isinstance(state, life.Stopping) and state.reason is StopReason.CANCELLED:
            self.cancel(task, now)
        fits = max(1, self._used)
        if fits < self._ceiling:
            self._ceiling = fits
            self._events.append(ev.SlotsChanged(now, fits, why))
        self._unrefused = 0
        if not self._used:
            self._start_again_at = now + AGAIN_AFTER_REFUSAL

    def _ask_to_stop(self, task: Task, reason: StopReason, now: float, *, force: bool = False) -> None:
        state = task.state
        if isinstance(state, life.Submitted | life.Running):
            task.state = state = life.ask_to_stop(state, reason, now + task.spec.grace)
            if not force:
                self._tell_to_stop(task, state, now, force=False)
                self._alarm(state.kill_at, task)
        if force and isinstance(state, life.Stopping) and not state.killed:
            task.state = state = life.kill(state)
            self._tell_to_stop(task, state, now, force=True)

    def _tell_to_stop(self, task: Task, state: life.Stopping, now: float, *, force: bool) -> None:
        self._events.append(ev.AttemptStopping(now, task.seq, state.attempt, state.reason, force))
        self._acts.append(Stop(Key(task.seq, state.attempt), force))

    def _settle(self, task: Task, news: nw.Ended, now: float) -> None:
        state = task.state
        assert isinstance(state, life.Submitted | life.Running | life.Stopping)
        asked = state.reason if news.stopped and isinstance(state, life.Stopping) else None
        verdict = judge(task.spec, news.exit, asked, news.said)
        again = verdict.retryable and task.retries < task.spec.retry.max
        self._release(task)
        self._dare_more()
        self._events.append(
            ev.AttemptEnded(
                now, task.seq, state.attempt, _count(verdict, again=again), news.exit, asked,
                news.began, news.ended, news.usage, news.said, news.output,
            )
        )  # fmt: skip
        if again:
            task.retries += 1
            task.state = waiting = life.retry(state, now + self._pause_before(task, news.said))
            self._events.append(ev.JobWaiting(now, task.seq, waiting.attempt, waiting.until))
            self._alarm(waiting.until, task)
        else:
            task.state = life.finish(state, verdict.outcome)
            self._conclude(task, verdict.outcome, state.attempt, now)

    def _dare_more(self) -> None:
        """After many starts that were not refused, one more at a time is tried."""
        if self._ceiling < inf:
            self._unrefused += 1
            if self._unrefused >= 8 * self._ceiling:
                self._ceiling += 1
                self._unrefused = 0

    def _pause_before(self, task: Task, said: Said) -> float:
        if said is not NOTHING_SAID and said.retry_after is not None:
            return said.retry_after
        policy = task.spec.retry
        return policy.wait_before(task.retries, self._random.random() if policy.jitter else 0.5)

    def _drop(self, task: Task, outcome: Outcome, now: float, because: str = "", *, fine: bool = False) -> None:
        state = task.state
        assert isinstance(state, life.Pending | life.Queued | life.Waiting)
        attempts = 0 if isinstance(state, life.Pending) else state.attempt - 1
        if not isinstance(state, life.Waiting):
            self._unstarted -= 1
        task.state = life.drop(state, outcome, attempts)
        self._conclude(task, outcome, attempts, now, because, fine=fine)

    def _skip(self, task: Task, now: float) -> None:
        """A need of a new job had ended otherwise already."""
        for need in task.spec.needs:
            if need.job in self._ended and not _met(need.when, *self._ended[need.job]):
                self._drop(task, Outcome.SKIPPED, now, need.job, fine=need.when == "failed")
                return

    def _conclude(
        self, task: Task, outcome: Outcome, attempts: int, now: float, because: str = "", *, fine: bool = False
    ) -> None:
        """A job has ended for good: tell it, and go on with what hung on it (and so on, in turn)."""
        ended = [(task, outcome, attempts, because, fine)]
        while ended:
            task, outcome, attempts, because, fine = ended.pop()
            allowed = fine or (task.spec.allow_failure and outcome in (Outcome.FAILED, Outcome.TIMEOUT))
            self._events.append(ev.JobEnded(now, task.seq, outcome, attempts, allowed, because))
            del self.tasks[task.seq]
            if task.spec.named or outcome is not Outcome.OK:
                self._ended[task.spec.id] = (outcome, allowed)
            self._ids.pop(task.spec.id, None)
            self._consider_halting(outcome, now, allowed=allowed)
            for seq, when in task.dependents:
                other = self.tasks.get(seq)
                if other is None or not isinstance(other.state, life.Pending):
                    continue
                if _met(when, outcome, allowed):
                    other.unmet -= 1
                    if other.unmet == 0:
                        self._enqueue(other, other.state, now, 1)
                elif outcome is not Outcome.INTERRUPTED:
                    self._unstarted -= 1
                    other.state = life.drop(other.state, Outcome.SKIPPED, 0)
                    ended.append((other, Outcome.SKIPPED, 0, task.spec.id, when == "failed"))

    def _consider_halting(self, outcome: Outcome, now: float, *, allowed: bool) -> None:
        self._counts["done"] += 1
        if outcome is Outcome.OK:
            self._counts["success"] += 1
        elif outcome in (Outcome.FAILED, Outcome.TIMEOUT) and not allowed:
            self._counts["fail"] += 1
        halt = self._halt
        if halt is None or self.stopping is not None:
            return
        limit = halt.count if not halt.percent else halt.count * self.jobs / 100
        if self._counts[halt.what] >= max(limit, 1):
            self.stop("halt", now, drain=halt.when == "soon")

    # Alarms

    def _alarm(self, when: float, task: Task) -> None:
        """An alarm belongs to the state that set it, and is stale when the job has moved on."""
        if len(self._alarms) > FAR_ENOUGH and len(self._alarms) > 4 * len(self.tasks):
            self._alarms = [alarm for alarm in self._alarms if not self._stale(alarm)]
            heapify(self._alarms)
        self._alarm_order += 1
        heappush(self._alarms, (when, self._alarm_order, task.seq, task.state))

    def _stale(self, alarm: tuple[float, int, int, life.State]) -> bool:
        task = self.tasks.get(alarm[2])
        return task is None or task.state is not alarm[3]

    def _ring_alarms(self, now: float) -> None:
        while self._alarms and self._alarms[0][0] <= now:
            alarm = heappop(self._alarms)
            if self._stale(alarm):
                continue
            task = self.tasks[alarm[2]]
            match task.state:
                case life.Waiting(attempt) as state:
                    self._enqueue(task, state, now, attempt)
                case life.Submitted():  # its start may be in the mail: nobody was woken for that
                    self._alarm(now + min(task.spec.timeout or 1.0, 1.0), task)
                case life.Running():
                    self._ask_to_stop(task, StopReason.TIMEOUT, now)
                case life.Stopping(reason=reason):
                    self._ask_to_stop(task, reason, now, force=True)


def _attempt(state: life.State) -> int:
    return 0 if isinstance(state, life.Pending | life.Finished) else state.attempt


def _met(when: str, outcome: Outcome, allowed: bool) -> bool:
    """Whether a need is met by how that job ended."""
    if outcome is Outcome.INTERRUPTED:
        return False
    if when == "ended":
        return True
    if when == "failed":
        return outcome in (Outcome.FAILED, Outcome.TIMEOUT)
    return outcome is Outcome.OK or (allowed and outcome is not Outcome.SKIPPED)


def _count(verdict: Verdict, *, again: bool) -> Count:
    if again:
        return Count.RETRIED
    match verdict.outcome:
        case Outcome.OK:
            return Count.COMPLETED
        case Outcome.TIMEOUT:
            return Count.TIMEOUT
        case Outcome.FAILED:
            return Count.FAILED
        case _:
            return Count.STOPPED


__all__ = ["Act", "Decision", "Exited", "Scheduler", "Start", "Stop", "Task", "UnknownNeed"]
