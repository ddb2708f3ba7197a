# SPDX-License-Identifier: LGPL-3.0-or-later
"""The jobs of a run one by one as they end, each with the end of what it printed.

A job that has ended is handed on and forgotten, so that a run may have any number of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from pqrun.core import events as ev
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
from pqrun.core.job_table import JobRow, JobTable
from pqrun.core.text import describe_exit, strip_ansi

NEVER_RAN = ("pending", "queued", "waiting")


class ReportedCase(NamedTuple):
    """One job. `out` and `err` are the last bytes of its last attempt, empty if that went well."""

    row: JobRow
    out: bytes = b""
    err: bytes = b""

    @property
    def verdict(self) -> str:
        """`ok`, `flaky`, `failed`, `error` (no code tells), `allowed`, `skipped`, `unneeded`, `left`."""
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


class ReportedCases:
    """Folds events. `tail`: so many bytes of each stream of what did not go well are wanted.

    `ended` gets each job when it has ended for good; `again` the number of one that is to be forgotten,
    because it runs once more or is no longer part of the run; `tried` each attempt that is followed by
    another.
    """

    def __init__(
        self,
        ended: Callable[[ReportedCase], None],
        again: Callable[[int], None],
        *,
        tail: int,
        tried: Callable[[JobRow, ev.AttemptEnded, ReportedCase], None] | None = None,
    ) -> None:
        self.table = JobTable()
        self._ended = ended
        self._again = again
        self._tried = tried
        self._tail = tail
        self._tails: dict[int, tuple[bytes, bytes]] = {}

    def hear(self, events: Iterable[ev.Event]) -> None:
        """Takes in what happened, in order."""
        rows = self.table.rows
        for event in events:
            match event:
                case ev.JobReopened(seq=seq, spec=spec):
                    if seq not in rows:
                        rows[seq] = JobRow(seq, spec)
                    self._again(seq)
                case ev.JobDropped(seq=seq) if seq not in rows:
                    self._again(seq)
                    continue
                case ev.StatusReported() | ev.OutputGrew():
                    continue
            self.table.on_events((event,))
            match event:
                case ev.AttemptEnded(seq=seq, counted=counted, output=output):
                    self._attempt_ended(rows[seq], event, counted, output)
                case ev.JobEnded(seq=seq):
                    out, err = self._tails.pop(seq, (b"", b""))
                    self._ended(ReportedCase(rows.pop(seq), out, err))

    def rest(self, *, live: bool = False) -> list[ReportedCase]:
        """The jobs that have not ended; what runs in a run that is over was interrupted."""
        cases = []
        for row in self.table.rows.values():
            if row.state == "running" and not live:
                row.state = str(Outcome.INTERRUPTED)
                row.message = row.message or "pqrun ended while it ran"
                row.exit = row.asked = None
            cases.append(ReportedCase(row))
        return cases

    def _attempt_ended(self, row: JobRow, event: ev.AttemptEnded, counted: CountedAs, output: Any) -> None:
        tails = (b"", b"")
        if output is not None and counted is not CountedAs.COMPLETED and self._tail:
            tails = (end_of(output.out, self._tail), end_of(output.err, self._tail))
        if counted is not CountedAs.RETRIED:
            self._tails[row.seq] = tails
        elif self._tried is not None:
            self._tried(row, event, ReportedCase(row, *tails))


def end_of(stream: Any, limit: int) -> bytes:
    """The last bytes of what an attempt printed; none if they are gone."""
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
# Of what Unicode has, XML 1.0 can't hold these; DEL and its followers it can, but no screen should.
_NOT_TEXT = re.compile("[^\t\n -~\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_HARMLESS = re.compile(r"[^`|\\]+")


def printed(data: bytes) -> str:
    """Output as text: without colours and control characters, lines ending in a newline."""
    text = _ESCAPES.sub("", data.decode("utf-8", "replace"))
    return _NOT_TEXT.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def last_lines(data: bytes, most: int, longest: int = 1000) -> list[str]:
    """The last lines that are not blank at the end, each cut to so many characters."""
    lines = printed(data).rstrip().split("\n")[-most:]
    return [line[:longest] for line in lines] if any(lines) else []


def one_line(text: str, longest: int = 500) -> str:
    """Any text on one line, without what steers; cut to so many characters."""
    text = _NOT_TEXT.sub("\ufffd", strip_ansi(" ".join(text[: 4 * longest].split())))
    return text if len(text) <= longest else text[: longest - 1] + "…"


def case_name(row: JobRow) -> str:
    """What to call a job: its id, or its command if it has none of its own."""
    return case_name_for(row.spec)


def case_name_for(spec: JobSpec) -> str:
    """The same, of one that has not begun."""
    name = spec.id if spec.named else format_command(spec.work)
    return one_line(name, MAX_NAME_LENGTH if not spec.named else 1000) or spec.id


def describe_case(row: JobRow) -> str:
    """How it ended, in a few words; `lost` tells why."""
    if isinstance(row.exit, LostExit) and row.asked is None:
        return f"lost: {one_line(row.exit.why)}"
    return describe_exit(row.exit, row.asked, row.spec.timeout)


def code_span(text: str) -> str:
    """For one cell of a Markdown table: shown as it is, whatever is in it."""
    text = one_line(text, 200) or " "
    if _HARMLESS.fullmatch(text) and text == text.strip():
        return f"`{text}`"
    # Readers disagree about backslashes and bars in cells, but not about these.
    return f"<code>{''.join(c if c.isalnum() or c == ' ' else f'&#{ord(c)};' for c in text)}</code>"


def code_block(text: str) -> str:
    """Markdown that shows text as it is."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def is_error(row: JobRow) -> bool:
    return row.asked is not None or not isinstance(row.exit, ExitedWith | KilledBySignal)


def about(row: JobRow) -> dict[str, str]:
    """Type and message of what went wrong."""
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
        return f"may fail, and did: {describe_case(row)}"
    return one_line(row.message) or row.state


def story(case: ReportedCase) -> str:
    """What a reader shows under the failed case's name."""
    row = case.row
    command = one_line(format_command(row.spec.work), 2000)
    tries = f", attempt {row.attempts}" if row.attempts > 1 else ""
    lines = last_lines(case.err, 20) or last_lines(case.out, 20)
    return "\n".join([f"$ {command}", f"{about(row)['message']}{tries}", *lines])
