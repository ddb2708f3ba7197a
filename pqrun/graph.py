# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which job waits for which, how urgent that makes it, and what became of those that ended.

No clock, no process, no file. What has ended is kept in mind only as far as somebody can ask for it.
"""

from __future__ import annotations

from collections.abc import Iterator

from pqrun.lifecycle import Pending
from pqrun.model import Need, Outcome
from pqrun.task import Task


class UnknownNeed(Exception):
    """A job needs one that is not known."""


class Graph:
    """Names of jobs, and what they need of each other; `tasks` are the unfinished ones."""

    def __init__(self, tasks: dict[int, Task]) -> None:
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
            elif not (need.job.isdecimal() and 0 < int(need.job) < task.seq):
                raise UnknownNeed(f"job `{task.spec.id}` needs `{need.job}`, which is not known")
            elif need.when == "failed":
                return need  # a job without a name that ended well: such are not kept in mind
        return None

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
        if task.spec.named or task.spec.id != str(task.seq) or outcome is not Outcome.OK:
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
