# SPDX-License-Identifier: LGPL-3.0-or-later
"""Waiting clients: for jobs to end (the verb `wait`), or for room in the queue (`add` with `wait`).

The server passes the jobs that have ended to each wait, which returns its answer when it is over.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from pqrun.control.commands.add import AddRequest, as_many_as_fit
from pqrun.control.protocol import GONE, NONE, Answer, ClientRequest, flag, refusal
from pqrun.core.errors import Rejected
from pqrun.core.job import Outcome
from pqrun.core.scheduler import Scheduler
from pqrun.core.selectors import selected, selectors_of, similar_ids

STOPPED = 3
MAX_NAMED_JOBS = 20


class EndedJob(NamedTuple):
    """How a job ended. `allowed`: its failure does not count."""

    seq: int
    outcome: Outcome
    allowed: bool


class PendingAnswer(Protocol):
    """A wait of a client."""

    def look(self, ended: Iterable[EndedJob], scheduler: Scheduler, now: float) -> Answer | None:
        """Return the answer if the wait is over, else None."""

    def on_run_ended(self) -> Answer:
        """Return the answer for a run that ended before the wait was over."""


class WaitForRoom:
    """A wait for room in the queue, which adds as many jobs as fit each time."""

    def __init__(self, offer: AddRequest) -> None:
        self._offer = offer
        self._ids: list[str] = []

    def look(self, ended: Iterable[EndedJob], scheduler: Scheduler, now: float) -> Answer | None:
        """Add the jobs that fit; return all ids when all jobs are added."""
        if scheduler.stopping is not None and self._offer.specs:
            return self.on_run_ended()
        try:
            self._ids += as_many_as_fit(self._offer, scheduler, now)
        except Rejected as error:
            return {**refusal(error), "ids": self._ids}
        return None if self._offer.specs else {"ok": True, "ids": self._ids}

    def on_run_ended(self) -> Answer:
        """Return a refusal with the ids of the jobs that were added, which stay in the run."""
        return {**refusal(Rejected("the run ended before the queue had room", GONE)), "ids": self._ids}


class WaitForJobs:
    """A wait until the selected jobs have ended, or with `any` until one of them has.

    Without `jobs`, it ends when no job is left and, unless the run is `endless`, the input has ended.
    """

    def __init__(self, request: ClientRequest, scheduler: Scheduler, *, endless: bool) -> None:
        self._one = flag(request, "any")
        self._endless = endless
        self._failed: list[str] = []
        self._ended: list[str] = []
        self._awaited: dict[int, str] = {}
        self._all = not request.get("jobs")
        self._before = scheduler.jobs
        if self._all:
            self._awaited = {task.seq: task.spec.id for task in scheduler.tasks.values()}
        else:
            self._choose(selectors_of(request), scheduler)

    def look(self, ended: Iterable[EndedJob], scheduler: Scheduler, now: float) -> Answer | None:
        """Return how many jobs ended and failed, if the wait is over."""
        for end in ended:
            name = self._awaited.pop(end.seq, None)
            if name is None and self._all and end.seq > self._before:
                name = str(end.seq)
            if name is not None:
                self._note(name, end.outcome, end.allowed)
        if self._ended and self._one:
            return self._answer()
        if self._all:
            over = not scheduler.tasks and (self._endless or scheduler.input_ended)
        else:
            over = not self._awaited
        return self._answer() if over else None

    def on_run_ended(self) -> Answer:
        """Return a refusal, because the run was stopped while jobs were left."""
        return refusal(Rejected("the run was stopped before the jobs had ended", STOPPED))

    def _choose(self, selectors: list[str], scheduler: Scheduler) -> None:
        for selector in selectors:
            if scheduler.find(selector) is None and self._has_ended(selector, scheduler):
                outcome, allowed = scheduler.graph.outcome_of(selector) or (Outcome.OK, False)
                self._note(selector, outcome, allowed)
        self._awaited = {task.seq: task.spec.id for task in selected(selectors, scheduler)}
        if like := similar_ids(s for s in selectors if not scheduler.knows(s)):
            for job_id, outcome, allowed in scheduler.graph.ended():
                if like(job_id):
                    self._note(job_id, outcome, allowed)
        if not (self._awaited or self._ended):
            raise Rejected(f"no such job: {', '.join(selectors[:5])}", NONE)

    def _has_ended(self, job_id: str, scheduler: Scheduler) -> bool:
        return scheduler.graph.may_be_needed(job_id, scheduler.jobs + 1)

    def _note(self, name: str, outcome: Outcome, allowed: bool) -> None:
        self._ended.append(name)
        if outcome is not Outcome.OK and not allowed:
            self._failed.append(name)

    def _answer(self) -> Answer:
        ended, failed = len(self._ended), len(self._failed)
        return {
            "ok": True, "ended": ended, "failed": failed,
            "ids": self._ended[:MAX_NAMED_JOBS], "failed_ids": self._failed[:MAX_NAMED_JOBS],
        }  # fmt: skip
