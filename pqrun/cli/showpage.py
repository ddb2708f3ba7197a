# SPDX-License-Identifier: LGPL-3.0-or-later
"""The page of `show`: what went wrong first, then what is not over, then what went well; the metrics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pqrun.capture import Logs
from pqrun.cli.looking import Page
from pqrun.cli.showing import Seen, see
from pqrun.display.paint import OUTCOME_STYLES, Paint
from pqrun.display.safe import last_line, plain, safe
from pqrun.display.words import name_of, short
from pqrun.journal.entry import Entry
from pqrun.journal.history import LIVE
from pqrun.journal.index import Index, consult
from pqrun.journal.rows import exit_of, row_of
from pqrun.journal.rundir import find_run
from pqrun.ledger import Row
from pqrun.metrics import TEN
from pqrun.model import Key, Outcome, StopReason
from pqrun.words import duration_text, how_it_ended

MOST_WELL = 100
MOST_READ = 200
NAME = 40
SAID = 100
_WELL = "state = 'ok' AND attempts = 1"
_BAD_FIRST = (
    "CASE state WHEN 'ok' THEN 2 WHEN 'running' THEN 1 WHEN 'waiting' THEN 1 WHEN 'queued' THEN 1"
    " WHEN 'pending' THEN 1 ELSE 0 END, seq"
)
_STYLES = {**OUTCOME_STYLES, "running": "cyan", "waiting": "yellow"}


class Line(NamedTuple):
    """One job, or one of its earlier attempts."""

    seq: str
    name: str
    state: str
    how: str
    tries: str
    took: str
    said: str = ""


class Told(NamedTuple):
    """All that the page says."""

    seen: Seen
    lines: list[Line]
    well: list[tuple[int, str, int, str, float, float]]
    not_shown: int


def print_page(name: str, *, everything: bool) -> None:
    """The page on stdout."""
    page = Page()
    run = find_run(name)
    live = run.in_use()
    most = -1 if everything or not page.is_terminal else MOST_WELL
    told = consult(run, lambda index: _look(index, live=live, most_well=most))
    page.say("\n".join(_page(told, page)))
    page.end()


def _look(index: Index, *, live: bool, most_well: int) -> Told:
    seen = see(index, live=live)
    logs = Logs(index.run.logs, keep=True)
    lines: list[Line] = []
    for entry in index.entries(f"NOT ({_WELL})", order=_BAD_FIRST):
        row = row_of(entry, logs, live=live)
        read = len(lines) < MOST_READ and row.state not in ("ok", "running")
        lines += _attempts(index, entry) if entry.attempts > 1 and len(lines) < 10 * MOST_READ else []
        lines.append(_line(row, seen.metrics_at, read=read))
    columns = "seq, id, named, run, began, ended"
    well = index.rows(columns, _WELL, order=f"seq LIMIT {most_well}")
    return Told(seen, lines, well, index.count(_WELL) - len(well))
