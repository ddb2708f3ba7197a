# SPDX-License-Identifier: LGPL-3.0-or-later
"""The end of a run: failures first, then totals, the ten metrics, and what to type next."""

from __future__ import annotations

import heapq
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from pqrun import events as ev
from pqrun.display.safe import plain, safe
from pqrun.words import duration_text, how_it_ended
from pqrun.metrics import TEN, Metrics
from pqrun.model import JobSpec, NotStarted, Outcome, shown_command

MOST_FAILURES = 20
LAST_LINES = 5
SLOWEST = 3


@dataclass(slots=True)
class Failure:
    """One job that did not end well, with the last that it said."""

    seq: int
    spec: JobSpec
    outcome: Outcome
    how: str
    attempts: int
    seconds: float
    lines: list[str]


class LastPage:
    """Collects what the last page needs, in little memory; `text` makes it."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []
        self.failed = 0
        self.outcomes: dict[Outcome, int] = {}
        self.flaky = 0
        self.added = 0
        self.input_complete = True
        self.stopped = ""
        self._specs: dict[int, JobSpec] = {}
        self._bad: set[int] = set()
        self._last: dict[int, ev.AttemptEnded] = {}
        self._slowest: list[tuple[float, int, str]] = []

    def hear(self, events: Sequence[ev.Event]) -> None:
        """Takes in what happened."""
        for event in events:
            match event:
                case ev.JobReopened(_, seq, outcome, spec):
                    self._take_back(seq, outcome)
                    self._specs[seq] = spec
                case ev.JobDropped(_, seq, outcome):
                    self.added -= 1
                    self._specs.pop(seq, None)
                    if outcome is not None:
                        self._take_back(seq, outcome)
                case ev.JobChanged(_, seq, spec) if seq in self._specs:
                    self._specs[seq] = spec
                case ev.JobAdded(_, seq, spec):
                    self.added += 1
                    self._specs[seq] = spec
                case ev.AttemptEnded(seq=seq):
                    self._last[seq] = event
                    self._time(event)
                case ev.JobEnded():
                    self._ended(event)
                case ev.InputEnded(complete=complete):
                    self.input_complete = complete
                case ev.RunStopping(cause=cause):
                    self.stopped = self.stopped or cause
                case _:
                    pass

    def close(self) -> None:
        """Nothing more comes."""

    def _take_back(self, seq: int, outcome: Outcome) -> None:
        """A job that had ended so runs again, or is no longer part of the run."""
        self.outcomes[outcome] -= 1
        self.failed -= seq in self._bad
        self._bad.discard(seq)
        self.failures = [failure for failure in self.failures if failure.seq != seq]

    def _time(self, event: ev.AttemptEnded) -> None:
        seconds = event.ended - event.began
        if len(self._slowest) < SLOWEST or seconds > self._slowest[0][0]:
            spec = self._specs[event.seq]
            name = spec.id if spec.named else shown_command(spec.work)
            heapq.heappush(self._slowest, (seconds, event.seq, name))
            if len(self._slowest) > SLOWEST:
                heapq.heappop(self._slowest)

    def _ended(self, event: ev.JobEnded) -> None:
        spec, last = self._specs.pop(event.seq), self._last.pop(event.seq, None)
        self.outcomes[event.outcome] = self.outcomes.get(event.outcome, 0) + 1
        self.flaky += event.outcome is Outcome.OK and event.attempts > 1
        if event.outcome is Outcome.OK or (event.outcome is Outcome.SKIPPED and event.allowed):
            return
        if not event.allowed and event.outcome is not Outcome.INTERRUPTED:
            self.failed += 1
            self._bad.add(event.seq)
        if len(self.failures) >= MOST_FAILURES:
            return
        how = how_it_ended(last.exit, last.asked, spec.timeout) if last else ""
        if event.outcome is Outcome.SKIPPED:
            how = f"needs {event.because}"
        if event.allowed:
            how += " (may fail)"
        seconds = last.ended - last.began if last else 0.0
        lines = _last_lines(last) if last else []
        self.failures.append(Failure(event.seq, spec, event.outcome, how, event.attempts, seconds, lines))

    def text(self, metrics: Metrics, seconds: float, again: str, log: str = "") -> str:
        """The page. `again` is the command that goes on or runs the failed ones, if there is one."""
        ended = sum(self.outcomes.values())
        page: list[str] = []
        bad = [failure for failure in self.failures if failure.outcome is not Outcome.INTERRUPTED]
        if bad:
            page.append("")
            page += [line for failure in bad for line in _shown(failure)]
            hidden = sum(n for o, n in self.outcomes.items() if o not in (Outcome.OK, Outcome.INTERRUPTED)) - len(bad)
            if hidden > 0:
                page.append(f"  … and {hidden} more")
            page.append("")
        page.append(f"pqrun: {self._headline(seconds)}")
        if ended:
            page += self._details(metrics)
        if not self.input_complete:
            page.append("pqrun: the list of jobs was not read to its end")
        if again:
            page.append(f"pqrun: again: {again}")
        if log:
            page.append(f"pqrun: a log: {log}")
        return "\n".join(page)

    def _headline(self, seconds: float) -> str:
        counts = ", ".join(f"{self.outcomes[o]} {o}" for o in Outcome if self.outcomes.get(o))
        left = self.added - sum(self.outcomes.values())
        if left:
            counts += f"{', ' if counts else ''}{left} not run"
        if self.flaky:
            counts += f", {self.flaky} of them flaky"
        took = f"in {duration_text(seconds)}"
        if not self.added:
            return "no jobs"
        jobs = f"{self.added} job{'s' if self.added != 1 else ''}"
        if self.failed:
            return f"{self.failed} of {jobs} failed {took} ({counts})"
        stopped = f"stopped by {self.stopped.removeprefix('signal ')}: " if self.stopped else ""
        return f"{stopped}{jobs} {took} ({counts})"

    def _details(self, metrics: Metrics) -> list[str]:
        slowest = ", ".join(
            f"{plain(name)[:40]} {duration_text(seconds)}" for seconds, _, name in sorted(self._slowest, reverse=True)
        )
        ten = [f"{name.removeprefix('jobs_')} {_number(getattr(metrics, name))}" for name in TEN]
        return [f"  slowest: {slowest}", f"  metrics: {', '.join(ten[:5])},", f"           {', '.join(ten[5:])}"]


def _shown(failure: Failure) -> list[str]:
    name = safe(failure.spec.id)
    tries = f", {failure.attempts} tries" if failure.attempts > 1 else ""
    took = f" after {duration_text(failure.seconds)}" if failure.seconds else ""
    lines = [f"{str(failure.outcome).upper()} {name}: {safe(failure.how)}{took}{tries}"]
    command = shown_command(failure.spec.work)
    lines += [f"  $ {safe(line)}" for line in command.split("\n")[:3] if line][:3]
    lines += [f"    {line}" for line in failure.lines]
    return lines


def _last_lines(event: ev.AttemptEnded) -> list[str]:
    said = [safe(event.said.message)] if event.said.message else []
    if isinstance(event.exit, NotStarted):
        return [*said, safe(event.exit.why)]
    if why := getattr(event.exit, "why", ""):
        said.append(safe(why))
    if event.output is None:
        return said
    text = event.output.err.tail() or event.output.out.tail()
    lines = [line for line in text.decode("utf-8", "replace").replace("\r", "\n").split("\n") if line.strip()]
    return said + [plain(line)[:300] for line in lines[-LAST_LINES:]]


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else duration_text(value)


def resume_command(run: str) -> str:
    """The command that runs the failed ones again."""
    return f"pqrun resume {shlex.quote(run)} --failed"
