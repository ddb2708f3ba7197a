# SPDX-License-Identifier: LGPL-3.0-or-later
"""The tables of `runs` and `prune`: recorded runs, and the runs that were deleted.

Loaded by these commands alone: the help of commands must not load the journal.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from pqrun.cli.console import Console
from pqrun.core import text as hints
from pqrun.core import unicode_json as unicodejson
from pqrun.core.text import escape_controls, format_duration
from pqrun.journal.run_directory import runs_directory
from pqrun.journal.run_list import (
    DAMAGED,
    DIED,
    LIVE,
    STOPPED,
    PrunePolicy,
    RunListing,
    past_runs,
    prune_runs,
    shortest_prefixes,
)
from pqrun.ui.terminal import Style

TITLES = ("run", "started", "took", "jobs", "ok", "failed", "left", "state", "source")
_RIGHT = {"took", "jobs", "ok", "failed", "left"}
_STATES = {LIVE: "cyan", STOPPED: "yellow", DIED: "bold yellow", DAMAGED: "bold red"}


def print_runs(*, as_json: bool) -> None:
    """Print the recorded runs as a table or a JSON document."""
    page = Console()
    past = past_runs()
    if as_json:
        page.say(unicodejson.as_json({"schema": 1, "runs": [_facts(run) for run in past]}, indent=1))
    elif past:
        for line in _table(past, time.time(), page.paint, page.width):
            page.say(line)
        if page.is_terminal:
            count = f"{len(past)} run{'s' if len(past) != 1 else ''} in {escape_controls(_home(runs_directory()))}"
            page.say(
                "\n"
                + page.paint(
                    "dim", f"the bold letters are enough to name a run; `latest` is the newest · {count}"
                )
            )
    else:
        page.note(f"no runs are recorded in {escape_controls(runs_directory())}")
    page.end()


def print_pruned(*, days: int, runs: int, size: int, dry_run: bool) -> None:
    """Delete old runs, and print each. `size` in bytes; `dry_run`: delete nothing."""
    page = Console()
    now = time.time()
    freed = count = 0
    for past, bytes_freed in prune_runs(PrunePolicy(days, runs, size), now, dry_run=dry_run):
        began = _when(past.began, now, screen=page.is_terminal)
        page.say(f"{escape_controls(past.id)}  {began}  {past.jobs} jobs  {size_text(bytes_freed)}")
        freed += bytes_freed
        count += 1
    what = f"{count} run{'s' if count != 1 else ''}"
    page.say(f"{what} {'would be removed' if dry_run else 'removed'}, {size_text(freed)}")
    page.end()


def _facts(past: RunListing) -> dict[str, Any]:
    from pqrun.reports.json_document import run_facts

    facts = run_facts(
        past.id,
        state=past.state,
        files=past.files,
        workers=past.workers,
        began=past.began,
        ended=past.ended,
        input_complete=past.complete,
        directory=past.run.path,
        guarded=past.guarded,
    )
    counts = {"jobs": past.jobs, "failed": past.failed, "left": past.left}
    return {**facts, **counts, "outcomes": dict(past.outcomes)}


def _table(past: Sequence[RunListing], now: float, paint: Style, width: int | None) -> list[str]:
    prefixes = shortest_prefixes(run.id for run in past)
    rows = [_cells(run, now, screen=width is not None) for run in past]
    widths = [max(len(title), *(len(row[n]) for row in rows)) for n, title in enumerate(TITLES[:-1])]

    def line(cells: Sequence[str], styles: Sequence[str], prefix: int = 0) -> str:
        parts = []
        for title, cell, size, style in zip(TITLES, cells, widths, styles, strict=False):
            padded = cell.rjust(size) if title in _RIGHT else cell.ljust(size)
            if title == "run" and prefix:
                parts.append(paint("bold cyan", padded[:prefix]) + paint("cyan", padded[prefix:]))
            else:
                parts.append(paint(style, padded))
        room = None if width is None else max(width - sum(widths) - 2 * len(widths) - 1, 8)
        last = cells[-1] if room is None or len(cells[-1]) <= room else cells[-1][: room - 1] + "…"
        return "  ".join([*parts, paint(styles[-1], last)]).rstrip()

    lines = [line(TITLES, ["dim"] * len(TITLES))]
    for run, cells in zip(past, rows, strict=True):
        lines.append(line(cells, _styles(run), prefixes[run.id]))
    return lines


def _cells(past: RunListing, now: float, *, screen: bool) -> list[str]:
    took = format_duration(max(0.0, (now if past.ended is None else past.ended) - past.began))
    source = " ".join(hints.quoted_word(file) for file in past.files if file != "-") or "stdin"
    if past.trouble:
        took, source = "", past.trouble
    elif past.left and past.state not in (LIVE, DAMAGED):
        source += f"  ({hints.command('resume', past.id)})"
    counts = [past.jobs, past.outcomes["ok"], past.failed, past.left]
    numbers = [f"{count:,}".replace(",", " ") if screen else str(count) for count in counts]
    return [
        escape_controls(past.id),
        _when(past.began, now, screen=screen),
        took,
        *numbers,
        past.state,
        escape_controls(source),
    ]


def _styles(past: RunListing) -> list[str]:
    failed = "bold red" if past.failed else "dim"
    state = _STATES.get(past.state) or ("red" if past.failed else "green")
    return ["", "", "", "", "green", failed, "yellow" if past.left else "dim", state, ""]


def _when(at: float, now: float, *, screen: bool) -> str:
    """Return a time for people on a terminal (`today 14:05`), else in a form that sorts."""
    moment, today = datetime.fromtimestamp(at), datetime.fromtimestamp(now)
    if not screen:
        return moment.strftime("%Y-%m-%d %H:%M:%S")
    if moment.date() == today.date():
        return moment.strftime("today %H:%M")
    if moment.date() == today.date() - timedelta(days=1):
        return moment.strftime("yesterday %H:%M")
    return moment.strftime("%-d %b %H:%M" if moment.year == today.year else "%-d %b %Y")


def size_text(size: int) -> str:
    """Return a number of bytes for people: `512 B`, `38 MB`."""
    amount = float(size)
    for unit in ("B", "KB", "MB", "GB"):
        if amount < 999.5 or unit == "GB":
            break
        amount /= 1000
    return f"{amount:.1f} {unit}" if amount < 9.95 and unit != "B" else f"{amount:.0f} {unit}"


def _home(path: str) -> str:
    home = os.path.expanduser("~")
    return f"~{path[len(home) :]}" if path.startswith(f"{home}/") else path
