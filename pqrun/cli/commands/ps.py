# SPDX-License-Identifier: LGPL-3.0-or-later
"""`ps`: the unfinished jobs of a live run, as a table, a JSON document, or the reasons why they wait."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections import Counter
from typing import Annotated, Any

from pqrun.cli.commands.live_run import PANEL, Jobs, RunName, print_text, some
from pqrun.cli.declarations import CommandSpec, switch
from pqrun.core.errors import InternalFailure
from pqrun.core.option_spec import OptionSpec
from pqrun.core.text import escape_controls, format_duration
from pqrun.core.unicode_json import as_json

SCHEMA = 1
MAX_COMMAND_LENGTH = 60
TITLES = ("id", "state", "priority", "try", "time", "command")
STATES = ("running", "queued", "waiting", "pending")


def ps(
    jobs: Jobs = None,
    json: Annotated[bool, switch("--json", help="Print a JSON document")] = False,
    watch: Annotated[bool, switch("--watch", help="Repeat every second until the run ends")] = False,
    why: Annotated[str | None, OptionSpec(("--why",), "Print what a job waits for", None, "JOB")] = None,
    run: RunName = None,
) -> int:
    """List the unfinished jobs of a live run."""
    from pqrun.control.client import NO_LIVE_RUN, ControlClient

    with ControlClient(run) as client:
        if why is not None:
            answer = client.request("ps", jobs=[why], why=True)
            if answer["why"]:
                print_text(reasons(answer) + "\n")
            return some(len(answer["why"]), f"no unfinished job `{why}`")
        first = True
        while True:
            try:
                answer = client.request("ps", jobs=jobs or [])
                if json:
                    text = document(answer, client.request("info"), a_line=watch)
                else:
                    text = shown(answer, fits=watch)
            except InternalFailure as failure:
                if first or failure.code != NO_LIVE_RUN:
                    raise
                return 0  # the run has ended while it was watched
            clear = "\x1b[H\x1b[2J" if watch and not json and sys.stdout.isatty() else ""
            print_text(f"{clear}{text}\n")
            if not watch:
                break
            first = False
            time.sleep(1.0)
    return some(len(answer["jobs"]), "no unfinished job matches") if jobs else 0


def shown(answer: dict[str, Any], *, fits: bool = False) -> str:
    """Return a table with a line for each job, and the counts. `fits`: cut the table to the screen."""
    jobs = answer["jobs"]
    most = max(1, shutil.get_terminal_size((80, 1000)).lines - 4) if fits else len(jobs)
    rows = [TITLES, *map(_row, jobs[:most])]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = []
    for row in rows if jobs else ():
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[5]]).rstrip())
    if len(jobs) > most:
        lines.append(f"… and {len(jobs) - most} more")
    counts = Counter(job["state"] for job in jobs)
    lines.append(
        ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state]) or "no unfinished jobs"
    )
    if answer["stopping"]:
        lines.append("stopping: no more jobs start")
    elif answer["paused"]:
        lines.append("paused: no job starts until `pqrun unpause`")
    return "\n".join(lines)


def document(answer: dict[str, Any], info: dict[str, Any], *, a_line: bool = False) -> str:
    """Return the answer as a JSON document; `a_line`: on one line."""
    facts = {"schema": SCHEMA, "run": info["run"], "metrics": info["metrics"], "paused": answer["paused"]}
    return as_json({**facts, "jobs": answer["jobs"]}, indent=None if a_line else 1)


def reasons(answer: dict[str, Any]) -> str:
    """Return the reasons why jobs wait, one job on each line."""
    return "\n".join(
        f"{escape_controls(job_id)}: {escape_controls(reason)}" for job_id, reason in answer["why"].items()
    )


def _row(job: dict[str, Any]) -> tuple[str, ...]:
    seconds = "" if job["seconds"] is None else format_duration(max(0.0, job["seconds"]))
    run = shlex.join(job["run"]) if isinstance(job["run"], list) else str(job["run"])
    command = escape_controls(" ".join(run[: MAX_COMMAND_LENGTH * 8].split()))
    command = command if len(command) <= MAX_COMMAND_LENGTH else command[: MAX_COMMAND_LENGTH - 1] + "…"
    tries = f"{job['attempts']}/{job['max_attempts']}"
    return escape_controls(job["id"]), job["state"], job["priority"], tries, seconds, command


EXAMPLES = ("pqrun ps", "pqrun ps state:running", "pqrun ps --why deploy", "pqrun ps --watch")
COMMANDS = (CommandSpec("ps", ps, PANEL, examples=EXAMPLES),)
