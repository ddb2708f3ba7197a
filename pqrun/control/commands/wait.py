# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a client may wait for: that jobs end, or that there is room in the queue.

Each is told what has happened, and answers when it is time; `last_word` is for when the run is over.
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
    """A job has ended so."""

    seq: int
    outcome: Outcome
    allowed: bool


class PendingAnswer(Protocol):
    """A client's wish that can't be answered yet."""

    def look(self, ended: Iterable[EndedJob], scheduler: Scheduler, now: float) -> Answer | None:
        """The answer, if it is time for it."""

    def on_run_ended(self) -> Answer:
        """The run is over before it was."""


class WaitForRoom:
    """For room in the queue; what fits goes in at once, the rest by and by."""

    def __init__(self, offer: AddRequest) -> None:
        self._offer = offer
        self._ids: list[str] = []

    def look(self, ended: Iterable[EndedJob], scheduler: Scheduler, now: float) -> Answer | None:
        """All ids when all jobs are in."""
        if scheduler.stopping is not None and self._offer.specs:
            return self.on_run_ended()
        try:
            self._ids += as_many_as_fit(self._offer, scheduler, now)
        except Rejected as error:
            return {**refusal(error), "ids": self._ids}
        return None if self._offer.specs else {"ok": True, "ids": self._ids}

    def on_run_ended(self) -> Answer:
        """What was added stays added."""
        return {**refusal(Rejected("the run ended before there was room", GONE)), "ids": self._ids}


class WaitForJobs:
    """For the end of jobs, or of `any` of them; without `jobs`: until none is left, and none is read."""

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
        """How they ended."""
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
        """With jobs left that never ran."""
        return refusal(Rejected("the run was stopped before they had ended", STOPPED))

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
