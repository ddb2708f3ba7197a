# SPDX-License-Identifier: LGPL-3.0-or-later
"""The log for CI and files: one line for each finished job, and a counter line now and then."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import inf
from time import localtime, strftime

from pqrun.core import events as ev
from pqrun.core.job import JobSpec, Outcome
from pqrun.core.text import describe_exit, escape_controls, format_duration, job_label, last_output, shorten
from pqrun.core.throughput import Throughput
from pqrun.engine.clock import Clock
from pqrun.output.writer import StreamWriter
from pqrun.ui.terminal import OUTCOME_STYLES, Style

COUNTER_INTERVAL_SECONDS = 30.0
MAX_LISTED_LINES = 500


class _AttemptTimes:
    """The attempts of an unfinished job. `last`: the end of the latest attempt that has ended."""

    __slots__ = ("attempt", "last", "runs", "started")

    def __init__(self) -> None:
        self.attempt = 0
        self.started = 0.0
        self.runs = False
        self.last: ev.AttemptEnded | None = None


class PlainLog:
    """An observer that writes log lines to stderr.

    `quiet`: only messages about the run itself. `verbose`: also a line for each start.
    Methods run on the dispatcher thread unless stated otherwise.
    """

    def __init__(
        self, err: StreamWriter, clock: Clock, paint: Style, *, quiet: bool = False, verbose: bool = False
    ) -> None:
        self._err = err
        self._clock = clock
        self._paint = paint
        self._rate = Throughput(clock.now())
        self._quiet = quiet
        self._verbose = verbose
        self._specs: dict[int, JobSpec] = {}
        self._tried: dict[int, _AttemptTimes] = {}
        self._lines: list[str] = []
        self._added = 0
        self._ended = 0
        self._outcomes: dict[str, int] = {}
        self._total: int | None = None
        self._counter_at = inf
        self._asked_to_list = False
        self._warnings: deque[str] = deque()

    def warn(self, text: str) -> None:
        """Print a warning at the next tick. Can be called on any thread."""
        self._warnings.append(f"pqrun: {text}")

    def list_running(self) -> None:
        """Print the running jobs at the next tick. Can be called on any thread."""
        self._asked_to_list = True

    def replay(self, events: Sequence[ev.Event]) -> None:
        """Take in the events of earlier processes without printing anything."""
        for event in events:
            self._note(event)
        self._lines.clear()
        self._total = None

    def on_events(self, events: Sequence[ev.Event]) -> None:
        """Collect lines. They are written at the next tick, after the jobs' output."""
        for event in events:
            self._note(event)
        if len(self._lines) > MAX_LISTED_LINES:
            self._flush()

    def tick(self) -> float:
        """Write the lines, with the counter line if it is due; return the seconds until it is."""
        now = self._clock.now()
        if self._asked_to_list:
            self._asked_to_list = False
            self._list(now)
        if self._counter_at == inf:
            self._counter_at = now + COUNTER_INTERVAL_SECONDS
        if now >= self._counter_at:
            self._counter_at = now + COUNTER_INTERVAL_SECONDS
            if not self._quiet:
                self._lines.append(f"{self._time(now)} {self._count()} {self._totals(now)}")
        self._flush()
        return self._counter_at - now

    def close(self) -> None:
        """Write the remaining lines."""
        self._flush()

    def _note(self, event: ev.Event) -> None:
        match event:
            case ev.JobAdded(_, seq, spec):
                self._added += 1
                if self._total is not None:
                    self._total += 1  # a client added it after the input had ended
                self._specs[seq] = spec
            case ev.JobReopened(_, seq, outcome, spec):
                self._ended -= 1
                self._outcomes[str(outcome)] -= 1
                self._specs[seq] = spec
            case ev.JobDropped(_, seq, outcome):
                self._added -= 1
                self._specs.pop(seq, None)
                self._tried.pop(seq, None)
                if outcome is not None:
                    self._ended -= 1
                    self._outcomes[str(outcome)] -= 1
            case ev.JobChanged(_, seq, spec) if seq in self._specs:
                self._specs[seq] = spec
            case ev.AttemptSubmitted(at, seq, attempt):
                job = self._try_of(seq)
                job.attempt, job.started, job.runs = attempt, at, True
                if self._verbose:
                    self._line(at, "start", seq, "")
            case ev.AttemptRefused(seq=seq):
                self._try_of(seq).runs = False
            case ev.AttemptStarted(at, seq):
                self._try_of(seq).started = at
            case ev.AttemptEnded(seq=seq):
                self._try_of(seq).runs = False
                self._try_of(seq).last = event
                for note in event.said.notes:
                    self._line(
                        event.at, "note", seq, f"invalid line in $PQRUN_REPORT: {escape_controls(note)}"
                    )
                if event.said.moved:
                    self._line(event.at, "note", seq, escape_controls(event.said.moved))
            case ev.JobWaiting(at, seq, attempt, until):
                last, spec = self._try_of(seq).last, self._specs[seq]
                how = describe_exit(last.exit, last.asked, spec.timeout) if last else ""
                tries = f"try {attempt}/{max(attempt, spec.retry.max + 1)} in {format_duration(until - at)}"
                self._line(at, "retry", seq, f"{tries}: {how}", "yellow")
            case ev.JobEnded():
                self._job_ended(event)
            case ev.InputEnded(_, jobs, complete, why):
                self._total = jobs
                if not complete:
                    self._say(f"the list of jobs was not read completely: {why}")
            case ev.SlotsChanged(_, slots, why):
                self._say(f"{why}: running at most {slots} jobs at a time")
            case ev.RunPaused(_, paused) if not self._quiet:
                self._say("paused: no job starts until `pqrun unpause`" if paused else "jobs start again")
            case ev.RunStopping():
                self._stopping(event)
            case _:
                pass

    def _try_of(self, seq: int) -> _AttemptTimes:
        """Return the attempt of a job; a new entry if an earlier process started it."""
        return self._tried.setdefault(seq, _AttemptTimes())

    def _job_ended(self, event: ev.JobEnded) -> None:
        self._ended += 1
        if event.attempts:
            self._rate.ended(event.at)
        self._outcomes[str(event.outcome)] = self._outcomes.get(str(event.outcome), 0) + 1
        spec = self._specs[event.seq]
        tried = self._tried.pop(event.seq, None)
        last = tried.last if tried is not None else None
        if event.outcome is Outcome.SKIPPED:
            rest = f"needs {escape_controls(event.because)}"
        elif last is None:
            rest = ""
        else:
            rest = format_duration(last.ended - last.began)
            if event.outcome is not Outcome.OK:
                rest += f"  {describe_exit(last.exit, last.asked, spec.timeout)}"
                if event.attempts > 1:
                    rest += f", try {event.attempts}"
        word = str(event.outcome) if event.outcome is Outcome.OK else str(event.outcome).upper()
        if event.allowed and event.outcome is not Outcome.SKIPPED:
            rest += " (may fail)"
        self._line(event.at, word, event.seq, rest, OUTCOME_STYLES[event.outcome])
        if last is not None and event.outcome in (Outcome.FAILED, Outcome.TIMEOUT) and not self._quiet:
            line = last_output(last)
            if line:
                self._lines.append(self._paint("dim", f"    {line}"))
        del self._specs[event.seq]

    def _stopping(self, event: ev.RunStopping) -> None:
        running = sum(job.runs for job in self._tried.values())
        cause = event.cause.removeprefix("signal ")
        if event.force:
            self._say(f"{cause}: killing the jobs that still run")
        elif event.drain:
            self._say(f"{cause}: starting no more jobs, waiting for {running} to finish")
        elif running:
            self._say(
                f"{cause}: stopping {running} job{'s' if running > 1 else ''} (press Ctrl-C again to kill)"
            )
        else:
            self._say(f"{cause}: stopping")

    def _line(self, at: float, word: str, seq: int, rest: str, style: str = "cyan") -> None:
        if not self._quiet:
            when = self._paint("dim", f"{self._time(at)} {self._count()}")
            word = self._paint(style, f"{word:<7}")
            self._lines.append(f"{when} {word} {self._name(seq):<24} {rest}".rstrip())

    def _name(self, seq: int) -> str:
        spec = self._specs[seq]
        return shorten(job_label(spec) if spec.named else f"{seq} {job_label(spec)}")

    def _say(self, text: str) -> None:
        self._lines.append(f"pqrun: {text}")

    def _count(self) -> str:
        total = str(self._total) if self._total is not None else "-"
        return f"[{self._ended:>{len(total)}}/{total}]"

    def _totals(self, now: float) -> str:
        running = sum(job.runs for job in self._tried.values())
        parts = [f"{count} {outcome}" for outcome, count in self._outcomes.items()]
        parts += [f"{running} running", f"{len(self._specs) - running} waiting"]
        if self._total is not None and (eta := self._rate.eta(now, len(self._specs))) is not None:
            parts.append(f"ETA {format_duration(eta)}")
        return ", ".join(parts)

    def _list(self, now: float) -> None:
        running = [(seq, job) for seq, job in self._tried.items() if job.runs]
        self._say(f"{len(running)} running, {len(self._specs) - len(running)} waiting, {self._ended} ended")
        for seq, job in running:
            for_so_long = format_duration(now - job.started)
            self._lines.append(f"    {self._name(seq)}  for {for_so_long}, try {job.attempt}")

    def _time(self, at: float) -> str:
        return strftime("%H:%M:%S", localtime(self._clock.wall(at)))

    def _flush(self) -> None:
        while self._warnings:
            self._lines.append(self._warnings.popleft())
        if self._lines:
            text = "\n".join(self._lines)
            self._lines = []
            self._err.say(text)
