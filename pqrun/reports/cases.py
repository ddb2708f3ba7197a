# SPDX-License-Identifier: LGPL-3.0-or-later
"""The jobs of a run one by one as they end, each with the end of its output."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from pqrun.core import events as ev
from pqrun.core.events import Handler
from pqrun.core.job import (
    CountedAs,
    ExitedWith,
    JobSpec,
    KilledBySignal,
    LostExit,
    NotStarted,
    Outcome,
    StopReason,
    format_command,
)
from pqrun.core.job_row import RUNNING, JobRow
from pqrun.core.job_table import JobTable
from pqrun.core.text import describe_exit, strip_ansi
from pqrun.reports import Report


class ReportedCase(NamedTuple):
    """One job of a report. `out` and `err`: the end of its last attempt's output, empty after success."""

    row: JobRow
    out: bytes = b""
    err: bytes = b""

    @property
    def verdict(self) -> str:
        """One of `ok`, `flaky`, `failed`, `error`, `allowed`, `skipped`, `unneeded`, `left`.

        `error`: a failure without an exit code or signal of the job's own, as after a timeout.
        `allowed`: a failure that the job may have. `unneeded`: skipped because the job was to run
        after a failure that did not happen. `left`: the job has not ended.
        """
        row = self.row
        match row.state:
            case "ok":
                return "flaky" if row.retries else "ok"
            case "failed" if not row.allowed:
                return "failed" if isinstance(row.exit, ExitedWith | KilledBySignal) else "error"
            case "timeout" if not row.allowed:
                return "error"
            case "failed" | "timeout":
                return "allowed"
            case "interrupted":
                return "error"
            case "skipped" if row.allowed:
                return "unneeded"
            case "skipped" | "cancelled":
                return "skipped"
        return "left"


class CaseReport(Report):
    """A report that gets each job as a case, when the job has ended for good.

    `tail`: bytes to keep of each stream of an attempt that failed.
    """

    tail = 0

    def __init__(self, table: JobTable) -> None:
        self.table = table
        self._tails: dict[int, tuple[bytes, bytes]] = {}
        self._failed: dict[int, bool] = {}  # whether the job may fail, by number
        self.handlers: dict[type, Handler] = {
            ev.AttemptEnded: self._attempt_ended,
            ev.JobEnded: self._job_ended,
            ev.JobReopened: self._taken_back,
            ev.JobDropped: self._taken_back,
            ev.JobChanged: self._changed,
        }

    def put(self, case: ReportedCase) -> None:
        """Report a job."""
        raise NotImplementedError

    def put_try(self, event: ev.AttemptEnded, case: ReportedCase) -> None:
        """Report an attempt that is followed by a retry."""

    def forget(self, seq: int) -> None:
        """Forget the case of a job, because the job runs again or was removed from the run."""

    def rest(self, *, live: bool = False) -> list[ReportedCase]:
        """Return the jobs that have not ended. Unless `live`, the running ones become interrupted."""
        cases = []
        for row in self.table.rows.values():
            if row.outcome is None:
                cases.append(ReportedCase(as_recorded(row, live=live)))
        return cases

    def _attempt_ended(self, event: ev.AttemptEnded, row: JobRow) -> None:
        counted, output = event.counted, event.output
        tails = (b"", b"")
        if output is not None and counted is not CountedAs.COMPLETED and self.tail:
            tails = (end_of(output.out, self.tail), end_of(output.err, self.tail))
        if counted is CountedAs.RETRIED:
            self.put_try(event, ReportedCase(row, *tails))
        elif tails != (b"", b""):
            self._tails[row.seq] = tails

    def _job_ended(self, event: ev.JobEnded, row: JobRow) -> None:
        if event.outcome in (Outcome.FAILED, Outcome.TIMEOUT):
            self._failed[event.seq] = event.allowed
        self.put(ReportedCase(row, *self._tails.pop(event.seq, ())))

    def _changed(self, event: ev.JobChanged, row: JobRow | None) -> None:
        """Report a failed job again if an edited list has changed whether it may fail."""
        if row is not None and self._failed.get(event.seq, row.allowed) != row.allowed:
            from pqrun.journal.stored_rows import recorded_output

            output = recorded_output(row)
            self.forget(event.seq)
            self._failed[event.seq] = row.allowed
            self.put(ReportedCase(row, end_of(output.out, self.tail), end_of(output.err, self.tail)))

    def _taken_back(self, event: ev.JobReopened | ev.JobDropped, _: JobRow | None) -> None:
        self._failed.pop(event.seq, None)
        self.forget(event.seq)


def end_of(stream: Any, limit: int) -> bytes:
    """Return the last `limit` bytes of a stream; empty if its file is gone."""
    try:
        return bytes(stream.tail(limit)) if stream.size else b""
    except OSError:
        return b""


MAX_NAME_LENGTH = 120
_ESCAPES = re.compile(
    r"\x1b\[[0-?]{0,64}[ -/]{0,8}[@-~]"  # colours, cursor movements
    r"|\x1b[\]PX^_][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)"  # titles, links
    r"|\x1b[ -/]{0,4}[0-~]"
)
# XML 1.0 forbids most of these characters. It allows U+007F to U+009F, but terminals obey them.
_NOT_TEXT = re.compile("[^\t\n -~\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_HARMLESS = re.compile(r"[^`|\\]+")


def printed(data: bytes) -> str:
    """Return output as text: without colours and control characters, with `\n` as line end."""
    text = _ESCAPES.sub("", data.decode("utf-8", "replace"))
    return _NOT_TEXT.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def last_lines(data: bytes, most: int, longest: int = 1000) -> list[str]:
    """Return the last `most` lines before trailing blank ones, each cut to `longest` characters."""
    lines = printed(data).rstrip().split("\n")[-most:]
    return [line[:longest] for line in lines] if any(lines) else []


def one_line(text: str, longest: int = 500) -> str:
    """Return text on one line, without escape sequences and control characters, cut to `longest`."""
    if not text:
        return ""
    text = _NOT_TEXT.sub("\ufffd", strip_ansi(" ".join(text[: 4 * longest].split())))
    return text if len(text) <= longest else text[: longest - 1] + "…"


def case_name(row: JobRow) -> str:
    """Return a job's name in reports: its id, or its command if the user gave no id."""
    return case_name_for(row.spec)


def case_name_for(spec: JobSpec) -> str:
    """Return the name for a job that has not begun. See `case_name`."""
    name = spec.id if spec.named else format_command(spec.work)
    return one_line(name, MAX_NAME_LENGTH if not spec.named else 1000) or spec.id


def describe_case(row: JobRow) -> str:
    """Return how a job ended, in a few words, with the reason if its exit is unknown (lost)."""
    if isinstance(row.exit, LostExit) and row.asked is None:
        return f"lost: {one_line(row.exit.why)}"
    return describe_exit(row.exit, row.asked, row.spec.timeout)


def code_span(text: str) -> str:
    """Return Markdown for a table cell that shows the text as it is."""
    text = one_line(text, 200) or " "
    if _HARMLESS.fullmatch(text) and text == text.strip():
        return f"`{text}`"
    # Markdown readers disagree about backslashes and bars in cells; all of them read entities.
    return f"<code>{''.join(c if c.isalnum() or c == ' ' else f'&#{ord(c)};' for c in text)}</code>"


def code_block(text: str) -> str:
    """Return a Markdown block that shows the text as it is."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def is_error(row: JobRow) -> bool:
    return row.asked is not None or not isinstance(row.exit, ExitedWith | KilledBySignal)


def about(row: JobRow) -> dict[str, str]:
    """Return the type and message of a failure, as JUnit's attributes."""
    match row.exit, row.asked:
        case _, StopReason.TIMEOUT | StopReason.IDLE:
            kind = "timeout"
        case ExitedWith(), _:
            kind = "exit"
        case KilledBySignal(), _:
            kind = "signal"
        case NotStarted(), _:
            kind = "not-started"
        case None, _:
            kind = row.state
        case _:
            kind = "lost"
    words = [describe_case(row) or row.state, *([one_line(row.message)] if row.message else [])]
    return {"type": kind, "message": ": ".join(words)}


def why_skipped(case: ReportedCase) -> str:
    row = case.row
    if case.verdict == "allowed":
        return f"failed, with allow_failure: {describe_case(row)}"
    return one_line(row.message) or row.state


def story(case: ReportedCase) -> str:
    """Return the text of a failed case: command, failure, and the last 20 lines of output."""
    row = case.row
    command = one_line(format_command(row.spec.work), 2000)
    tries = f", attempt {row.attempts}" if row.attempts > 1 else ""
    lines = last_lines(case.err, 20) or last_lines(case.out, 20)
    return "\n".join([f"$ {command}", f"{about(row)['message']}{tries}", *lines])


def as_recorded(row: JobRow, *, live: bool) -> JobRow:
    """Return the row of a job as reports show it. A job that ran when its run died is interrupted."""
    if row.state == RUNNING:
        row = row.copy()
        row.ended = row.seconds = None
        if not live:
            row.state = str(Outcome.INTERRUPTED)
            row.message = row.message or "pqrun ended while it ran"
            row.exit = row.asked = None
    return row
