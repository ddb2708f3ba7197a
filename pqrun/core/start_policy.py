# SPDX-License-Identifier: LGPL-3.0-or-later
"""The start policy: which ready jobs start now, and what holds back the others. No clock, process or file."""

from __future__ import annotations

from collections import deque
from math import inf
from typing import NamedTuple

from pqrun.core import events as ev
from pqrun.core.attempts import ActiveAttempts, Decision
from pqrun.core.job import HaltRule, Outcome, StartRate
from pqrun.core.ready_queue import SLOTS, ReadyQueue
from pqrun.core.task import Task
from pqrun.core.text import format_duration

RETRY_AFTER_REFUSAL_SECONDS = 0.25
MAX_PAUSE_SECONDS = 8.0
GIVE_UP_SECONDS = 5.0
ROUNDS_BEFORE_PROBING = 8


class AdaptiveLimit:
    """The number of slots that the machine can sustain: lowered when it refuses a start, raised over time.

    `unreported`: why the limit was lowered for the first time, until an event reports it. `hopeless`: why
    no start can succeed: no attempt is running that could end and free resources, and every start was
    refused for `patience` seconds.
    """

    def __init__(self, patience: float = GIVE_UP_SECONDS) -> None:
        self.slots: float = inf
        self.unreported = ""
        self.hopeless = ""
        self._patience = patience
        self._refused_since = inf
        self._told = False
        self._unrefused = 0
        self._again_at = -inf
        self._pause = RETRY_AFTER_REFUSAL_SECONDS

    def refused(self, used: int, now: float, why: str) -> None:
        """Lower the limit, because a start was refused while `used` slots were used."""
        self._unrefused = 0
        if used:
            self._refused_since = inf
        else:  # no attempt can end and free resources, so the pause between tries is doubled
            self._again_at = now + self._pause
            self._pause = min(2 * self._pause, MAX_PAUSE_SECONDS)
            self._refused_since = min(self._refused_since, now)
            if now - self._refused_since >= self._patience:
                self.hopeless = why
        self.slots = min(self.slots, max(1, used))
        if not self._told:
            self.unreported, self._told = why, True

    def succeeded(self) -> None:
        """Record the end of an attempt. After many of them, raise the limit by one slot."""
        self._pause = RETRY_AFTER_REFUSAL_SECONDS
        self._refused_since = inf
        if self.slots < inf:
            self._unrefused += 1
            if self._unrefused >= ROUNDS_BEFORE_PROBING * self.slots:
                self.slots += 1
                self._unrefused = 0

    def closed(self, now: float) -> bool:
        """Return whether no attempt may start now."""
        if now >= self._again_at:
            self._again_at = -inf
        return self._again_at > now

    @property
    def next_start_at(self) -> float:
        """The time of the next try after a refusal; `inf` if there is no pause."""
        return self._again_at if self._again_at > -inf else inf


class Headroom(NamedTuple):
    """The number of attempts that may run at once under the load and memory limits.

    `why`: the reason for the limit. `option`: the option that set it.
    """

    max_attempts: float = inf
    why: str = ""
    option: str = ""


UNLIMITED = Headroom()


class StartRateLimiter:
    """A limit of the rate of starts: `delay` seconds between two starts, and at most `rate`.

    `limits`: whether there is a limit at all. `next_start_at`: the earliest time of the next start. `why`: the
    reason for that time.
    """

    def __init__(self, delay: float = 0.0, rate: StartRate | None = None) -> None:
        self.next_start_at = -inf
        self.why = ""
        self.limits = bool(delay or rate)
        self._delay = delay
        self._rate = rate
        self._starts: deque[float] = deque(maxlen=rate.number if rate else 0)

    def started(self, now: float) -> None:
        """Record a start, and compute the earliest time of the next one."""
        if self._delay:
            self.next_start_at = now + self._delay
            self.why = f"the last start was less than {format_duration(self._delay)} ago (--delay)"
        rate = self._rate
        if rate is None:
            return
        self._starts.append(now)
        if len(self._starts) == rate.number and self._starts[0] + rate.seconds > self.next_start_at:
            self.next_start_at = self._starts[0] + rate.seconds
            self.why = f"{rate.number} jobs have started in the last {format_duration(rate.seconds)} (--rate)"


class HaltCondition:
    """A count of ended jobs, compared with the halt `rule`, if there is one."""

    def __init__(self, halt: HaltRule | None) -> None:
        self.rule = halt
        self._counts = {"fail": 0, "success": 0, "done": 0}

    def count(self, outcome: Outcome, *, allowed: bool) -> None:
        """Count a job that has ended."""
        self._counts["done"] += 1
        if outcome is Outcome.OK:
            self._counts["success"] += 1
        elif outcome in (Outcome.FAILED, Outcome.TIMEOUT) and not allowed:
            self._counts["fail"] += 1

    def uncount(self, outcome: Outcome, *, allowed: bool) -> None:
        """Take back the count of an ended job that is to run again."""
        ended = HaltCondition(None)
        ended.count(outcome, allowed=allowed)
        self._counts = {what: count - ended._counts[what] for what, count in self._counts.items()}

    @property
    def needs_total(self) -> bool:
        """Whether the rule has a percentage, for which the total number of jobs must be known."""
        return self.rule is not None and self.rule.percent

    def reached(self, jobs: int, *, complete: bool) -> HaltRule | None:
        """Return the halt rule if it is met, else None.

        `jobs` is the number of jobs so far; `complete` means that no more will come.
        """
        rule = self.rule
        if rule is None or (rule.percent and not complete):
            return None
        limit = rule.number * jobs / 100 if rule.percent else rule.number
        return rule if self._counts[rule.what] >= max(limit, 1) else None


LISTED, STREAMED, ADDED = range(3)
"""The origins of a job: known from the beginning, read from a stream, or added by a client."""


class Backlog:
    """The numbers of jobs that wait for a start or a retry, by origin. Each origin has a limit of its own."""

    def __init__(self) -> None:
        self._counts = [0, 0, 0]

    def __len__(self) -> int:
        return sum(self._counts)

    @property
    def streamed(self) -> int:
        """The number of waiting jobs that were read from a stream."""
        return self._counts[STREAMED]

    @property
    def added(self) -> int:
        """The number of waiting jobs that clients added."""
        return self._counts[ADDED]

    def came(self, *tasks: Task) -> None:
        """Count jobs that wait for their first start, or for another one."""
        counts = self._counts
        for task in tasks:
            counts[task.origin] += 1

    def left(self, task: Task) -> None:
        """Uncount a job that was started, or never will be."""
        self._counts[task.origin] -= 1


class StartPolicy:
    """The policy that takes jobs from the queue to slots.

    `hold_reason`: why no job starts although slots and pools would allow it, or empty. `next_start_at`:
    when starts may go on; `inf` if that takes another event.
    """

    def __init__(
        self,
        ready: ReadyQueue,
        running: ActiveAttempts,
        log: Decision,
        pace: StartRateLimiter,
        backlog: Backlog,
        patience: float = GIVE_UP_SECONDS,
    ) -> None:
        self.hold_reason = ""
        self.next_start_at = inf
        self.slots = 0
        self.ceiling = AdaptiveLimit(patience)
        self._ready = ready
        self._running = running
        self._log = log
        self._pace = pace
        self._backlog = backlog
        self._told: set[str] = set()

    def start_ready(self, now: float, capacity: int, headroom: Headroom, held: str = "") -> None:
        """Start all jobs that may start now, or none if `held` gives a reason to hold back the run."""
        ready, running, pace = self._ready, self._running, self._pace
        limited = self.ceiling.slots < inf
        slots = self.slots
        if limited or slots != capacity:
            slots = self._usable_slots(capacity, now)
        if held:
            self.hold_reason, self.next_start_at = (held if ready.count else ""), inf
            return
        self.hold_reason, self.next_start_at = "", inf
        may_hold = headroom is not UNLIMITED or pace.limits or limited
        while slots > running.used and ready.count:
            if may_hold and (why := self._closed(now, headroom)):
                self._hold(why, headroom, now)
                break
            task = ready.take(slots, slots - running.used)
            if task is None:
                break
            wanted = task.shape[0]
            running.submit(task, wanted if wanted < slots else slots, now)
            self._backlog.left(task)
            if pace.limits:
                pace.started(now)

    def _usable_slots(self, capacity: int, now: float) -> int:
        """Return the number of slots that may be used: the executor's capacity, or less on a full machine."""
        # Wait for all outstanding starts, because each further refusal lowers the limit again.
        if self.ceiling.unreported and not self._running.awaits_starts:
            self._log.events.append(ev.SlotsChanged(now, int(self.ceiling.slots), self.ceiling.unreported))
            self.ceiling.unreported = ""
        slots = capacity if self.ceiling.slots == inf else int(min(capacity, self.ceiling.slots))
        if slots != self.slots:
            self._ready.resource_freed(SLOTS)
            self.slots = slots
        return slots

    def _closed(self, now: float, headroom: Headroom) -> str:
        """Return why no job may start now, or an empty text."""
        if self.ceiling.closed(now):
            self.next_start_at = self.ceiling.next_start_at
            return "the machine can't start another process"
        if len(self._running.tasks) >= headroom.max_attempts:
            return headroom.why
        if self._pace.next_start_at > now:
            self.next_start_at = self._pace.next_start_at
            return self._pace.why
        return ""

    def _hold(self, why: str, headroom: Headroom, now: float) -> None:
        """Record why starts are held back, with an event the first time that an option does so."""
        self.hold_reason = why
        if why == headroom.why and headroom.option not in ("", *self._told):
            self._told.add(headroom.option)
            self._log.events.append(ev.StartsHeld(now, why))
