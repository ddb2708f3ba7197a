# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a reader of test results is told of a job that did not simply pass."""

from __future__ import annotations

from pqrun.ledger import Row
from pqrun.model import Exited, NotStarted, Signalled, StopReason, shown_command
from pqrun.reports.cases import Case
from pqrun.reports.text import how, last_lines, one_line


def is_error(row: Row) -> bool:
    return row.asked is not None or not isinstance(row.exit, Exited | Signalled)


def about(row: Row) -> dict[str, str]:
    """Type and message of what went wrong."""
    match row.exit, row.asked:
        case _, StopReason.TIMEOUT | StopReason.IDLE:
            kind = "timeout"
        case Exited(), _:
            kind = "exit"
        case Signalled(), _:
            kind = "signal"
        case NotStarted(), _:
            kind = "not-started"
        case None, _:
            kind = row.state
        case _:
            kind = "lost"
    words = [how(row) or row.state, *([one_line(row.message)] if row.message else [])]
    return {"type": kind, "message": ": ".join(words)}


def why_skipped(case: Case) -> str:
    row = case.row
    if case.verdict == "allowed":
        return f"may fail, and did: {how(row)}"
    return one_line(row.message) or row.state


def story(case: Case) -> str:
    """What a reader shows under the failed case's name."""
    row = case.row
    command = one_line(shown_command(row.spec.work), 2000)
    tries = f", attempt {row.attempts}" if row.attempts > 1 else ""
    lines = last_lines(case.err, 20) or last_lines(case.out, 20)
    return "\n".join([f"$ {command}", f"{about(row)['message']}{tries}", *lines])
