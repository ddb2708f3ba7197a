# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which job waits for which, how urgent that makes it, and what became of those that ended.

No clock, no process, no file. What has ended is kept in mind only as far as somebody can ask for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pqrun.lifecycle import Pending
from pqrun.model import Need, Outcome
from pqrun.task import Task


class UnknownNeed(Exception):
    """A job needs one that is not known."""


class Graph:
    """Names of jobs, and what they need of each other; `tasks` are the unfinished ones.

    `remembers`: how jobs have ended is kept for those that may come to need them.
    """

    def __init__(self, tasks: dict[int, Task]) -> None:
        self.remembers = True
        self._tasks = tasks
        self._ids: dict[str, int] = {}
        self._ended: dict[str, tuple[Outcome, bool]] = {}

    def name(self, task: Task) -> None:
        """From now on the job is found by its id; one called by its number is in any case."""
        if task.spec.named or task.spec.id != str(task.seq):
            self._ids[task.spec.id] = task.seq

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

    def outcome_of(self, job_id: str) -> Outcome | None:
        """How that job ended, if it is kept in mind."""
        return self._ended[job_id][0] if job_id in self._ended else None

    def check(self, fresh: Sequence[Task]) -> None:
        """`UnknownNeed` if one of these jobs needs what is neither known nor among them."""
        among: set[str] | None = None
        for task in fresh:
            for need in task.spec.needs:
                if self._may_be_needed(need.job, task.seq):
                    continue
                if among is None:
                    among = {other.spec.id for other in fresh}
                if need.job not in among:
                    raise UnknownNeed(f"job `{task.spec.id}` needs `{need.job}`, which is not known")

    def _may_be_needed(self, job_id: str, by: int) -> bool:
        # A job that is called by its number and ended well is not kept in mind.
        return self.knows(job_id) or (job_id.isdecimal() and 0 < int(job_id) < by)

    def connect(self, task: Task) -> Need | None:
        """Hangs a job on what it needs; the need that can never be met, if there is one."""
        for need in task.spec.needs:
            if need.job in self._ended:
                if not met(need.when, *self._ended[need.job]):
                    return need
                continue
            other = self.find(need.job)
            if other is not None:
                other.dependents.append((task.seq, need.when))
                task.unmet += 1
            elif need.when == "failed":
                return need
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

    def hurry(self, task: Task) -> Iterator[Task]:
        """What an urgent job needs is as urgent, and so on down; those that became so."""
        waiting = [need.job for need in task.spec.needs]
        while waiting:
            other = self.find(waiting.pop())
            if other is not None and other.urgency < task.urgency:
                other.urgency = task.urgency
                waiting += [need.job for need in other.spec.needs]
                yield other

    def settle(self, task: Task, outcome: Outcome, *, allowed: bool) -> Iterator[tuple[Task, Need | None]]:
        """A job ended: who waited only for it (`None`), and who can never run, with the need."""
        if self.remembers and (
            task.spec.named or task.spec.id != str(task.seq) or outcome is not Outcome.OK
        ):
            self._ended[task.spec.id] = (outcome, allowed)
        self._ids.pop(task.spec.id, None)
        for seq, when in task.dependents:
            other = self._tasks.get(seq)
            if other is None or not isinstance(other.state, Pending):
                continue
            if met(when, outcome, allowed):
                other.unmet -= 1
                if other.unmet == 0:
                    yield other, None
            elif outcome is not Outcome.INTERRUPTED:
                yield other, Need(task.spec.id, when)

    def remember(self, job_id: str, outcome: Outcome, *, allowed: bool) -> None:
        """A job of an earlier process ended so."""
        self._ended[job_id] = (outcome, allowed)


def met(when: str, outcome: Outcome, allowed: bool) -> bool:
    """Whether a need is met by how that job ended."""
    if outcome is Outcome.INTERRUPTED:
        return False
    if when == "ended":
        return True
    if when == "failed":
        return outcome in (Outcome.FAILED, Outcome.TIMEOUT)
    return outcome is Outcome.OK or (allowed and outcome is not Outcome.SKIPPED)
