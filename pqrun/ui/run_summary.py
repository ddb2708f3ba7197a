# SPDX-License-Identifier: LGPL-3.0-or-later
"""The summary at the end of a run, collected from events in bounded memory."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple

from pqrun.core import events as ev
from pqrun.core import text as hints
from pqrun.core.job import CountedAs, JobSpec, NotStarted, Outcome, format_command, is_gone
from pqrun.core.metrics import CORE_METRICS, Metrics
from pqrun.core.text import describe_exit, escape_controls, format_duration, job_label, shorten, strip_ansi
from pqrun.ui.terminal import OUTCOME_STYLES, Style

MAX_FAILURES = 20
MAX_TAIL_LINES = 5
MAX_SLOWEST = 3
MAX_LINE_LENGTH = 300


class SummaryFailure(NamedTuple):
    """A job that did not end well, with its last lines of output."""

    seq: int
    spec: JobSpec
    outcome: Outcome
    how: str
    attempts: int
    seconds: float
    lines: list[str]

    @property
    def is_final(self) -> bool:
        """Whether `resume` will leave the job as it is, unless asked for failed jobs."""
        return self.outcome is not Outcome.INTERRUPTED or not self.spec.rerun


class RunSummary:
    """An observer that counts outcomes and keeps the first `MAX_FAILURES` failures."""

    def __init__(self) -> None:
        self.failures: list[SummaryFailure] = []
        self.not_kept = 0
        self.failed = 0
        self.outcomes: dict[Outcome, int] = {}
        self.added = 0
        self.input_complete = True
        self.stopped = ""
        self._specs: dict[int, JobSpec] = {}
        self._bad: set[int] = set()
        self._tried: set[int] = set()
        self._flaky: set[int] = set()
        self._last: dict[int, ev.AttemptEnded] = {}
        self._slowest: list[tuple[float, int, int, str]] = []

    @property
    def flaky(self) -> int:
        """The number of jobs that succeeded only after a failed attempt.

        An attempt that was interrupted with its run does not count as failed.
        """
        return len(self._flaky)

    @property
    def left_undone(self) -> bool:
        """Whether some jobs have not ended, or were interrupted by the end of the run."""
        return sum(self.outcomes.values()) < self.added or bool(self.outcomes.get(Outcome.INTERRUPTED))

    def on_events(self, events: Sequence[ev.Event]) -> None:
        """Take in events. Called on the dispatcher thread."""
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
                case ev.AttemptEnded(seq=seq, counted=counted):
                    self._last[seq] = event
                    if counted is CountedAs.RETRIED and not is_gone(event.exit):
                        self._tried.add(seq)
                    self._time(event)
                case ev.JobEnded():
                    self._ended(event)
                case ev.InputEnded(complete=complete):
                    self.input_complete = complete
                case ev.RunStopping(cause=cause):
                    self.stopped = self.stopped or cause
                case _:
                    pass

    def replay(self, events: Sequence[ev.Event]) -> None:
        """Take in the events of earlier processes; the reason why those stopped is dropped."""
        self.on_events(events)
        self.stopped = ""

    def close(self) -> None:
        """Do nothing: the summary is printed later, by `RunDisplay.say_last_page`."""

    def _take_back(self, seq: int, outcome: Outcome) -> None:
        """Undo the outcome of a job that runs again or is removed from the run."""
        self.outcomes[outcome] -= 1
        self.failed -= seq in self._bad
        self._bad.discard(seq)
        self._flaky.discard(seq)
        if outcome is not Outcome.INTERRUPTED:
            self._tried.discard(seq)
        self.failures = [failure for failure in self.failures if failure.seq != seq]

    def _time(self, event: ev.AttemptEnded) -> None:
        seconds = event.ended - event.began
        if len(self._slowest) < MAX_SLOWEST or seconds > self._slowest[0][0]:
            name = job_label(self._specs[event.seq])
            heapq.heappush(self._slowest, (seconds, event.seq, event.attempt, name))
            if len(self._slowest) > MAX_SLOWEST:
                heapq.heappop(self._slowest)

    @property
    def slowest(self) -> list[tuple[str, float]]:
        """The longest attempts, as pairs of label and seconds."""
        return [(name, seconds) for seconds, _, _, name in sorted(self._slowest, reverse=True)]

    def _ended(self, event: ev.JobEnded) -> None:
        spec, last = self._specs.pop(event.seq), self._last.pop(event.seq, None)
        self.outcomes[event.outcome] = self.outcomes.get(event.outcome, 0) + 1
        if event.outcome is Outcome.OK and event.seq in self._tried:
            self._flaky.add(event.seq)
        if event.outcome is not Outcome.INTERRUPTED:
            self._tried.discard(event.seq)
        if event.outcome is Outcome.OK or (event.outcome is Outcome.SKIPPED and event.allowed):
            return
        if not event.allowed and (event.outcome is not Outcome.INTERRUPTED or not spec.rerun):
            self.failed += 1
            self._bad.add(event.seq)
        if len(self.failures) >= MAX_FAILURES:
            self.not_kept += 1
            return
        how = describe_exit(last.exit, last.asked, spec.timeout) if last else ""
        if event.outcome is Outcome.SKIPPED:
            how = f"needs {event.because}"
        elif last is None:
            how = "before it began"
        if event.allowed:
            how += " (may fail)"
        seconds = last.ended - last.began if last else 0.0
        lines = _last_lines(last) if last else []
        self.failures.append(
            SummaryFailure(event.seq, spec, event.outcome, how, event.attempts, seconds, lines)
        )


def _last_lines(event: ev.AttemptEnded) -> list[str]:
    said = [strip_ansi(event.said.message)] if event.said.message else []
    if isinstance(event.exit, NotStarted):
        return [*said, strip_ansi(event.exit.why)]
    if why := getattr(event.exit, "why", ""):
        said.append(strip_ansi(why))
    if event.output is None:
        return said
    try:
        text = event.output.err.tail() or event.output.out.tail()
    except OSError:
        return said  # the output file has been removed
    lines = [strip_ansi(line) for line in text.decode("utf-8", "replace").replace("\r", "\n").split("\n")]
    return said + [line[:MAX_LINE_LENGTH] for line in lines if line][-MAX_TAIL_LINES:]


COMMAND_LINES = 3
MAX_COMMAND_LENGTH = 300


def format_summary(page: RunSummary, metrics: Metrics, seconds: float, paint: Style, *, run: str = "") -> str:
    """Return the summary as text.

    With `run`, the name of a recorded run, the commands for its logs and for `resume` are added.
    """
    lines: list[str] = []
    bad = [failure for failure in page.failures if failure.is_final]
    if bad:
        lines.append("")
        lines += [line for failure in bad for line in _failure(failure, paint)]
        if page.not_kept:
            lines.append(f"… and {page.not_kept} more")
        lines.append("")
    lines.append(f"pqrun: {_headline(page, metrics, seconds, paint)}")
    if sum(page.outcomes.values()):
        lines += _details(page, metrics, paint)
    if not page.input_complete:
        lines.append("pqrun: the list of jobs was not read completely")
    return "\n".join(lines + (_next_commands(page, run, bad, paint) if run else []))


def _failure(failure: SummaryFailure, paint: Style) -> list[str]:
    style = OUTCOME_STYLES[failure.outcome]
    how = paint(style.removeprefix("bold "), escape_controls(failure.how))
    took = f" after {format_duration(failure.seconds)}" if failure.seconds else ""
    tries = f", {failure.attempts} tries" if failure.attempts > 1 else ""
    heading = (
        f"{paint(style, str(failure.outcome).upper())} {paint('bold', escape_controls(failure.spec.id))}"
    )
    lines = [f"{heading}: {how}{took}{tries}"]
    command = [line for line in format_command(failure.spec.work).split("\n") if line.strip()]
    for line in command[:COMMAND_LINES]:
        lines.append(paint("cyan", f"  $ {escape_controls(shorten(line, MAX_COMMAND_LENGTH), keep='')}"))
    return lines + [f"  {paint('dim', '│')} {line}" for line in failure.lines]


def _headline(page: RunSummary, metrics: Metrics, seconds: float, paint: Style) -> str:
    if not page.added:
        return "no jobs"
    counts = [paint(OUTCOME_STYLES[o], f"{page.outcomes[o]} {o}") for o in Outcome if page.outcomes.get(o)]
    if metrics.jobs_retried:
        counts.append(paint("yellow", f"{metrics.jobs_retried} retried"))
    if left := page.added - sum(page.outcomes.values()):
        counts.append(f"{left} not run")
    if page.flaky:
        counts.append(f"{page.flaky} flaky")
    took = f"in {format_duration(seconds)} ({', '.join(counts)})"
    jobs = f"{page.added} job{'s' if page.added != 1 else ''}"
    if page.failed:
        return f"{paint('bold red', f'{page.failed} of {jobs} failed')} {took}"
    stopped = f"stopped by {page.stopped.removeprefix('signal ')}: " if page.stopped else ""
    return f"{stopped}{paint('bold', jobs)} {took}"


def _details(page: RunSummary, metrics: Metrics, paint: Style) -> list[str]:
    slowest = ", ".join(f"{shorten(name, 40)} {format_duration(seconds)}" for name, seconds in page.slowest)
    ten = [f"{paint('dim', _word(name))} {_number(getattr(metrics, name))}" for name in CORE_METRICS]
    lines = [f"  {paint('dim', 'slowest')}  {slowest}"] if slowest else []
    lines.append(f"  {paint('dim', 'metrics')}  {', '.join(ten[:6])},")
    return [*lines, f"           {', '.join(ten[6:])}"]


def _next_commands(page: RunSummary, run: str, bad: list[SummaryFailure], paint: Style) -> list[str]:
    commands = []
    if bad:
        one = bad[0].spec.id
        name = one if one.isprintable() else str(bad[0].seq)
        commands.append(("see a log", hints.command("logs", run, name)))
        commands.append(("run failed jobs again", hints.command("resume", run, options="--failed")))
    elif sum(page.outcomes.values()) < page.added or page.outcomes.get(Outcome.INTERRUPTED):
        commands.append(("continue", hints.command("resume", run)))
    else:
        commands.append(("see more", hints.command("show", run)))
    width = max(len(what) for what, _ in commands)
    return [f"  {paint('dim', f'{what:<{width}}')}  {paint('bold', command)}" for what, command in commands]


def _word(name: str) -> str:
    return name.removeprefix("jobs_").replace("_", " ").replace("average", "avg").replace("current ", "")


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else format_duration(value)
