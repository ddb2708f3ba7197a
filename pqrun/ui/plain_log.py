# SPDX-License-Identifier: LGPL-3.0-or-later
"""The log for CI and files: one line for each finished job, and a counter line now and then."""

from __future__ import annotations

from collections import deque
from math import inf
from time import localtime, strftime

from pqrun.core import events as ev
from pqrun.core.events import Handler, Observer
from pqrun.core.job import CountedAs, Outcome
from pqrun.core.job_row import PENDING, QUEUED, WAITING, JobRow
from pqrun.core.job_table import JobTable
from pqrun.core.layout import cells, cut_middle
from pqrun.core.text import (
    count_of,
    describe_exit,
    describe_stop,
    escape_controls,
    format_duration,
    job_label,
    last_output,
    shorten,
    try_of,
)
from pqrun.engine.clock import Clock, format_moment
from pqrun.output.writer import StreamWriter
from pqrun.ui.terminal import OUTCOME_STYLES, Piece, Style, lay_out

COUNTER_INTERVAL_SECONDS = 30.0
MAX_LISTED_LINES = 500
MIN_NAME_CELLS = 12
_BAD = (CountedAs.RETRIED, CountedAs.FAILED, CountedAs.TIMEOUT)


class PlainLog(Observer):
    """An observer that writes log lines to stderr.

    `quiet`: only messages about the run itself. `verbose`: also a line for each start. `quotes_failures`: also
    the last line that a failed job printed. The line of a retry is always quoted, for its output is not printed.
    Methods run on the dispatcher thread unless stated otherwise.
    """

    def __init__(
        self,
        table: JobTable,
        err: StreamWriter,
        clock: Clock,
        paint: Style,
        *,
        quiet: bool = False,
        verbose: bool = False,
        quotes_failures: bool = True,
    ) -> None:
        self._table = table
        self._err = err
        self._on_terminal = err.is_terminal
        self._clock = clock
        self._paint = paint
        self._quiet = quiet
        self._quoted = _BAD if quotes_failures else (CountedAs.RETRIED,)
        self._lines: list[str] = []
        self._last_output: dict[int, str] = {}
        self._counter_at = inf
        self._asked_to_list = False
        self._warnings: deque[str] = deque()
        self._has_delays = False
        self.handlers: dict[type, Handler] = {
            ev.InputEnded: self._input_ended,
            ev.SlotsChanged: self._slots_changed,
            ev.RunStopping: self._stopping,
        }
        if not quiet:
            self.handlers |= {
                ev.AttemptEnded: self._attempt_ended,
                ev.JobWaiting: self._waiting,
                ev.JobDelayed: self._delayed,
                ev.JobEnded: self._ended,
                ev.RunPaused: self._paused,
            }
            if verbose:
                self.handlers[ev.AttemptSubmitted] = self._submitted

    def warn(self, text: str) -> None:
        """Print a warning at the next tick. Can be called on any thread."""
        self._warnings.append(text)

    def list_running(self) -> None:
        """Print the running jobs at the next tick. Can be called on any thread."""
        self._asked_to_list = True

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
                self._lay_out([(f"{self._time(now)} {self._count()} {self._totals(now)}", "")])
        self._flush()
        return self._counter_at - now

    def close(self) -> None:
        """Write the remaining lines."""
        self._flush()

    def _submitted(self, event: ev.AttemptSubmitted, row: JobRow) -> None:
        self._line(event.at, "start", row, "")

    def _attempt_ended(self, event: ev.AttemptEnded, row: JobRow) -> None:
        for note in event.said.notes:
            self._line(event.at, "note", row, f"invalid line in $PQRUN_REPORT: {escape_controls(note)}")
        if event.said.moved:
            self._line(event.at, "note", row, escape_controls(event.said.moved))
        if event.counted in self._quoted and (line := last_output(event)):
            self._last_output[row.seq] = line  # read now, because another observer may remove the output

    def _waiting(self, event: ev.JobWaiting, row: JobRow) -> None:
        how = describe_exit(row.exit, row.asked, row.spec.timeout)
        wait = format_duration(event.until - event.at)
        self._line(event.at, "retry", row, f"{try_of(event.attempt, row.spec)} in {wait}: {how}", "yellow")
        self._quote(event.seq)

    def _delayed(self, event: ev.JobDelayed, row: JobRow) -> None:
        assert row.spec.not_before is not None
        self._has_delays = True
        text = (
            f"not before {format_moment(row.spec.not_before)}, in {format_duration(event.until - event.at)}"
        )
        self._line(event.at, "later", row, text)

    def _ended(self, event: ev.JobEnded, row: JobRow) -> None:
        ok = event.outcome is Outcome.OK
        if event.outcome is Outcome.SKIPPED:
            rest = f"needs {escape_controls(event.because)}"
        elif row.seconds is None:
            rest = ""
        else:
            rest = format_duration(row.seconds)
            if not ok:
                rest += f"  {describe_exit(row.exit, row.asked, row.spec.timeout)}"
                if event.attempts > 1:
                    rest += f", try {event.attempts}"
        if event.allowed and event.outcome is not Outcome.SKIPPED:
            rest += " (may fail)"
        word = str(event.outcome) if ok else str(event.outcome).upper()
        self._line(event.at, word, row, rest, OUTCOME_STYLES[event.outcome])
        self._quote(event.seq)

    def _input_ended(self, event: ev.InputEnded, _: None) -> None:
        if not event.complete:
            self._say(f"the list of jobs was not read completely: {event.why}")

    def _slots_changed(self, event: ev.SlotsChanged, _: None) -> None:
        self._say(f"{event.why}: running at most {count_of(event.slots, 'job')} at a time")

    def _paused(self, event: ev.RunPaused, _: None) -> None:
        self._say("paused: no job starts until `pqrun unpause`" if event.paused else "jobs start again")

    def _stopping(self, event: ev.RunStopping, _: None) -> None:
        running = len(self._table.running)
        cause = describe_stop(event.cause)
        if event.force:
            self._say(f"{cause}: killing the jobs that still run")
        elif event.drain:
            self._say(f"{cause}: starting no more jobs, waiting for {running} to finish")
        elif running:
            self._say(f"{cause}: stopping {count_of(running, 'job')} (press Ctrl-C again to kill)")
        else:
            self._say(f"{cause}: stopping")

    def _line(self, at: float, word: str, row: JobRow, rest: str, style: str = "cyan") -> None:
        when, name = f"{self._time(at)} {self._count()}", _name(row)
        if (width := self._width) is None:
            paint = self._paint
            line = f"{paint('dim', when)} {paint(style, f'{word:<7}')} {name:<24} {rest}"
            self._lines.append(line.rstrip())
        else:
            room = width - len(f"{when} {word:<7}  ") - cells(rest)
            name = cut_middle(name, max(room, MIN_NAME_CELLS))
            self._lay_out([(when, "dim"), (f" {word:<7}", style), (f" {name:<24} {rest}".rstrip(), "")])
        if len(self._lines) > MAX_LISTED_LINES:
            self._flush()

    def _quote(self, seq: int) -> None:
        """Add the last line of output that was kept of an attempt."""
        if self._last_output and (line := self._last_output.pop(seq, "")):
            self._lay_out([(f"    {line}", "dim")])

    def _say(self, text: str) -> None:
        self._lay_out([(f"pqrun: {text}", "")])

    def _lay_out(self, pieces: list[Piece]) -> None:
        self._lines += lay_out(pieces, self._paint, self._width, "    ")

    @property
    def _width(self) -> int | None:
        """The width of lines on a terminal, in cells; None elsewhere."""
        window = self._err.window if self._on_terminal else None
        return None if window is None else window[0] - 1

    def _count(self) -> str:
        total = str(self._table.added) if self._table.input_ended else "-"
        return f"[{self._table.ended_count:>{len(total)}}/{total}]"

    def _totals(self, now: float) -> str:
        table = self._table
        parts = [f"{count} {outcome}" for outcome, count in table.outcomes.items() if count]
        parts += self._unfinished()
        if table.input_ended and (eta := table.seconds_left(now)) is not None:
            parts.append(f"ETA {format_duration(eta)}")
        return ", ".join(parts)

    def _unfinished(self) -> list[str]:
        """Return the counts of jobs that have not ended, in the words of `ps`."""
        states = self._table.states
        waiting = "waiting" if self._has_delays else "waiting to retry"
        counts = [f"{states[WAITING]} {waiting}"] if states[WAITING] else []
        counts += [f"{len(self._table.running)} running", f"{states[QUEUED]} queued"]
        return counts + ([f"{states[PENDING]} pending"] if states[PENDING] else [])

    def _list(self, now: float) -> None:
        table = self._table
        self._say(f"{', '.join(self._unfinished())}, {table.ended_count} ended")
        for row in table.running.values():
            took = f"for {format_duration(now - row.since)}, try {row.attempts}"
            self._lay_out([(f"    {_name(row)}  {took}", "")])

    def _time(self, at: float) -> str:
        return strftime("%H:%M:%S", localtime(self._clock.wall(at)))

    def _flush(self) -> None:
        while self._warnings:
            self._say(self._warnings.popleft())
        if self._lines:
            text = "\n".join(self._lines)
            self._lines = []
            self._err.say(text)


def _name(row: JobRow) -> str:
    label = job_label(row.spec)
    return shorten(label if row.spec.named else f"{row.seq} {label}")
