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

from pqrun.cli.console import Cell, Column, Console, table
from pqrun.core import text as hints
from pqrun.core import unicode_json as unicodejson
from pqrun.core.text import count_of, escape_controls, format_duration
from pqrun.journal.run_directory import run_directories, runs_directory
from pqrun.journal.run_list import (
    DAMAGED,
    DIED,
    ENDED,
    LIVE,
    STOPPED,
    PrunePolicy,
    RunListing,
    past_runs,
    prune_runs,
    shortest_prefixes,
)

COLUMNS = (
    Column("run"), Column("state"), Column("started", drop=3), Column("took", right=True, drop=4),
    Column("jobs", right=True), Column("ok", right=True, drop=2), Column("failed", right=True),
    Column("left", right=True, drop=1), Column("source"),
)  # fmt: skip
_STYLES = {LIVE: "blue", STOPPED: "yellow", DIED: "bold yellow", DAMAGED: "bold red"}


def print_runs(*, as_json: bool) -> None:
    """Print the recorded runs as a table or a JSON document."""
    page = Console()
    past = past_runs()
    if as_json:
        page.say(unicodejson.as_json({"schema": 1, "runs": [_facts(run) for run in past]}, indent=1))
    elif past:
        lines = _table(past, time.time(), page)
        if page.is_terminal:
            lines += ["", *_what_next(past, page)]
        page.say("\n".join(lines))
    else:
        page.note(f"no runs are recorded in {escape_controls(runs_directory())}")
    page.end()


def _what_next(past: Sequence[RunListing], page: Console) -> list[str]:
    """Return the lines below the table on a terminal: how to name a run, and what to do with runs."""
    lines = page.painted(
        "the bright letters are enough to name a run; latest is the newest", ("latest", ""), base="dim"
    )
    undone = next((run for run in past if run.left and run.state in (STOPPED, DIED)), None)
    if undone is not None:
        resume = _how_to_go_on(undone)
        word = "one that was stopped" if undone.state == STOPPED else "one that died"
        lines += page.painted(f"continue the {word}: {resume}", (resume, "bold"), base="dim")
    count = f"{count_of(len(past), 'run')} in {escape_controls(_home(runs_directory()))}"
    return lines + page.painted(f"{count}; delete old ones: pqrun prune", ("pqrun prune", "bold"), base="dim")


def _how_to_go_on(past: RunListing) -> str:
    """Return the command that continues a run that was stopped or died."""
    if past.source == "queue":
        return hints.serve_command(past.id)
    return hints.command("resume", past.id)


def print_pruned(*, days: int, runs: int, size: int, dry_run: bool) -> None:
    """Delete old runs, and print each. `size` in bytes; `dry_run`: delete nothing."""
    page = Console()
    now = time.time()
    freed = count = 0
    unfinished = []
    for past, bytes_freed, kept in prune_runs(PrunePolicy(days, runs, size), now, dry_run=dry_run):
        if kept:
            unfinished.append(past)
            continue
        began = when(past.began, now, screen=page.is_terminal)
        page.say(
            f"{escape_controls(past.id)}  {began}  {count_of(past.jobs, 'job')}  {size_text(bytes_freed)}"
        )
        freed += bytes_freed
        count += 1
    if live := [run for run in run_directories() if run.in_use()]:
        names = ", ".join(escape_controls(os.path.basename(run.path)) for run in live)
        stop = hints.line_of(["pqrun", "stop", "--run", os.path.basename(live[0].path)])
        page.note(
            f"{'live runs are' if len(live) > 1 else 'a live run is'} kept: {names}; to delete it, stop it first: {stop}"
        )
    for past in unfinished:
        left = f"{count_of(past.left, 'job')} left"
        page.note(
            f"{escape_controls(past.id)} is kept, because it is not finished, with {left}: {_how_to_go_on(past)}; "
            "--keep-days 0 deletes it"
        )
    page.say(f"{count_of(count, 'run')} {'would be removed' if dry_run else 'removed'}, {size_text(freed)}")
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


def _table(past: Sequence[RunListing], now: float, page: Console) -> list[str]:
    prefixes = shortest_prefixes(run.id for run in past)
    rows = [_cells(run, now, prefixes[run.id], screen=page.width is not None) for run in past]
    return table(COLUMNS, rows, page, middle=("run", "source"), last_cells=12)


def _cells(past: RunListing, now: float, prefix: int, *, screen: bool) -> list[Cell]:
    took = format_duration(max(0.0, (now if past.ended is None else past.ended) - past.began))
    source = past.source
    if past.trouble:
        took, source = "", past.trouble
    elif past.left and past.state not in (LIVE, DAMAGED) and not screen:
        source += f"  ({_how_to_go_on(past)})"
    state, style = _state(past)
    failed = min(
        past.failed, past.outcomes["failed"] + past.outcomes["timeout"]
    )  # not jobs that were skipped
    counts = [past.jobs, past.outcomes["ok"], failed, past.left]
    styles = ["", "green", "bold red" if failed else "dim", "yellow" if past.left else "dim"]
    return [
        Cell(escape_controls(past.id), "cyan", prefix),
        Cell(state, style),
        Cell(when(past.began, now, screen=screen)),
        Cell(took),
        *(Cell(str(count), style) for count, style in zip(counts, styles, strict=True)),
        Cell(escape_controls(source)),
    ]


def _state(past: RunListing) -> tuple[str, str]:
    """Return the state in one word, and its style."""
    if past.state == ENDED:
        return ("ok", "green") if not (past.failed or past.left) and past.complete else ("failed", "bold red")
    return "running" if past.state == LIVE else past.state, _STYLES[past.state]


def when(at: float, now: float, *, screen: bool) -> str:
    """Return a time for people on a terminal (`14:05`, `Fri 02:00`), else in a form that sorts."""
    moment, today = datetime.fromtimestamp(at), datetime.fromtimestamp(now)
    if not screen:
        return moment.strftime("%Y-%m-%d %H:%M:%S")
    if moment.date() == today.date():
        return moment.strftime("%H:%M")
    if timedelta(0) < today.date() - moment.date() < timedelta(days=7):
        return moment.strftime("%a %H:%M")
    return moment.strftime("%-d %b" if moment.year == today.year else "%-d %b %Y")


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
