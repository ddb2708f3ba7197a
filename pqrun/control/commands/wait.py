# SPDX-License-Identifier: LGPL-3.0-or-later
"""The verb `wait`: answer once jobs have ended."""

from __future__ import annotations

from collections.abc import Sequence

from pqrun.control.protocol import NONE, Answer, ClientRequest, PendingAnswer, flag, refusal
from pqrun.core.errors import Rejected
from pqrun.core.events import JobEnded
from pqrun.core.job import Outcome
from pqrun.core.scheduler import Scheduler
from pqrun.core.selectors import selected, selected_ended, selectors_of

STOPPED = 3
MAX_NAMED_JOBS = 20


class WaitForJobs(PendingAnswer):
    """A wait until the selected jobs have ended, or with `any` until one of them has.

    Without `jobs`, it ends when no job is left and, unless the run is `endless`, the input has ended.
    """

    def __init__(self, request: ClientRequest, scheduler: Scheduler, _now: float, *, endless: bool) -> None:
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

    def look(self, ended: Sequence[JobEnded], scheduler: Scheduler, now: float) -> Answer | None:
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
        self._awaited = {task.seq: task.spec.id for task in selected(selectors, scheduler)}
        for job_id, outcome, allowed in selected_ended(selectors, scheduler):
            self._note(job_id, outcome, allowed)
        if not (self._awaited or self._ended):
            raise Rejected(f"no such job: {', '.join(selectors[:5])}", NONE)

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
