# SPDX-License-Identifier: LGPL-3.0-or-later
"""The verb `add`: add all jobs of a request or none, in several turns if they are many.

With `wait`, jobs are added as the queue gets room. A request lists its jobs, or sends each in a line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from pqrun.control.job_payload import JobPayload
from pqrun.control.protocol import (
    FULL,
    GONE,
    JOBS_PER_TURN,
    Answer,
    ClientRequest,
    PendingAnswer,
    RequestWithLines,
    flag,
    origin_of,
    parse_json,
    refusal,
)
from pqrun.core.dependencies import UnknownNeed, needs_first
from pqrun.core.errors import Rejected
from pqrun.core.job import JobSpec
from pqrun.core.scheduler import Scheduler
from pqrun.core.start_policy import ADDED

if TYPE_CHECKING:
    from pqrun.control.protocol import IncrementalAnswer, Result
    from pqrun.core.events import JobEnded

MAX_LISTED_JOBS = 1000


def add(payload: JobPayload, request: ClientRequest, scheduler: Scheduler, now: float) -> Result:
    """Add all jobs of a request or none; with `wait`, each as soon as the queue has room.

    Returns the request itself if its jobs follow in `lines`. Raises `Rejected` if the jobs cannot be added.
    """
    adding = AddRequest(request, payload)
    adding.take(scheduler)
    return adding if flag(request, "lines") else adding.complete(scheduler, now)


class AddRequest(RequestWithLines):
    """The jobs that one client wants to add, as far as they have been read."""

    def __init__(self, request: ClientRequest, payload: JobPayload) -> None:
        super().__init__()
        jobs = request.get("add", [])
        if not isinstance(jobs, list) or not (jobs or flag(request, "lines")):
            raise Rejected("`add` is a list of jobs")
        if flag(request, "more"):  # a part of a request, as version 1 of the protocol knew them
            raise Rejected("the run takes an `add` in one message: upgrade the pqrun that sends several")
        if len(jobs) > MAX_LISTED_JOBS:
            raise Rejected(f"`add` lists more than {MAX_LISTED_JOBS:,} jobs: send them as `lines`")
        self.specs: list[JobSpec] = []
        self.by = origin_of(request)
        self._wait, self._once = flag(request, "wait"), flag(request, "once")
        self._if_absent = flag(request, "if_absent")
        self._payload = payload
        self._parsed = [payload.job(job) for job in jobs]

    def read(self, lines: Sequence[bytes]) -> None:
        """Parse lines of a job each."""
        if self.refused is None:
            try:
                jobs = parse_json(b"[%b]" % b",".join(lines))  # four times as fast as line by line
                if len(jobs) != len(lines):
                    raise Rejected("not a job in each line")
                self._parsed = [self._payload.job(job) for job in jobs]
            except Rejected as error:
                self._refuse(error)

    def take(self, scheduler: Scheduler) -> None:
        """Take over the parsed jobs, without those that `if_absent` or `once` leaves out."""
        self.specs += self._wanted(self._parsed, scheduler)
        self._parsed = []
        try:
            self._check_count(scheduler)
        except Rejected as error:
            self._refuse(error)

    def complete(self, scheduler: Scheduler, now: float) -> Result:
        """Carry out the request when all its jobs have been taken."""
        if self.refused is not None:
            raise self.refused
        self.specs = needs_first(list(self._wanted(self.specs, scheduler)))
        self._check_count(scheduler)
        if not self._wait:
            return _in_steps(self.specs, scheduler, now, self.by)
        _check(self.specs, scheduler, set())
        return WaitForRoom(self)

    def _check_count(self, scheduler: Scheduler) -> None:
        if scheduler.stopping is not None:
            raise Rejected("the run is stopping and takes no more jobs", GONE)
        if not self._wait:
            make_sure_of_room(self.specs, scheduler)
        elif len(self.specs) > MAX_LISTED_JOBS:
            raise Rejected(f"an `add` with `wait` has at most {MAX_LISTED_JOBS:,} jobs: send several")

    def _refuse(self, error: Rejected) -> None:
        self.refused = self.refused or error
        self._parsed, self.specs = [], []

    def _wanted(self, specs: Iterable[JobSpec], scheduler: Scheduler) -> Iterable[JobSpec]:
        if not (self._if_absent or self._once):
            return specs
        known = scheduler.knows if self._once else scheduler.find
        return (spec for spec in specs if not (spec.named and known(spec.id)))


class WaitForRoom(PendingAnswer):
    """A wait for room in the queue, which adds as many jobs as fit each time."""

    adds = True

    def __init__(self, request: AddRequest) -> None:
        self._request = request
        self._ids: list[str] = []

    def look(self, ended: Sequence[JobEnded], scheduler: Scheduler, now: float) -> Answer | None:
        """Add the jobs that fit; return all ids when all jobs are added."""
        request = self._request
        if scheduler.stopping is not None and request.specs:
            return self.on_run_ended()
        fit = max(0, min(scheduler.max_queue - scheduler.backlog.added, JOBS_PER_TURN))
        specs, request.specs = request.specs[:fit], request.specs[fit:]
        try:
            _check(specs, scheduler, set())
            self._ids += _put_in(specs, scheduler, now, request.by) if specs else []
        except Rejected as error:
            return {**refusal(error), "ids": self._ids}
        return None if request.specs else {"ok": True, "ids": self._ids}

    def on_run_ended(self) -> Answer:
        """Return a refusal with the ids of the jobs that were added, which stay in the run."""
        return {**refusal(Rejected("the run ended before the queue had room", GONE)), "ids": self._ids}


def make_sure_of_room(specs: Sequence[JobSpec], scheduler: Scheduler) -> None:
    """Raise `Rejected` if the queue has no room for all of these jobs."""
    added = scheduler.backlog.added
    if added + len(specs) > scheduler.max_queue:
        full = f"the queue is full ({added} of {scheduler.max_queue})"
        if len(specs) > 1:
            full += f": no room for {len(specs)} jobs"
        elif specs[0].not_before is not None:
            # Its place is free again at once, but else `--in 1ms` would get round the limit.
            full += (
                ": a job that waits for its time needs room, too, to be added (`add --wait` waits for room)"
            )
        raise Rejected(full, FULL)


def _in_steps(specs: list[JobSpec], scheduler: Scheduler, now: float, by: str) -> IncrementalAnswer:
    """Check all jobs, then add them, `JOBS_PER_TURN` in each turn."""
    starts = range(0, len(specs), JOBS_PER_TURN)
    seen: set[str] = set()
    for start in starts:
        _check(specs[start : start + JOBS_PER_TURN], scheduler, seen)
        if len(starts) > 1:
            now = yield
    make_sure_of_room(specs, scheduler)
    ids: list[str] = []
    for start in starts:
        if scheduler.stopping is not None:
            raise Rejected(f"the run stopped when {len(ids)} of {len(specs)} jobs were added", GONE)
        ids += _put_in(specs[start : start + JOBS_PER_TURN], scheduler, now, by)
        if len(starts) > 1:
            now = yield
    return {"ids": ids}


def _check(specs: Sequence[JobSpec], scheduler: Scheduler, seen: set[str]) -> None:
    """Raise `Rejected` if a job's id is taken, or if a pool or a need of it does not exist.

    `seen` are the ids of the jobs before these in the same request.
    """
    pools = scheduler.ready.pools.sizes
    for spec in specs:
        if spec.named:
            if spec.id in seen or scheduler.find(spec.id) is not None:
                raise Rejected(f"an unfinished job `{spec.id}` exists already")
            seen.add(spec.id)
        check_pools(spec, pools)
    for spec in specs:
        for need in spec.needs:
            if need.job not in seen and not scheduler.graph.may_be_needed(need.job, scheduler.jobs + 1):
                by = f"job `{spec.id}`" if spec.named else "a job"
                raise Rejected(f"{by} needs `{need.job}`, which does not exist")


def check_pools(spec: JobSpec, pools: Mapping[str, int]) -> None:
    """Raise `Rejected` if the job could never start with pools of these sizes."""
    for name, count in spec.pools:
        if name not in pools:
            raise Rejected(f"unknown pool `{name}`: create it with `pqrun set --pool {name}={count}`")
        if count > pools[name]:
            raise Rejected(f"a job needs {count} units of the pool `{name}`, which has {pools[name]}")


def _put_in(specs: Sequence[JobSpec], scheduler: Scheduler, now: float, by: str) -> list[str]:
    numbered = [
        spec if spec.named else spec._replace(id=str(number), named=False)
        for number, spec in enumerate(specs, scheduler.jobs + 1)
    ]
    try:
        scheduler.add(numbered, now, by, origin=ADDED)
    except UnknownNeed as error:
        raise Rejected(str(error)) from None
    return [spec.id for spec in numbered]
