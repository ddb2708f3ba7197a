# SPDX-License-Identifier: LGPL-3.0-or-later
"""The needs of jobs: which job waits for which, inherited urgency, and how ended jobs count.

No clock, process or file. The outcome of an ended job is kept only while another job may need it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import inf

from pqrun.core.errors import Rejected
from pqrun.core.job import JobSpec, Need, Outcome, Priority
from pqrun.core.states import Pending
from pqrun.core.task import Task


class UnknownNeed(Exception):
    """Raised for a job that needs an unknown job, or that would in the end wait for itself."""


class DependencyGraph:
    """The ids of jobs, and the needs between them. `tasks` holds the unfinished jobs by number.

    `remembers_ended` limits how many outcomes of ended jobs are kept for jobs that may come to need
    them. Above the limit, the outcome of the job that ended first is forgotten first.
    """

    def __init__(self, tasks: dict[int, Task], remembers_ended: float = inf) -> None:
        self.remembers_ended = remembers_ended
        self._forgotten = 0
        self._tasks = tasks
        self._ids: dict[str, int] | None = None  # made when a job is first looked for: most runs never ask
        self._ended: dict[str, tuple[Outcome, bool]] = {}

    def name(self, task: Task) -> None:
        """Register the task under its id. An ended job with the same id can no longer be found."""
        spec = task.spec
        if spec.named or spec.id != str(task.seq):  # other jobs are found by their number
            if self._ids is not None:
                self._ids[spec.id] = task.seq
            self._ended.pop(spec.id, None)

    def find(self, job_id: str) -> Task | None:
        """Return the unfinished job with this id, or None."""
        if self._ids is None:
            self._ids = {}
            for unfinished in self._tasks.values():
                self.name(unfinished)
        seq = self._ids.get(job_id)
        if seq is None and job_id.isdecimal():
            task = self._tasks.get(int(job_id))
            return task if task is not None and task.spec.id == job_id else None
        return None if seq is None else self._tasks.get(seq)

    def knows(self, job_id: str) -> bool:
        """Return whether a job with this id is unfinished, or has ended and its outcome is kept."""
        return job_id in self._ended or self.find(job_id) is not None

    def outcome_of(self, job_id: str) -> tuple[Outcome, bool] | None:
        """Return the outcome of an ended job and whether its failure was allowed, or None if not kept."""
        return self._ended.get(job_id)

    def ended(self) -> Iterator[tuple[str, Outcome, bool]]:
        """Yield the kept outcomes of ended jobs: id, outcome, and whether the failure was allowed."""
        return ((job_id, outcome, allowed) for job_id, (outcome, allowed) in self._ended.items())

    def check(self, fresh: Sequence[Task]) -> None:
        """Raise `UnknownNeed` if one of these new jobs needs an unknown job, or if the needs form a cycle."""
        needy = [task for task in fresh if task.spec.needs]
        if not needy:
            return
        place = {task.spec.id: number for number, task in enumerate(fresh)}
        ring_possible = False
        for task in needy:
            for need in task.spec.needs:
                if (other := place.get(need.job)) is not None:
                    ring_possible = ring_possible or other >= place[task.spec.id]
                elif not self.may_be_needed(need.job, task.seq):
                    raise UnknownNeed(f"job `{task.spec.id}` needs `{need.job}`, which does not exist")
        if ring_possible:
            _find_cycle({task.spec.id: [need.job for need in task.spec.needs] for task in needy})

    def recheck(self, tasks: Iterable[Task], needs: Sequence[Need], jobs: int) -> None:
        """Raise `UnknownNeed` if these jobs of the run can't get the new `needs`: unknown, or a cycle.

        `jobs` is the number of jobs that the run has had.
        """
        for need in needs:
            if not self.may_be_needed(need.job, jobs + 1):
                raise UnknownNeed(f"the needed job `{need.job}` does not exist")
        above: set[int] = set()
        todo = self._unfinished(needs)
        while todo:
            other = todo.pop()
            if other.seq not in above:
                above.add(other.seq)
                todo += self._unfinished(other.spec.needs)
        for task in tasks:
            if task.seq in above:
                raise UnknownNeed(f"job `{task.spec.id}` would need itself")

    def check_reopened(self, specs: Sequence[JobSpec]) -> None:
        """Raise `UnknownNeed` if one of these ended jobs would, once reopened, wait for itself.

        The id of an ended job may have been used again, for a job that needs the ended one.
        """
        needs = {spec.id: [need.job for need in spec.needs] for spec in specs}
        todo = [job_id for needed in needs.values() for job_id in needed]
        while todo:
            job_id = todo.pop()
            if job_id not in needs and (task := self.find(job_id)) is not None:
                needs[job_id] = [need.job for need in task.spec.needs]
                todo += needs[job_id]
        if any(needs.values()):
            _find_cycle(needs)

    def _unfinished(self, needs: Iterable[Need]) -> list[Task]:
        return [task for need in needs if (task := self.find(need.job)) is not None]

    def may_be_needed(self, job_id: str, by: int) -> bool:
        """Return whether job number `by` may need `job_id`: its outcome is known, or will be."""
        # The outcome of a job without an id of its own is not kept if it is `ok`, so that a list of
        # millions of commands takes no memory: an earlier number without an outcome has ended ok.
        return self.knows(job_id) or (job_id.isdecimal() and self._forgotten < int(job_id) < by)

    def connect(self, task: Task) -> Need | None:
        """Register the task as a dependent of the unfinished jobs that it needs.

        If one need can never be met, return this need and register nothing; else return None.
        """
        found = []
        for need in task.spec.needs:
            if need.job in self._ended:
                if not is_satisfied(need.when, *self._ended[need.job]):
                    return need
            elif (other := self.find(need.job)) is not None:
                found.append((other, need.when))
            elif need.when == "failed":
                return need
        for other, when in found:
            other.dependents = other.dependents or []
            other.dependents.append((task.seq, when))
        task.unmet += len(found)
        return None

    def disconnect(self, task: Task) -> None:
        """Remove the task from the dependents of all jobs that it needs."""
        for need in task.spec.needs:
            if (other := self.find(need.job)) is not None:
                other.dependents = [hung for hung in other.dependents if hung[0] != task.seq]
        task.unmet = 0

    def forget(self, task: Task) -> None:
        """Remove the task's id, because the job was removed from the run."""
        if self._ids is not None:
            self._ids.pop(task.spec.id, None)

    def raise_urgency(self, task: Task) -> Iterator[Task]:
        """Give all jobs that the task needs, directly or not, at least its urgency. Yield changed jobs."""
        waiting = self._unfinished(task.spec.needs)
        while waiting:
            other = waiting.pop()
            if other.urgency < task.urgency:
                other.urgency = task.urgency
                waiting += self._unfinished(other.spec.needs)
                yield other

    def lower_urgency(self, jobs: Iterable[Task], needs: Iterable[Need]) -> Iterator[Task]:
        """Lower the urgency that jobs inherited from jobs that have ended or changed. Yield the changed jobs.

        The jobs checked are `jobs`, the unfinished jobs in `needs`, and what these need, directly or not.
        """
        waiting = [*jobs, *self._unfinished(needs)]
        while waiting:
            job = waiting.pop()
            urgency = self._required_urgency(job)
            if urgency < job.urgency:
                job.urgency = urgency
                waiting += self._unfinished(job.spec.needs)
                yield job

    def _required_urgency(self, job: Task) -> Priority:
        """Return the highest of the job's own priority and the urgencies of the jobs that wait for it."""
        urgency, hung = job.spec.priority, job.dependents
        while hung and self._is_waiting(hung[-1][0]) is None:
            # Drop ended dependents for good: if thousands end one by one, each call looks at few of them.
            hung.pop()
        for seq, _ in reversed(hung):
            if urgency >= job.urgency:
                break
            if (other := self._is_waiting(seq)) is not None:
                urgency = max(urgency, other.urgency)
        return urgency

    def _is_waiting(self, seq: int) -> Task | None:
        task = self._tasks.get(seq)
        return task if task is not None and isinstance(task.state, Pending) else None

    def record_outcome(self, task: Task, outcome: Outcome, *, allowed: bool) -> None:
        """Record the outcome of a job."""
        spec = task.spec
        if outcome is Outcome.OK and not spec.named and spec.id == str(task.seq):
            return  # see `may_be_needed`
        if self.remembers_ended:
            self._ended[spec.id] = (outcome, allowed)
            while len(self._ended) > self.remembers_ended:
                self._forget_one()
        if self._ids is not None:
            self._ids.pop(spec.id, None)

    def settle(self, task: Task, outcome: Outcome, *, allowed: bool) -> Iterator[tuple[Task, Need | None]]:
        """Record the outcome of a job. Yield each dependent that is decided by it.

        The second value is None for a dependent that is now ready, and the need that can never be met for a
        dependent that must be skipped.
        """
        self.record_outcome(task, outcome, allowed=allowed)
        for seq, when in task.dependents:
            other = self._tasks.get(seq)
            if other is None or not isinstance(other.state, Pending):
                continue
            if is_satisfied(when, outcome, allowed):
                other.unmet -= 1
                if other.unmet == 0:
                    yield other, None
            elif outcome is not Outcome.INTERRUPTED:
                yield other, Need(task.spec.id, when)

    def remember(self, job_id: str, outcome: Outcome, *, allowed: bool) -> None:
        """Record the outcome of a job that ended in an earlier process of this run."""
        if outcome is not Outcome.OK or not job_id.isdecimal():
            self._ended[job_id] = (outcome, allowed)

    def reopen(self, tasks: Sequence[Task]) -> list[Task]:
        """Drop the outcomes of jobs that are to run again. Return the pending jobs that wait for them now.

        Called before `name`.
        """
        again = {task.spec.id: task for task in tasks}
        for job_id in again:
            self._ended.pop(job_id, None)
        waiting = []
        for other in self._tasks.values():
            if other.spec.needs and isinstance(other.state, Pending):
                needed = [(again[need.job], need.when) for need in other.spec.needs if need.job in again]
                for task, when in needed:
                    task.dependents = [*task.dependents, (other.seq, when)]
                other.unmet += len(needed)
                waiting += [other] if needed else []
        return waiting

    def _forget_one(self) -> None:
        job_id = next(iter(self._ended))
        del self._ended[job_id]
        if job_id.isdecimal():  # a number up to this one without an outcome may now have failed
            self._forgotten = max(self._forgotten, int(job_id))


def is_satisfied(when: str, outcome: Outcome, allowed: bool) -> bool:
    """Return whether a need with this `when` is met by a job that ended with `outcome`."""
    if outcome is Outcome.INTERRUPTED:
        return False
    if when == "ended":
        return True
    if when == "failed":
        return outcome in (Outcome.FAILED, Outcome.TIMEOUT)
    return outcome is Outcome.OK or (allowed and outcome is not Outcome.SKIPPED)


def _find_cycle(needs: dict[str, list[str]]) -> None:
    """Raise `UnknownNeed` with the path of a cycle, if the needs have one."""
    from graphlib import CycleError, TopologicalSorter

    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        ring = [str(job_id) for job_id in reversed(error.args[1])]
        shown = ring if len(ring) <= 6 else [*ring[:3], "…", ring[-1]]
        raise UnknownNeed(f"jobs need each other: {' -> '.join(shown)}") from None


def needs_first(specs: list[JobSpec]) -> list[JobSpec]:
    """Return the jobs with each one after those that it needs, else in their own order.

    Raises `Rejected` if jobs need one another in a cycle.
    """
    if not any(spec.needs for spec in specs):
        return specs
    place = {spec.id: number for number, spec in enumerate(specs) if spec.named}
    begun, done = [False] * len(specs), [False] * len(specs)
    ordered: list[JobSpec] = []
    for first in range(len(specs)):
        todo = [] if done[first] else [(first, iter(specs[first].needs))]
        while todo:
            number, needs = todo[-1]
            begun[number] = True
            other = next((place[n.job] for n in needs if n.job in place and not done[place[n.job]]), None)
            if other is None:
                done[number] = True
                ordered.append(specs[number])
                todo.pop()
            elif begun[other]:
                raise Rejected(f"jobs need each other: `{specs[other].id}` is one of them")
            else:
                todo.append((other, iter(specs[other].needs)))
    return ordered
