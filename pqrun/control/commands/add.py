# SPDX-License-Identifier: LGPL-3.0-or-later
"""The verb `add`: add all jobs of a request or none, in several turns if they are many.

With `wait`, jobs are added as the queue gets room. A request lists its jobs, or sends each in a line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

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
from pqrun.core import values
from pqrun.core.dependencies import UnknownNeed, needs_first
from pqrun.core.errors import Rejected, UserError
from pqrun.core.expansion import Pairs, join_templates, layered, split_templates
from pqrun.core.job import Command, JobSpec
from pqrun.core.job_fields import LIMITS, wrong_field
from pqrun.core.scheduler import Scheduler
from pqrun.core.start_policy import ADDED
from pqrun.core.text import is_printable
from pqrun.core.values import is_text, is_whole
from pqrun.input.defaults import SpecBuilder
from pqrun.journal.format import spec_facts, spec_of

if TYPE_CHECKING:
    from pqrun.control.protocol import IncrementalAnswer, Result
    from pqrun.core.events import JobEnded

EMPTY = "the command is empty: give a command to run"
OWN = ("id", "run", "named", "line")
_FIELDS = {*JobSpec._fields, *Command._fields, "retries"} - {"work"}


class JobPayload:
    """A parser of jobs. `defaults` are the run's values for the fields that a job leaves out.

    `fit` raises `UserError` for a job that cannot run here.
    """

    def __init__(
        self, defaults: dict[str, Any] | None = None, fit: Callable[[JobSpec], None] | None = None
    ) -> None:
        self._fit = fit
        self._defaults = plain(defaults or {})
        self._like: dict[str, Any] | None = None
        self._template = JobSpec("", Command(""))

    def job(self, facts: Any) -> JobSpec:
        """Return the spec of a job, or raise `Rejected`. Fields equal to the last job's are not checked."""
        if not isinstance(facts, dict):
            raise Rejected("a job is an object")
        common = {name: value for name, value in facts.items() if name not in OWN}
        if common != self._like:
            self._template = checked({**_over(plain(common), self._defaults), "id": "", "run": "true"})
            self._like = common
        job_id, run, line = facts.get("id", ""), facts.get("run"), facts.get("line", 0)
        _must(isinstance(job_id, str) and len(job_id) <= 200 and (job_id == "" or is_printable(job_id)), "id")
        named = facts.get("named", job_id != "")
        _must(isinstance(named, bool) and (job_id != "" or not named), "named")
        if named and job_id.isdecimal():
            raise Rejected(f"the id `{job_id}` is a number: numbers are the ids of jobs without an id")
        _must(is_whole(line, 0), "line")
        run = checked_run(run)
        template = self._template
        job = template._replace(id=job_id, named=named, line=line, work=template.work._replace(run=run))
        if self._fit is not None:
            try:
                self._fit(job)
            except UserError as error:
                raise Rejected(str(error)) from None
        return job


def settings_for_all(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a command line gives to every job, as fields of the journal."""
    facts = spec_facts(SpecBuilder(given).make("", {}, id="", named=False, file=None, line=0))
    return {name: value for name, value in facts.items() if name not in OWN}


def plain(facts: dict[str, Any]) -> dict[str, Any]:
    """Return a job's fields in the form of the journal.

    Clients may also send a priority by name, `retries` alone, `env` and `pools` as objects, and
    needs as plain ids. Raises `Rejected` for an unknown field.
    """
    found = dict(facts)
    for name in found:
        if name not in _FIELDS:
            raise Rejected(f"a job has no `{name:.40}`")
    _must(isinstance(found.get("expand", []), list | tuple), "expand")
    priority = found.get("priority")
    if isinstance(priority, str):
        try:
            found["priority"] = values.priority(priority)
        except ValueError as error:
            raise Rejected(str(error)) from None
    if "retries" in found:
        retry = found.get("retry", {})
        found["retry"] = {**(retry if isinstance(retry, dict) else {}), "max": found.pop("retries")}
    for name in ("env", "pools"):
        if isinstance(found.get(name), dict):
            found[name] = list(found[name].items())
    if isinstance(found.get("needs"), list):
        found["needs"] = [[need, "ok"] if isinstance(need, str) else need for need in found["needs"]]
    for name in LIMITS & found.keys():
        if found[name] == 0:
            found[name] = None
    return found


def checked(facts: dict[str, Any]) -> JobSpec:
    """Return the spec with these fields. Raises `Rejected` if a value is not allowed."""
    try:
        spec = spec_of(facts)
        wrong = wrong_field(spec)
        _must(wrong is None, str(wrong))
        _must(spec.file is None or is_text(spec.file), "file")
        _must(spec.label is None or is_text(spec.label), "label")
        for name, texts in (("args", spec.args), ("arg_names", spec.arg_names)):
            _must(isinstance(texts, tuple) and all(map(is_text, texts)), name)
        _must(set(spec.work.expand) <= dict(spec.work.env).keys(), "expand")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise Rejected("not a job: see `docs/control.md` for its fields") from None
    return spec


def _over(own: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Return a job's own fields over the defaults: `env` merged by name, `retry` by part."""
    both = {**defaults, **own}
    try:
        if "retry" in own and "retry" in defaults:
            both["retry"] = {**defaults["retry"], **own["retry"]}
        if "env" in own and "env" in defaults:
            below, above = (
                join_templates(_pairs(facts["env"]), facts.get("expand", ())) for facts in (defaults, own)
            )
            both["env"], both["expand"] = split_templates(layered(below, above))
    except (TypeError, ValueError):
        raise Rejected("not a job: see `docs/control.md` for its fields") from None
    except UserError as error:
        raise Rejected(str(error)) from None
    return both


def _pairs(env: Any) -> Pairs:
    return tuple((name, value) for name, value in env)


def checked_run(run: Any) -> str | tuple[str, ...]:
    """Return the command of a job. Raises `Rejected` for an empty or impossible one."""
    words = run if isinstance(run, list) else [run]
    _must(words != [] and all(is_text(word) for word in words), "run")
    if not words[0].strip():
        raise Rejected(EMPTY)
    return tuple(words) if isinstance(run, list) else str(run)


def _must(good: bool, name: str) -> None:
    if not good:
        raise Rejected(f"not a job: its `{name}` is invalid")


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
