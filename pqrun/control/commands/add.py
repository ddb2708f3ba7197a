# SPDX-License-Identifier: LGPL-3.0-or-later
"""The verb `add`: add all jobs of a request or none, in several turns if they are many.

With `wait`, jobs are added as the queue gets room. A request is one message, or several of which
all but the last have `more` set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pqrun.control.protocol import (
    FULL,
    GONE,
    Answer,
    ClientRequest,
    IncrementalAnswer,
    flag,
    origin_of,
)
from pqrun.core import values
from pqrun.core.dependencies import UnknownNeed
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
        run = _checked_run(run)
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


def _checked_run(run: Any) -> str | tuple[str, ...]:
    words = run if isinstance(run, list) else [run]
    _must(words != [] and all(is_text(word) for word in words), "run")
    if not words[0].strip():
        raise Rejected(EMPTY)
    return tuple(words) if isinstance(run, list) else str(run)


def _must(good: bool, name: str) -> None:
    if not good:
        raise Rejected(f"not a job: its `{name}` is invalid")


MAX_JOBS_PER_REQUEST = 1000
JOBS_PER_TURN = 250


class AddRequest:
    """The jobs that one client wants to add. `wait`: add them later if the queue is full now."""

    def __init__(self, request: ClientRequest) -> None:
        self.specs: list[JobSpec] = []
        self.by = origin_of(request)
        self.wait = flag(request, "wait")
        self._if_absent = flag(request, "if_absent")
        self._once = flag(request, "once")

    def take(self, more: Iterable[JobSpec], scheduler: Scheduler) -> None:
        """Append more jobs, except those that `if_absent` or `once` leaves out."""
        self.specs += self._wanted(more, scheduler)

    def look_again(self, scheduler: Scheduler) -> None:
        """Apply `if_absent` and `once` again, because jobs may have been added since."""
        if self._if_absent or self._once:
            self.specs = list(self._wanted(self.specs, scheduler))

    def _wanted(self, specs: Iterable[JobSpec], scheduler: Scheduler) -> Iterator[JobSpec]:
        if not (self._if_absent or self._once):
            return iter(specs)
        known = scheduler.knows if self._once else scheduler.find
        return (spec for spec in specs if not (spec.named and known(spec.id)))


class JobAdmission:
    """Admission of jobs from clients. `defaults` and `fit` are those of `JobPayload`."""

    def __init__(
        self, defaults: dict[str, Any] | None = None, fit: Callable[[JobSpec], None] | None = None
    ) -> None:
        self._incoming = JobPayload(defaults, fit)

    def add(
        self, request: ClientRequest, scheduler: Scheduler, now: float, offer: AddRequest | None = None
    ) -> Answer | AddRequest | IncrementalAnswer:
        """Add the jobs of a message, or take them in as a part of the request `offer`.

        Returns an answer, or the steps that lead to one. Returns the request itself if it is not
        complete yet (`more`) or if the queue has no room for it yet (`wait`).
        Raises `Rejected` if the jobs cannot be added.
        """
        if scheduler.stopping is not None:
            raise Rejected("the run is stopping and takes no more jobs", GONE)
        jobs, more = request.get("add"), flag(request, "more")
        if not isinstance(jobs, list) or not (jobs or offer):
            raise Rejected("`add` is a list of jobs")
        if len(jobs) > MAX_JOBS_PER_REQUEST:
            raise Rejected(
                f"more than {MAX_JOBS_PER_REQUEST:,} jobs in one message: send several messages, with `more` set"
            )
        offer = offer or AddRequest(request)
        offer.take(map(self._incoming.job, jobs), scheduler)
        if more and offer.wait:
            raise Rejected("an `add` with `wait` must be complete: `more` can't be set")
        if more:
            make_sure_of_room(offer.specs, scheduler)
            return offer
        offer.look_again(scheduler)
        offer.specs = needs_first(offer.specs)
        if offer.wait:
            _check(offer.specs, scheduler)
            return offer
        make_sure_of_room(offer.specs, scheduler)
        if len(offer.specs) > JOBS_PER_TURN:
            return _in_steps(offer, scheduler, now)
        _check(offer.specs, scheduler)
        return {"ids": _put_in(offer.specs, scheduler, now, offer.by)}


def as_many_as_fit(offer: AddRequest, scheduler: Scheduler, now: float) -> list[str]:
    """Add the jobs that the queue has room for; return their ids. Raises `Rejected` if one is refused."""
    fit = min(scheduler.max_queue - scheduler.backlog.added, JOBS_PER_TURN)
    if fit <= 0 or not offer.specs:
        return []
    specs, offer.specs = offer.specs[:fit], offer.specs[fit:]
    _check(specs, scheduler)
    return _put_in(specs, scheduler, now, offer.by)


def make_sure_of_room(specs: Sequence[JobSpec], scheduler: Scheduler) -> None:
    """Raise `Rejected` if the queue has no room for all of these jobs."""
    added = scheduler.backlog.added
    if added + len(specs) > scheduler.max_queue:
        full = f"the queue is full ({added} of {scheduler.max_queue})"
        raise Rejected(full if len(specs) == 1 else f"{full}: no room for {len(specs)} jobs", FULL)


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


def _in_steps(offer: AddRequest, scheduler: Scheduler, now: float) -> IncrementalAnswer:
    """Check all jobs, then add them, `JOBS_PER_TURN` in each turn."""
    seen: set[str] = set()
    for specs in _slices(offer.specs):
        _check(specs, scheduler, seen)
        now = yield
    make_sure_of_room(offer.specs, scheduler)
    ids: list[str] = []
    for specs in _slices(offer.specs):
        if scheduler.stopping is not None:
            raise Rejected(f"the run stopped when {len(ids)} of {len(offer.specs)} jobs were added", GONE)
        ids += _put_in(specs, scheduler, now, offer.by)
        now = yield
    return {"ids": ids}


def _slices(specs: list[JobSpec]) -> Iterator[list[JobSpec]]:
    return (specs[start : start + JOBS_PER_TURN] for start in range(0, len(specs), JOBS_PER_TURN))


def _check(specs: Sequence[JobSpec], scheduler: Scheduler, seen: set[str] | None = None) -> None:
    """Raise `Rejected` if a job's id is taken, or if a pool or a need of it does not exist.

    `seen` are the ids of the jobs before these in the same request.
    """
    seen = set() if seen is None else seen
    pools = scheduler.ready.pools.sizes
    for spec in specs:
        if spec.named:
            if spec.id in seen or scheduler.find(spec.id) is not None:
                raise Rejected(f"an unfinished job `{spec.id}` exists already")
            seen.add(spec.id)
        for name, count in spec.pools:
            if name not in pools:
                raise Rejected(f"unknown pool `{name}`: create it with `pqrun set --pool {name}={count}`")
            if count > pools[name]:
                raise Rejected(f"a job needs {count} units of the pool `{name}`, which has {pools[name]}")
    for spec in specs:
        for need in spec.needs:
            if need.job not in seen and not scheduler.graph.may_be_needed(need.job, scheduler.jobs + 1):
                by = f"job `{spec.id}`" if spec.named else "a job"
                raise Rejected(f"{by} needs `{need.job}`, which does not exist")


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
