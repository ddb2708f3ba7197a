# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the live table must know, folded from events: unfinished jobs, what runs, what failed lately."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pqrun import events as ev
from pqrun.display.facts import FailedAttempt, RunningJob
from pqrun.display.glimpse import NOTHING, Glimpse
from pqrun.display.rate import Rate
from pqrun.display.safe import plain
from pqrun.display.words import last_words, name_of
from pqrun.model import Count, JobSpec, Key, Outcome
from pqrun.reports.watch import Load
from pqrun.words import host_of, how_it_ended

FAILURES_KEPT = 8
NO_LOADS: Mapping[Key, Load] = MappingProxyType({})
_BAD = {Count.FAILED, Count.TIMEOUT, Count.RETRIED}


class _Running:
    __slots__ = ("ending", "key", "said", "since", "spec")

    def __init__(self, key: Key, spec: JobSpec, since: float) -> None:
        self.key = key
        self.spec = spec
        self.since = since
        self.ending = ""
        self.said = NOTHING


class _Failure:
    """A failed attempt. What it said last is read when shown, unless its output may be gone by then."""

    __slots__ = ("_event", "_line", "event_at", "how", "key", "of", "spec", "timeout")

    def __init__(self, event: ev.AttemptEnded, spec: JobSpec) -> None:
        self.key = Key(event.seq, event.attempt)
        self.spec = spec
        self.of = max(event.attempt, spec.retry.max + 1)
        self.how = how_it_ended(event.exit, event.asked, spec.timeout)
        self.timeout = event.asked is not None
        self.event_at = event.at
        self._event: ev.AttemptEnded | None = event
        self._line = ""
        if event.output is not None and (event.output.err.path or event.output.out.path):
            self._read()

    @property
    def line(self) -> str:
        """The line that tells best why."""
        self._read()
        return self._line

    def _read(self) -> None:
        if self._event is not None:
            self._line, self._event = last_words(self._event), None


class Board:
    """Folds events in order; its size follows the unfinished jobs, not those that have ended."""

    def __init__(self, began: float, now: float) -> None:
        self.began = began
        self.total = 0
        self.complete = False
        self.paused = False
        self.stopping: ev.RunStopping | None = None
        self.outcomes: Counter[Outcome] = Counter()
        self.limits = False
        self.rate = Rate(now)
        self._specs: dict[int, JobSpec] = {}
        self._running: dict[int, _Running] = {}
        self._waiting: set[int] = set()
        self._failed: deque[_Failure] = deque(maxlen=FAILURES_KEPT)
        self._retried: deque[_Failure] = deque(maxlen=FAILURES_KEPT)
        self._folds: dict[type, Callable[[Any], None]] = {
            ev.JobAdded: self._added,
            ev.JobQueued: self._queued,
            ev.AttemptSubmitted: self._submitted,
            ev.AttemptRefused: self._refused,
            ev.AttemptStarted: self._started,
            ev.AttemptStopping: self._asked_to_stop,
            ev.AttemptEnded: self._attempt_ended,
            ev.JobWaiting: lambda event: self._waiting.add(event.seq),
            ev.JobEnded: self._ended,
            ev.JobChanged: self._changed,
            ev.JobSaid: self._said,
            ev.JobReopened: self._reopened,
            ev.JobDropped: self._dropped,
            ev.InputEnded: lambda event: setattr(self, "complete", True),
            ev.RunPaused: lambda event: setattr(self, "paused", event.paused),
            ev.RunStopping: lambda event: setattr(self, "stopping", event),
        }

    def hear(self, events: Sequence[ev.Event]) -> None:
        """Takes in what happened, in order."""
        folds = self._folds
        for event in events:
            if fold := folds.get(type(event)):
                fold(event)

    def catch_up(self, events: Sequence[ev.Event]) -> None:
        """Takes in what an earlier process has seen; how that one ended is no matter now."""
        self.hear(events)
        self.rate = Rate(self.rate.began)
        self.complete = self.paused = False
        self.stopping = None

    @property
    def unfinished(self) -> int:
        """Jobs that have not ended."""
        return len(self._specs)

    @property
    def running_count(self) -> int:
        """Attempts that have a slot."""
        return len(self._running)

    @property
    def waiting_count(self) -> int:
        """Jobs that wait for their next attempt."""
        return len(self._waiting)

    @property
    def state(self) -> str:
        """As in `Facts`."""
        if self.stopping is not None:
            return "killing" if self.stopping.force else "draining" if self.stopping.drain else "stopping"
        return "paused" if self.paused else ""

    def running_keys(self, most: int) -> list[Key]:
        """The attempts that have run longest."""
        return [job.key for _, job in zip(range(most), self._running.values(), strict=False)]

    def running(
        self, now: float, most: int, glimpses: Mapping[Key, Glimpse], loads: Mapping[Key, Load] = NO_LOADS
    ) -> tuple[RunningJob, ...]:
        """Of those, what is to be shown."""
        rows = []
        for _, job in zip(range(most), self._running.values(), strict=False):
            spec, key = job.spec, job.key
            glimpse = glimpses.get(key, NOTHING)
            if glimpse == NOTHING:
                glimpse = job.said
            rows.append(
                RunningJob(
                    key.seq, name_of(spec), spec.priority, key.attempt, max(key.attempt, spec.retry.max + 1),
                    max(0.0, now - job.since), spec.timeout, job.ending, *glimpse, *(loads.get(key, ())[:2]),
                )
            )  # fmt: skip
        return tuple(rows)

    def failures(self, now: float, most: int) -> tuple[FailedAttempt, ...]:
        """The latest first; those for good before those that will be tried again, if not all fit."""
        final = list(self._failed)[-most:] if most else []
        rest = list(self._retried)[-(most - len(final)) :] if most > len(final) else []
        shown = [(failure, True) for failure in final] + [(failure, False) for failure in rest]
        shown.sort(key=lambda pair: pair[0].event_at, reverse=True)
        return tuple(
            FailedAttempt(
                f.key.seq, name_of(f.spec), f.how, f.timeout, f.key.attempt, f.of, max(0.0, now - f.event_at),
                f.line, final,
            )
            for f, final in shown
        )  # fmt: skip

    def _added(self, event: ev.JobAdded) -> None:
        self.total += 1
        self._specs[event.seq] = event.spec
        self.limits = self.limits or event.spec.timeout is not None

    def _queued(self, event: ev.JobQueued) -> None:
        if event.attempt > 1:
            self._waiting.discard(event.seq)

    def _submitted(self, event: ev.AttemptSubmitted) -> None:
        seq = event.seq
        self._running[seq] = _Running(Key(seq, event.attempt), self._specs[seq], event.at)

    def _refused(self, event: ev.AttemptRefused) -> None:
        self._running.pop(event.seq, None)

    def _started(self, event: ev.AttemptStarted) -> None:
        if job := self._running.get(event.seq):
            job.since = event.at
            if host := host_of(event.where):  # until it says more, that is told
                job.said = Glimpse(status=f"on {plain(host)}")

    def _asked_to_stop(self, event: ev.AttemptStopping) -> None:
        if job := self._running.get(event.seq):
            job.ending = "killed" if event.force else "ending"

    def _attempt_ended(self, event: ev.AttemptEnded) -> None:
        self._running.pop(event.seq, None)
        if event.counted in _BAD:
            failure = _Failure(event, self._specs[event.seq])
            (self._retried if event.counted is Count.RETRIED else self._failed).append(failure)

    def _ended(self, event: ev.JobEnded) -> None:
        self._specs.pop(event.seq, None)
        if self._waiting:
            self._waiting.discard(event.seq)
        self.outcomes[event.outcome] += 1
        if event.attempts:
            self.rate.ended(event.at)

    def _reopened(self, event: ev.JobReopened) -> None:
        self._specs[event.seq] = event.spec
        self.outcomes[event.outcome] -= 1

    def _dropped(self, event: ev.JobDropped) -> None:
        self.total -= 1
        self._specs.pop(event.seq, None)
        self._waiting.discard(event.seq)
        if event.outcome is not None:
            self.outcomes[event.outcome] -= 1

    def _said(self, event: ev.JobSaid) -> None:
        if job := self._running.get(event.seq):
            job.said = Glimpse(plain(event.status or ""), event.progress)

    def _changed(self, event: ev.JobChanged) -> None:
        self._specs[event.seq] = event.spec
        if job := self._running.get(event.seq):
            job.spec = event.spec
