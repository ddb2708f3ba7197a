# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which job waits for which, how urgent that makes it, and what became of those that ended.

No clock, no process, no file. What has ended is kept in mind only as far as somebody can ask for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import inf

from pqrun.core.job import Need, Outcome, Priority
from pqrun.core.states import Pending
from pqrun.core.task import Task


class UnknownNeed(Exception):
    """A job needs one that is not known, or in the end itself."""


class DependencyGraph:
    """Names of jobs, and what they need of each other; `tasks` are the unfinished ones.

    `remembers`: of how many jobs it is kept how they have ended, for those that may come to need
    them; the longest ended are forgotten first.
    """

    def __init__(self, tasks: dict[int, Task]) -> None:
        self.remembers_ended = inf
        self._forgotten = 0
        self._tasks = tasks
        self._ids: dict[str, int] = {}
        self._ended: dict[str, tuple[Outcome, bool]] = {}

    def name(self, task: Task) -> None:
        """From now on the job is found by its id, whatever was called so before and has ended."""
        if task.spec.named or task.spec.id != str(task.seq):  # others are found by their number
            self._ids[task.spec.id] = task.seq
            self._ended.pop(task.spec.id, None)

    def find(self, job_id: str) -> Task | None:
        """The unfinished job of that id."""
        seq = self._ids.get(job_id)
        if seq is None and job_id.isdecimal():
            task = self._tasks.get(int(job_id))
            return task if task is not None and task.spec.id == job_id else None
        return None if seq is None else self._tasks.get(seq)

    def knows(self, job_id: str) -> bool:
        """Whether there was a job of that id, ended or not."""
        return job_id in self._ended or self.find(job_id) is not None

    def outcome_of(self, job_id: str) -> tuple[Outcome, bool] | None:
        """How that job ended, and whether that was allowed, if it is kept in mind."""
        return self._ended.get(job_id)

    def ended(self) -> Iterator[tuple[str, Outcome, bool]]:
        """Those that are kept in mind: id, outcome, whether that was allowed."""
        return ((job_id, outcome, allowed) for job_id, (outcome, allowed) in self._ended.items())

    def check(self, fresh: Sequence[Task]) -> None:
        """`UnknownNeed` if one of these jobs needs what is neither known nor among them, or a ring is."""
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
                    raise UnknownNeed(f"job `{task.spec.id}` needs `{need.job}`, which is not known")
        if ring_possible:
            _find_cycle({task.spec.id: [need.job for need in task.spec.needs] for task in needy})

    def recheck(self, tasks: Iterable[Task], needs: Sequence[Need], jobs: int) -> None:
        """The same for the new needs of jobs that are here already, when there have been so many jobs."""
        for need in needs:
            if not self.may_be_needed(need.job, jobs + 1):
                raise UnknownNeed(f"the need `{need.job}` is not known")
        above: set[int] = set()
        todo = self._unfinished(needs)
        while todo:
            other = todo.pop()
            if other.seq not in above:
                above.add(other.seq)
                todo += self._unfinished(other.spec.needs)
        for task in tasks:
            if task.seq in above:
                raise UnknownNeed(f"job `{task.spec.id}` would wait for itself")

    def _unfinished(self, needs: Iterable[Need]) -> list[Task]:
        return [task for need in needs if (task := self.find(need.job)) is not None]

    def may_be_needed(self, job_id: str, by: int) -> bool:
        """Whether it is known what it means if the job of that number needs this one."""
        # A job that is called by its number and ended well is not kept in mind.
        return self.knows(job_id) or (job_id.isdecimal() and self._forgotten < int(job_id) < by)

    def connect(self, task: Task) -> Need | None:
        """Hangs a job on what it needs; or on nothing, if there is a need that can never be met: that one."""
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
        """It needs nothing any more."""
        for need in task.spec.needs:
            if (other := self.find(need.job)) is not None:
                other.dependents = [hung for hung in other.dependents if hung[0] != task.seq]
        task.unmet = 0

    def forget(self, task: Task) -> None:
        """It is no longer part of the run."""
        self._ids.pop(task.spec.id, None)

    def raise_urgency(self, task: Task) -> Iterator[Task]:
        """What an urgent job needs is as urgent, and so on down; those that became so."""
        waiting = self._unfinished(task.spec.needs)
        while waiting:
            other = waiting.pop()
            if other.urgency < task.urgency:
                other.urgency = task.urgency
                waiting += self._unfinished(other.spec.needs)
                yield other

    def lower_urgency(self, jobs: Iterable[Task], needs: Iterable[Need]) -> Iterator[Task]:
        """Those of these jobs and needs, and so on down, for which nobody is in such a hurry any more."""
        waiting = [*jobs, *self._unfinished(needs)]
        while waiting:
            job = waiting.pop()
            urgency = self._required_urgency(job)
            if urgency < job.urgency:
                job.urgency = urgency
                waiting += self._unfinished(job.spec.needs)
                yield job

    def _required_urgency(self, job: Task) -> Priority:
        """How urgent it is for itself and for those that wait for it."""
        urgency, hung = job.spec.priority, job.dependents
        while hung and self._is_waiting(hung[-1][0]) is None:
            hung.pop()  # when many go, each time only those that went last are looked at
        for seq, _ in reversed(hung):
            if urgency >= job.urgency:
                break
            if (other := self._is_waiting(seq)) is not None:
                urgency = max(urgency, other.urgency)
        return urgency

    def _is_waiting(self, seq: int) -> Task | None:
        task = self._tasks.get(seq)
        return task if task is not None and isinstance(task.state, Pending) else None

    def settle(self, task: Task, outcome: Outcome, *, allowed: bool) -> Iterator[tuple[Task, Need | None]]:
        """A job ended: who waited only for it (`None`), and who can never run, with the need."""
        if self.remembers_ended and (
            task.spec.named or task.spec.id != str(task.seq) or outcome is not Outcome.OK
        ):
            self._ended[task.spec.id] = (outcome, allowed)
            while len(self._ended) > self.remembers_ended:
                self._forget_one()
        self._ids.pop(task.spec.id, None)
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
        """A job of an earlier process ended so."""
        if outcome is not Outcome.OK or not job_id.isdecimal():
            self._ended[job_id] = (outcome, allowed)

    def _forget_one(self) -> None:
        job_id = next(iter(self._ended))
        del self._ended[job_id]
        if job_id.isdecimal():  # neither this one nor those before it can be said to have ended well
            self._forgotten = max(self._forgotten, int(job_id))


def is_satisfied(when: str, outcome: Outcome, allowed: bool) -> bool:
    """Whether a need is met by how that job ended."""
    if outcome is Outcome.INTERRUPTED:
        return False
    if when == "ended":
        return True
    if when == "failed":
        return outcome in (Outcome.FAILED, Outcome.TIMEOUT)
    return outcome is Outcome.OK or (allowed and outcome is not Outcome.SKIPPED)


def _find_cycle(needs: dict[str, list[str]]) -> None:
    from graphlib import CycleError, TopologicalSorter

    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        ring = [str(job_id) for job_id in reversed(error.args[1])]
        shown = ring if len(ring) <= 6 else [*ring[:3], "…", ring[-1]]
        raise UnknownNeed(f"jobs wait for one another: {' -> '.join(shown)}") from None
