# SPDX-License-Identifier: LGPL-3.0-or-later
"""[hot path] The scheduler: decides what happens next. No clock, process or file; time is an argument.

Requests (`add`, `stop`, `cancel` and so on) and notices change its state. `decide` then returns the
events to record and the commands to carry out. The same calls always give the same answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from typing import TYPE_CHECKING, assert_never

from pqrun.core import events as ev
from pqrun.core import notices as nw
from pqrun.core import states as life
from pqrun.core.admission import JobAdmission
from pqrun.core.attempts import (
    ActiveAttempts,
    Decision,
    SchedulerCommand,
    SignalAttempt,
    StopAttempt,
    TimerHeap,
)
from pqrun.core.dependencies import DependencyGraph, UnknownNeed
from pqrun.core.job import TAG_POOL, AttemptId, HaltRule, JobSpec, Need, Outcome, Pool, StopReason, new
from pqrun.core.ready_queue import ReadyQueue
from pqrun.core.start_policy import (
    GIVE_UP_SECONDS,
    LISTED,
    UNLIMITED,
    Backlog,
    HaltCondition,
    Headroom,
    StartPolicy,
    StartRateLimiter,
)
from pqrun.core.task import EndedTask, RestoredState, Task

if TYPE_CHECKING:
    from pqrun.core.median_timeout import MedianLimit
    from pqrun.core.past import KnownDurations

NO_LIMIT = 1 << 60
Skipped = tuple[Task, Outcome, Need]


class Scheduler:
    """The queue model: which job runs next, when a retry is due, when the run stops.

    `hopeless` says why no job can ever be started, or is empty. `reopened` counts the restarts of ended jobs.
    """

    def __init__(
        self,
        *,
        pools: Iterable[Pool] = (),
        max_queue: int = 1000,
        halt: HaltRule | None = None,
        pace: StartRateLimiter | None = None,
        deadline: float = inf,
        seed: str | int = 0,
        patience: float = GIVE_UP_SECONDS,
        remembers_ended: float = inf,
        median: MedianLimit | None = None,
        past: KnownDurations | None = None,
    ) -> None:
        self.tasks: dict[int, Task] = {}
        self.graph = DependencyGraph(self.tasks, remembers_ended)
        self.ready = ReadyQueue(pools, self.tasks) if past is None else self._longest_first(pools, past)
        self.backlog = Backlog()
        self.max_queue = max_queue
        self.paused = False
        self.maintenance = ""  # a change that takes several turns, during which nothing may start
        self.stopping: ev.RunStopping | None = None
        self.input_ended = False
        self.hopeless = ""
        self.jobs = 0
        self.reopened = 0
        self._log = Decision([], [])
        self._alarms = TimerHeap(self.tasks)
        self.admission = JobAdmission(
            self.tasks, self.graph, self.ready, self.backlog, self._alarms, self._log, self._drop
        )
        self._running = self._attempts(seed, median)
        self.signalled = self._running.signalled  # called when a signal tells pqrun to stop
        self._halting = HaltCondition(halt)
        self._starts = StartPolicy(
            self.ready, self._running, self._log, pace or StartRateLimiter(), self.backlog, patience
        )
        self._deadline = deadline

    def _longest_first(self, pools: Iterable[Pool], past: KnownDurations) -> ReadyQueue:
        from pqrun.core.past import LongestFirstQueue

        return LongestFirstQueue(pools, self.tasks, past)

    def _attempts(self, seed: str | int, median: MedianLimit | None) -> ActiveAttempts:
        if median is None:
            return ActiveAttempts(self.ready, self._alarms, self._log, seed)
        from pqrun.core.median_timeout import MedianLimitedAttempts

        return MedianLimitedAttempts(self.ready, self._alarms, self._log, seed, median)

    # Requests of users and of the input

    @property
    def done(self) -> bool:
        """Whether no attempt is running and none will be started."""
        if self.stopping is not None:
            return not self._running.tasks
        return self.input_ended and not self.tasks

    @property
    def queue_room(self) -> int:
        """The number of jobs that may still be read ahead; no limit if the halt rule needs the total."""
        if self.input_ended or self.stopping:
            return 0
        return NO_LIMIT if self._halting.needs_total else self.max_queue - self.backlog.streamed

    @property
    def hold_reason(self) -> str:
        """Why no job starts although slots and pools would allow it, or an empty text."""
        return self._starts.hold_reason

    def running(self) -> list[Task]:
        """Return the jobs that hold slots."""
        return list(self._running.tasks.values())

    def find(self, job_id: str) -> Task | None:
        """Return the unfinished job with this id, or None."""
        return self.graph.find(job_id)

    def knows(self, job_id: str) -> bool:
        """Return whether a job with this id is unfinished, or has ended and its outcome is kept."""
        return self.graph.knows(job_id)

    def add(self, specs: Iterable[JobSpec], now: float, by: str = "", *, origin: int = LISTED) -> list[int]:
        """Add jobs, which may need each other and earlier jobs. Return their numbers.

        `origin` says how the jobs came in: listed, streamed or added by a client.

        Raises:
            UnknownNeed: A job needs an unknown job, or the needs form a cycle. No job was added.
        """
        fresh = [Task(number, spec, origin) for number, spec in enumerate(specs, self.jobs + 1)]
        self.graph.check(fresh)
        self.jobs += len(fresh)
        self._log.events.extend([new(ev.JobAdded, (now, task.seq, task.spec, by)) for task in fresh])
        self.admission.admit(fresh, now)
        return list(range(self.jobs - len(fresh) + 1, self.jobs + 1))

    def restore(self, restart: RestoredState, now: float) -> None:
        """Continue the run from the state that an earlier process left."""
        self._log.events.extend(restart.events)
        self.jobs = restart.jobs
        self.paused = restart.paused
        for job_id, outcome, allowed in restart.ended:
            self.graph.remember(job_id, outcome, allowed=allowed)
        self.admission.restore(restart.tasks, now)

    def end_input(self, now: float, *, complete: bool = True, why: str = "") -> None:
        """Record that no more jobs will come from the input."""
        if not self.input_ended:
            self.input_ended = True
            self._log.events.append(ev.InputEnded(now, self.jobs, complete, why))
            self._halt_if_enough(now)

    def stop(self, cause: str, now: float, *, drain: bool = False, force: bool = False, by: str = "") -> None:
        """Start nothing more, and ask running jobs to end. `drain`: let them finish; `force`: kill them."""
        self.stopping = ev.RunStopping(now, cause, drain, force, by)
        self._log.events.append(self.stopping)
        if not drain:
            self._deadline = inf
            for task in self.running():
                self._running.request_stop(task, StopReason.INTERRUPTED, now, force=force)

    def pause(self, *, paused: bool, now: float, by: str = "") -> None:
        """Hold back all starts, or end the pause."""
        if self.paused != paused:
            self.paused = paused
            self._log.events.append(ev.RunPaused(now, paused, by))

    def resize_pool(self, pool: Pool, now: float, by: str) -> None:
        """Add a pool, or change the size of a counted pool."""
        self.ready.pools.resize(pool)
        self.ready.resource_freed(pool.name)
        self._log.events.append(ev.PoolChanged(now, pool.name, pool.size, by))

    def limit_tag(self, tag: str, workers: int, now: float, by: str) -> int:
        """Let at most `workers` jobs with a tag run at a time, or with 0 any number; return how many have it."""
        running = self._running.tasks
        tagged = [task for task in self.tasks.values() if tag in task.spec.tags]
        self.ready.limit_tag(tag, workers, [(task, tag in task.spec.tags) for task in running.values()])
        for task in tagged:
            if task.seq not in running:
                self.ready.reshape(task)
        self._log.events.append(ev.PoolChanged(now, TAG_POOL + tag, workers, by))
        return len(tagged)

    def set_workers(self, workers: int, now: float, by: str) -> None:
        """Record the number of slots that a request gave to the executor."""
        self._log.events.append(ev.WorkersChanged(now, workers, by))

    def cancel(self, task: Task, now: float, by: str = "") -> None:
        """Cancel a job: end it at once if it is not running, else ask its attempt to end."""
        task.cancelled_by = task.cancelled_by or by
        match task.state:
            case life.Queued() | life.Pending() | life.Waiting():
                self._drop(task, Outcome.CANCELLED, now)
            case life.Submitted() | life.Running() | life.Unsettled():
                self._running.request_stop(task, StopReason.CANCELLED, now)
            case life.Stopping() | life.Finished():
                pass
            case _:
                assert_never(task.state)

    def signal(self, task: Task, name: str) -> None:
        """Send a signal to the processes of a running job. Nothing else changes: an end of the job is its own."""
        self._log.acts.append(SignalAttempt(AttemptId(task.seq, task.attempts), name))

    def reopen(self, ended: Sequence[EndedTask], now: float, by: str) -> None:
        """Run ended jobs again, with all their retries.

        Raises:
            UnknownNeed: A job would in the end wait for itself. No job was reopened.
        """
        self.graph.check_reopened([task.spec for task, _, _ in ended])
        for task, outcome, allowed in ended:
            self._log.events.append(ev.JobReopened(now, task.seq, outcome, task.spec, by))
            self._halting.uncount(outcome, allowed=allowed)
        self.reopened += len(ended)
        self.admission.reopen([task for task, _, _ in ended], now)

    def take(self, now: float) -> Task | None:
        """Remove the next ready job from the run and return its task, for a caller that does the work itself.

        Return None if no job is ready.
        """
        task = self.ready.take(max(self._starts.slots, 1), max(self._starts.slots, 1))
        if task is None:
            return None
        self._log.events.append(ev.JobRemoved(now, task.seq))
        self.backlog.left(task)
        del self.tasks[task.seq]
        self._log.events.append(ev.JobDropped(now, task.seq, None))
        for other, outcome, need in self._forget(task, Outcome.CANCELLED, now, allowed=False):
            self._conclude(other, outcome, now, need)
        self.graph.forget(task)
        return task

    def change(self, task: Task, spec: JobSpec, now: float, by: str = "", *, front: bool = False) -> None:
        """Give an unfinished job a new spec. With `front`, move it before its equals.

        Raises:
            UnknownNeed: The new needs are unknown, or form a cycle. The job is unchanged.
        """
        before, not_before = task.spec.needs, task.spec.not_before
        reconnect = spec.needs != before and isinstance(task.state, life.Pending | life.Queued)
        if reconnect:
            self.graph.recheck([task], spec.needs, self.jobs)
            self.graph.disconnect(task)
            task.unmet += isinstance(task.state, life.Held)
        task.spec = spec
        task.urgency = max(task.urgency, spec.priority)
        self._log.events.append(ev.JobChanged(now, task.seq, spec, by, front))
        if reconnect:
            self.admission.reconnect(task, now)
        self.ready.move(self.graph.raise_urgency(task))
        self.ready.move(self.graph.lower_urgency([task], before))
        self.ready.change(task, front=front)
        if spec.not_before != not_before:
            self.admission.time_changed(task, now)

    # Notices of executors

    def observe(self, news: nw.ExecutorNotice, now: float) -> None:
        """Take in a notice. Ignore the notice if its attempt has ended."""
        seq, attempt = news.key
        task = self._running.tasks.get(seq)
        if task is None or task.attempts != attempt:
            return
        if isinstance(news, nw.ProcessFinished):
            outcome = self._running.finish(task, news, now)
            if self._starts.ceiling.slots < inf:
                self._starts.ceiling.succeeded()
            if outcome is not None:
                self._conclude(task, outcome, now)
        elif isinstance(news, nw.ProcessStarted):
            self._running.started(task, news)
        elif isinstance(news, nw.StartRejected):
            if isinstance(task.state, life.Submitted | life.Stopping):
                self._undo(task, news.why, now)
        else:
            self._running.observe(task, news, now)

    # Decisions

    def decide(self, now: float, capacity: int, headroom: Headroom = UNLIMITED) -> Decision:
        """Return the events since the last decision, and the commands to carry out now."""
        if now >= self._deadline:
            self.stop("deadline", now)
        if self._alarms.heap:
            self._fire_timers(now)
        held = "stopping" if self.stopping else "paused" if self.paused else self.maintenance
        self._starts.start_ready(now, capacity, headroom, held and f"the run is {held}")
        events, acts = self._log
        decision = new(Decision, (events.copy(), acts.copy()))
        events.clear()
        acts.clear()
        return decision

    def next_timer(self) -> float:
        """Return when `decide` must be called again if nothing else happens; `inf` for never."""
        return min(self._alarms.next(), self._deadline, self._starts.next_start_at)

    # Steps

    def _undo(self, task: Task, why: str, now: float) -> None:
        """Put a task back before its equals because its start was refused; nothing is used up."""
        cancelled = isinstance(task.state, life.Stopping) and task.state.reason is StopReason.CANCELLED
        self._running.undo_submit(task, why, now)
        self.backlog.came(task)
        self.ready.enter(task, again=True)
        if cancelled:
            self.cancel(task, now)
        self._starts.ceiling.refused(self._running.used, now, why)
        self.hopeless = self._starts.ceiling.hopeless

    def _drop(self, task: Task, outcome: Outcome, now: float, need: Need | None = None) -> None:
        """End a job without another attempt."""
        self.admission.leave(task, now)
        assert isinstance(task.state, life.Pending | life.Queued | life.Waiting)
        if not isinstance(task.state, life.Waiting):
            self.backlog.left(task)
        task.state = life.end_unstarted(task.state, outcome, task.attempts)
        self._conclude(task, outcome, now, need)

    def _conclude(self, task: Task, outcome: Outcome, now: float, need: Need | None = None) -> None:
        """Record the end of a job, and enqueue or skip its dependents, and theirs in turn."""
        spec = task.spec
        if outcome is Outcome.OK and not (task.dependents or spec.needs):
            self._log.events.append(new(ev.JobEnded, (now, task.seq, outcome, task.attempts, False, "", "")))
            del self.tasks[task.seq]
            if spec.id:
                self.graph.record_outcome(task, outcome, allowed=False)
            if self._halting.rule is not None:
                self._count_for_halt(outcome, now, allowed=False)
            return
        ended: list[tuple[Task, Outcome, Need | None]] = [(task, outcome, need)]
        while ended:
            task, outcome, need = ended.pop()
            # A job that needs a failure is skipped if there was no failure to handle. This is no fault,
            # so it must not make the run fail.
            allowed = (need is not None and need.when == "failed") or (
                task.spec.allow_failure and outcome in (Outcome.FAILED, Outcome.TIMEOUT)
            )
            because = need.job if need else ""
            by = task.cancelled_by if outcome is Outcome.CANCELLED else ""
            self._log.events.append(ev.JobEnded(now, task.seq, outcome, task.attempts, allowed, because, by))
            del self.tasks[task.seq]
            if self._halting.rule is not None:
                self._count_for_halt(outcome, now, allowed=allowed)
            ended += self._forget(task, outcome, now, allowed=allowed)
            if task.spec.needs:
                self.ready.move(self.graph.lower_urgency((), task.spec.needs))

    def _forget(self, task: Task, outcome: Outcome, now: float, *, allowed: bool) -> list[Skipped]:
        """Enqueue the dependents that an ended job makes ready. Return the dependents to be skipped."""
        skipped = []
        for other, never in self.graph.settle(task, outcome, allowed=allowed):
            assert isinstance(other.state, life.Pending)
            if never is None:
                self.admission.enqueue(other, other.state, now)
            else:
                self.backlog.left(other)
                other.state = life.end_unstarted(other.state, Outcome.SKIPPED, other.attempts)
                skipped.append((other, Outcome.SKIPPED, never))
        return skipped

    def _count_for_halt(self, outcome: Outcome, now: float, *, allowed: bool) -> None:
        self._halting.count(outcome, allowed=allowed)
        self._halt_if_enough(now)

    def _halt_if_enough(self, now: float) -> None:
        if self.stopping is None and (halt := self._halting.reached(self.jobs, complete=self.input_ended)):
            self.stop("halt", now, drain=halt.when == "soon")

    def _fire_timers(self, now: float) -> None:
        for seq in self._alarms.due(now):
            task = self.tasks[seq]
            if isinstance(task.state, life.Waiting):
                self.admission.enqueue(task, task.state, now)
            elif (outcome := self._running.on_timer(task, now)) is not None:
                self._conclude(task, outcome, now)


__all__ = "Decision", "Scheduler", "SchedulerCommand", "SignalAttempt", "StopAttempt", "UnknownNeed"
