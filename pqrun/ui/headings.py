# SPDX-License-Identifier: LGPL-3.0-or-later
"""The lines above what jobs printed on a terminal: whose output it is, how the job ended, and how long it took."""

from __future__ import annotations

from pqrun.core import events as ev
from pqrun.core.events import Handler, Observer
from pqrun.core.job import CountedAs, NotStarted
from pqrun.core.job_row import JobRow
from pqrun.core.layout import cells, cut, cut_middle
from pqrun.core.text import MAX_LABEL_LENGTH, describe_exit, format_duration, job_label, last_output, try_of
from pqrun.output.writer import StreamWriter
from pqrun.ui.terminal import Piece, Style

MIN_LABEL_CELLS = 12


class OutputHeadings(Observer):
    """The headings of grouped output, for the printer, and lines of their own for retries.

    Only for a terminal. `retries`: say why attempts are tried again, because no other part does. Observe
    before the printer, which may remove the output that a retry's line quotes.
    """

    def __init__(self, err: StreamWriter, paint: Style, *, retries: bool) -> None:
        self._err = err
        self._paint = paint
        self._reasons: dict[int, str] = {}
        self.handlers: dict[type, Handler] = {}
        if retries:
            self.handlers = {ev.AttemptEnded: self._attempt_ended, ev.JobWaiting: self._waiting}

    def group(self, event: ev.AttemptEnded, row: JobRow) -> str:
        """Return the heading of an attempt's output: `── train  ok  20s ──`."""
        outcome, style, how = _outcome(event, row)
        facts = [(outcome, style)]
        if how:
            facts.append((how, "dim"))
        if event.attempt > 1:
            facts.append((try_of(event.attempt, row.spec), "dim"))
        if not isinstance(event.exit, NotStarted):
            facts.append((format_duration(event.ended - event.began), "dim"))
        return self._heading(row, facts)

    def _attempt_ended(self, event: ev.AttemptEnded, row: JobRow) -> None:
        if event.counted is CountedAs.RETRIED and (line := last_output(event)):
            self._reasons[event.seq] = line

    def _waiting(self, event: ev.JobWaiting, row: JobRow) -> None:
        how = describe_exit(row.exit, row.asked, row.spec.timeout)
        if reason := self._reasons.pop(event.seq, ""):
            how = f"{how}: {reason}"
        again = f"{try_of(event.attempt, row.spec)} in {format_duration(event.until - event.at)}"
        facts = [("retry", "yellow"), (again, "dim")]
        room = self._width - _cells_of(facts) - 2  # for the label and the reason
        least = min(cells(how), room - max(MIN_LABEL_CELLS, room * 2 // 5))
        how = cut(how, max(least, room - cells(_label(row))))
        self._err.say(self._heading(row, facts + [(how, "dim")] * bool(how)))

    @property
    def _width(self) -> int:
        columns, _ = self._err.window or (80, 24)
        return columns - 1  # a full line would wrap on some terminals

    def _heading(self, row: JobRow, facts: list[Piece]) -> str:
        """Return a line of the label, the facts and a rule; facts that don't fit go, the last but one first."""
        width, label = self._width, _label(row)
        wanted = min(cells(label), MIN_LABEL_CELLS)
        while len(facts) > 1 and width - _cells_of(facts) < wanted:
            facts = [*facts[:-2], facts[-1]] if len(facts) > 2 else facts[:1]
        label = cut_middle(label, max(1, width - _cells_of(facts)))
        paint = self._paint
        shown = "".join(f"  {paint(style, text)}" for text, style in facts)
        rule = "─" * (width - cells(label) - _cells_of(facts) + 2)
        return f"{paint('dim', '──')} {paint('bold', label)}{shown} {paint('dim', rule)}"


def _label(row: JobRow) -> str:
    return cut_middle(job_label(row.spec), MAX_LABEL_LENGTH)


def _cells_of(facts: list[Piece]) -> int:
    """Return the cells of a heading without its label, with the shortest rule."""
    return cells("──  ──") + sum(2 + cells(text) for text, _ in facts)


def _outcome(event: ev.AttemptEnded, row: JobRow) -> tuple[str, str, str]:
    """Return an attempt's outcome, its style, and how it ended if the outcome does not say it."""
    how = describe_exit(event.exit, event.asked, row.spec.timeout)
    may = " (may fail)" if row.spec.allow_failure else ""
    match event.counted:
        case CountedAs.COMPLETED:
            return ("ok, flaky", "yellow", "") if row.retries else ("ok", "green", "")
        case CountedAs.TIMEOUT if how.startswith("timeout"):
            return how + may, "bold magenta", ""
        case CountedAs.TIMEOUT:
            return "timeout" + may, "bold magenta", how
        case CountedAs.STOPPED:
            return how, "yellow", ""
    return "failed" + may, "bold red", how
