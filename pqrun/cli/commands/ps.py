# SPDX-License-Identifier: LGPL-3.0-or-later
"""`ps`: the unfinished jobs of a live run, as a table, a JSON document, or the reasons why they wait."""

from __future__ import annotations

import time
from collections import Counter
from typing import Annotated, Any

from pqrun.cli.commands.live_run import PANEL, Jobs, RunName, some
from pqrun.cli.console import Cell, Column, Console, table
from pqrun.cli.declarations import CommandSpec, WrongUsage, switch
from pqrun.cli.stdout import print_text
from pqrun.core.errors import InternalFailure
from pqrun.core.job import format_command
from pqrun.core.layout import cut
from pqrun.core.option_spec import OptionSpec
from pqrun.core.text import escape_controls, format_duration
from pqrun.core.unicode_json import as_json

SCHEMA = 1
MAX_COMMAND_LENGTH = 500
MIN_JOBS, OTHER_LINES = 10, 8
"""On a terminal, the least number of jobs that are listed, and the lines of the screen that are kept for other text."""
COLUMNS = (
    Column("id"), Column("state"), Column("priority", drop=1), Column("try", drop=0), Column("time", right=True),
)  # fmt: skip
MIN_TWO_COLUMNS, MAX_LAST_OUTPUT_CELLS = 120, 48
"""The width of a terminal from which the last output has a column of its own, and the width of that column."""
_STYLES = {"running": "blue", "waiting": "bold yellow", "queued": ""}
STATES = ("running", "queued", "waiting", "pending", "held")


def ps(
    jobs: Jobs = None,
    json: Annotated[bool, switch("--json", help="Print a JSON document")] = False,
    all: Annotated[bool, switch("--all", help="List all jobs, even if they don't fit on the screen")] = False,
    watch: Annotated[bool, switch("--watch", help="Repeat every second until the run ends")] = False,
    why: Annotated[str | None, OptionSpec(("--why",), "Print what a job waits for", None, "JOB")] = None,
    run: RunName = None,
) -> int:
    """List the unfinished jobs of a live run."""
    if why is not None and (jobs or json or all or watch):
        raise WrongUsage("--why prints why one job waits: give no other option or JOB")
    from pqrun.control.client import NO_LIVE_RUN, ControlClient

    with ControlClient(run) as client:
        if why is not None:
            answer = client.request("ps", jobs=[why], why=True)
            if answer["why"]:
                print_text(reasons(answer) + "\n")
            return some(len(answer["why"]), f"no unfinished job `{why}`")
        first = True
        page = Console()
        while True:
            try:
                answer = client.request("ps", jobs=jobs or [], last_output=json or page.is_terminal)
                if json:
                    text = document(answer, client.request("info"), a_line=watch)
                else:
                    info = client.request("info") if page.is_terminal else None
                    text = shown(answer, page, info, most=None if all else _most(page, watch=watch))
            except InternalFailure as failure:
                if first or failure.code != NO_LIVE_RUN:
                    raise
                return 0  # the run has ended while it was watched
            clear = "\x1b[H\x1b[2J" if watch and not json and page.is_terminal else ""
            if not print_text(f"{clear}{text}\n") or not watch:
                break
            first = False
            time.sleep(1.0)
    return some(len(answer["jobs"]), "no unfinished job matches") if jobs else 0


def _most(page: Console, *, watch: bool) -> int | None:
    """Return the number of jobs that fit on the screen; None without a screen."""
    if not page.is_terminal and not watch:
        return None
    import shutil

    return max(MIN_JOBS, shutil.get_terminal_size((80, 1000)).lines - OTHER_LINES)


def shown(answer: dict[str, Any], page: Console, info: dict[str, Any] | None, *, most: int | None) -> str:
    """Return a table with a line for each job, and the counts. `most`: the number of jobs that are listed.

    `info`: the facts of the run for the first line, which only a terminal gets.
    """
    jobs = answer["jobs"]
    listed = jobs if most is None else jobs[:most]
    lines = [] if info is None else [*_heading(info, page), ""]
    if jobs:
        columns, rows = _table(listed, page.width)
        lines += table(columns, rows, page, middle=("id",))
    if len(jobs) > len(listed):
        left = Counter(job["state"] for job in jobs[len(listed) :])
        more = ", ".join(f"{left[state]} more {state}" for state in STATES if left[state])
        lines += page.painted(f"… {more}: pqrun ps --all", ("pqrun ps --all", "bold"), base="dim")
    counts = Counter(job["state"] for job in jobs)
    total = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    lines += page.wrapped(total or "no unfinished jobs")
    if limits := limits_of(answer):
        lines += page.wrapped(f"limited: {limits}")
    if answer["stopping"]:
        lines += page.painted("stopping: no more jobs start", ("stopping", "bold yellow"))
    elif answer["paused"]:
        lines += page.painted(
            "paused: no job starts until `pqrun unpause`",
            ("paused", "bold yellow"),
            ("pqrun unpause", "bold"),
        )
    return "\n".join(lines)


def _heading(info: dict[str, Any], page: Console) -> list[str]:
    """Return the first line: the files of the run, its name, how long it has run, and, if there is room, its ETA."""
    from datetime import datetime

    run = info["run"]
    name, source = escape_controls(run["id"]), escape_controls(" ".join(run["files"]))
    began = datetime.fromisoformat(run["started_at"].replace("Z", "+00:00")).timestamp()
    took = format_duration(max(0.0, time.time() - began))
    text = "  ".join(filter(None, (source, name, f"runs for {took}")))
    left = info.get("seconds_left")  # a run of an older pqrun has none
    eta = "" if left is None else f"  ETA ~{format_duration(left)}"
    if len(page.wrapped(text + eta)) == len(page.wrapped(text)):
        text += eta
    return page.painted(text, (source, "bold cyan"), (name, "cyan"))


def document(answer: dict[str, Any], info: dict[str, Any], *, a_line: bool = False) -> str:
    """Return the answer as a JSON document; `a_line`: on one line."""
    facts = {"schema": SCHEMA, "run": info["run"], "metrics": info["metrics"], "paused": answer["paused"]}
    # A run of an older pqrun has neither of these.
    facts |= {"seconds_left": info.get("seconds_left"), "tag_limits": answer.get("tag_limits", {})}
    return as_json({**facts, "jobs": answer["jobs"]}, indent=None if a_line else 1)


def limits_of(answer: dict[str, Any]) -> str:
    """Return how many jobs of each limited tag may run at a time, or an empty text."""
    limits = answer.get("tag_limits", {}).items()
    return ", ".join(f"{size} at a time with tag:{escape_controls(tag)}" for tag, size in limits)


def reasons(answer: dict[str, Any]) -> str:
    """Return the reasons why jobs wait, one job on each line."""
    return "\n".join(
        f"{escape_controls(job_id)}: {escape_controls(reason)}" for job_id, reason in answer["why"].items()
    )


def _table(jobs: list[dict[str, Any]], width: int | None) -> tuple[list[Column], list[list[Cell]]]:
    """Return the columns and the rows for a terminal of that width; None: for a program, with the commands alone."""
    columns, rows = list(COLUMNS), [_facts(job, screen=width is not None) for job in jobs]
    if width is None:
        rows = [[*row, Cell(_command(job), "dim")] for job, row in zip(jobs, rows, strict=True)]
        return [*columns, Column("command")], rows
    outputs = [escape_controls(job.get("last_output", "")) for job in jobs]
    commands = [Cell(_needs(job) or _command(job), "dim") for job in jobs]
    if width >= MIN_TWO_COLUMNS and any(outputs):
        columns.append(Column("last output"))
        for row, output in zip(rows, outputs, strict=True):
            row.append(Cell(cut(output, MAX_LAST_OUTPUT_CELLS)))
        outputs = []
    for at, output in enumerate(outputs):
        if output and jobs[at]["id"] != str(jobs[at]["seq"]):  # the command of any other job is its name
            commands[at] = Cell(output)
    mixed = any(not cell.style for cell in commands)
    columns.append(Column("output or command" if mixed else "command or needs"))
    return columns, [[*row, command] for row, command in zip(rows, commands, strict=True)]


def _facts(job: dict[str, Any], *, screen: bool) -> list[Cell]:
    """Return the first cells of a job. On a screen, the try of a waiting job is its next one, as in the live table."""
    state = job["state"]
    seconds = "" if job["seconds"] is None else format_duration(max(0.0, job["seconds"]))
    waits = state == "waiting"
    return [
        Cell(escape_controls(job["id"])),
        Cell(state, _STYLES.get(state, "dim")),
        Cell(job["priority"], "yellow" if job["priority"] in ("critical", "high") else "dim"),
        Cell(f"{job['attempts'] + (waits and screen)}/{job['max_attempts']}", "dim"),
        Cell(f"in {seconds}" if waits else seconds, _STYLES.get(state, "dim")),
    ]


def _needs(job: dict[str, Any]) -> str:
    """Return what a pending job needs, else an empty text."""
    if job["state"] != "pending" or not job["needs"]:
        return ""
    return escape_controls(f"needs {', '.join(job['needs'])}"[:MAX_COMMAND_LENGTH])


def _command(job: dict[str, Any]) -> str:
    run = format_command(tuple(job["run"]) if isinstance(job["run"], list) else job["run"])
    return escape_controls(" ".join(run[:MAX_COMMAND_LENGTH].split()))


EXAMPLES = ("pqrun ps", "pqrun ps state:running", "pqrun ps --why deploy", "pqrun ps --watch")
COMMANDS = (CommandSpec("ps", ps, PANEL, examples=EXAMPLES),)
