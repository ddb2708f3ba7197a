# SPDX-License-Identifier: LGPL-3.0-or-later
"""Jobs that others put in: all of a request or none, in steps if they are many, or as there is room.

A request is one message, or several of which all but the last say that there is `more`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from pqrun.backlog import ADDED
from pqrun.control.incoming import Incoming
from pqrun.control.protocol import FULL, GONE, Answer, Rejected, Request, Steps, by_of, flag
from pqrun.graph import UnknownNeed
from pqrun.model import JobSpec
from pqrun.scheduler import Scheduler

MOST_AT_ONCE = 1000
SLICE = 250


class Offer:
    """What one client wants to add. `wait`: what finds no room now may come later."""

    def __init__(self, request: Request) -> None:
        self.specs: list[JobSpec] = []
        self.by = by_of(request)
        self.wait = flag(request, "wait")
        self._if_absent = flag(request, "if_absent")
        self._once = flag(request, "once")

    def take(self, more: Iterable[JobSpec], scheduler: Scheduler) -> None:
        """More jobs, but those that are not wanted again."""
        self.specs += self._wanted(more, scheduler)

    def look_again(self, scheduler: Scheduler) -> None:
        """What was not known may be known by now."""
        if self._if_absent or self._once:
            self.specs = list(self._wanted(self.specs, scheduler))

    def _wanted(self, specs: Iterable[JobSpec], scheduler: Scheduler) -> Iterator[JobSpec]:
        if not (self._if_absent or self._once):
            return iter(specs)
        known = scheduler.knows if self._once else scheduler.find
        return (spec for spec in specs if not (spec.named and known(spec.id)))


class Intake:
    """Where jobs come in. `defaults` has what the run says for jobs that don't say otherwise.

    `fit` raises UserError for what can't run where the run is.
    """

    def __init__(
        self, defaults: dict[str, Any] | None = None, fit: Callable[[JobSpec], None] | None = None
    ) -> None:
        self._incoming = Incoming(defaults, fit)

    def add(
        self, request: Request, scheduler: Scheduler, now: float, offer: Offer | None = None
    ) -> Answer | Offer | Steps:
        """An answer; steps to it; or an offer that is not complete yet, or finds no room and is to wait."""
        if scheduler.stopping is not None:
            raise Rejected("the run is stopping: it takes no more jobs", GONE)
        jobs, more = request.get("add"), flag(request, "more")
        if not isinstance(jobs, list) or not (jobs or offer):
            raise Rejected("`add` is a list of jobs")
        if len(jobs) > MOST_AT_ONCE:
            raise Rejected(f"more than {MOST_AT_ONCE:,} jobs in one message: say that there is `more`")
        offer = offer or Offer(request)
        offer.take(map(self._incoming.job, jobs), scheduler)
        if more and offer.wait:
            raise Rejected("an `add` that may `wait` is complete in itself: there can't be `more`")
        if more:
            make_sure_of_room(offer.specs, scheduler)
            return offer
        offer.look_again(scheduler)
        offer.specs = needs_first(offer.specs)
        if offer.wait:
            _check(offer.specs, scheduler)
            return offer
        make_sure_of_room(offer.specs, scheduler)
        if len(offer.specs) > SLICE:
            return _in_steps(offer, scheduler, now)
        _check(offer.specs, scheduler)
        return {"ids": _put_in(offer.specs, scheduler, now, offer.by)}


def as_many_as_fit(offer: Offer, scheduler: Scheduler, now: float) -> list[str]:
    """Puts in what there is room for; the ids. `Rejected` if what is left can't come in any more."""
    fit = min(scheduler.max_queue - scheduler.backlog.added, SLICE)
    if fit <= 0 or not offer.specs:
        return []
    specs, offer.specs = offer.specs[:fit], offer.specs[fit:]
    _check(specs, scheduler)
    return _put_in(specs, scheduler, now, offer.by)


def make_sure_of_room(specs: Sequence[JobSpec], scheduler: Scheduler) -> None:
    """`Rejected` if there isn't enough for all of them."""
    added = scheduler.backlog.added
    if added + len(specs) > scheduler.max_queue:
        full = f"the queue is full ({added} of {scheduler.max_queue})"
        raise Rejected(full if len(specs) == 1 else f"{full}: no room for {len(specs)} jobs", FULL)


def needs_first(specs: list[JobSpec]) -> list[JobSpec]:
    """The same jobs, in their order as far as what others need comes before them; `Rejected` for a ring."""
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
                raise Rejected(f"jobs wait for one another: `{specs[other].id}` is among them")
            else:
                todo.append((other, iter(specs[other].needs)))
    return ordered


def _in_steps(offer: Offer, scheduler: Scheduler, now: float) -> Steps:
    """Looks whether all of them can come in, then puts them in."""
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
    return (specs[start : start + SLICE] for start in range(0, len(specs), SLICE))


def _check(specs: Sequence[JobSpec], scheduler: Scheduler, seen: set[str] | None = None) -> None:
    """`Rejected` for what can't be told of a job alone; `seen` are the ids of those before."""
    seen = set() if seen is None else seen
    pools = scheduler.ready.pools.sizes
    for spec in specs:
        if spec.named:
            if spec.id in seen or scheduler.find(spec.id) is not None:
                raise Rejected(f"there is an unfinished job `{spec.id}` already")
            seen.add(spec.id)
        for name, count in spec.pools:
            if name not in pools:
                raise Rejected(f"there is no pool `{name}` (`pqrun set --pool {name}={count}` makes it)")
            if count > pools[name]:
                raise Rejected(f"a job wants {count} of the pool `{name}`, which has {pools[name]}")
    for spec in specs:
        for need in spec.needs:
            if need.job not in seen and not scheduler.graph.may_be_needed(need.job, scheduler.jobs + 1):
                by = f"job `{spec.id}`" if spec.named else "a job"
                raise Rejected(f"{by} needs `{need.job}`, which is not known")


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
