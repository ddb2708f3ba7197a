# SPDX-License-Identifier: LGPL-3.0-or-later
"""What `ps` prints: a table, a JSON document, or reasons."""

from __future__ import annotations

import shlex
import shutil
from collections import Counter
from typing import Any

from pqrun.display.safe import safe
from pqrun.unicodejson import as_json
from pqrun.words import duration_text

SCHEMA = 1
LONGEST = 60
TITLES = ("id", "state", "priority", "try", "time", "command")
STATES = ("running", "queued", "waiting", "pending")


def shown(answer: dict[str, Any], *, fits: bool = False) -> str:
    """A line a job under one of titles, then how many there are; not more than fits on the screen."""
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
        lines.append("stopping: nothing starts any more")
    elif answer["paused"]:
        lines.append("paused: nothing starts until `pqrun unpause`")
    return "\n".join(lines)


def document(answer: dict[str, Any], info: dict[str, Any], *, a_line: bool = False) -> str:
    """The same for programs."""
    facts = {"schema": SCHEMA, "run": info["run"], "metrics": info["metrics"], "paused": answer["paused"]}
    return as_json({**facts, "jobs": answer["jobs"]}, indent=None if a_line else 1)


def reasons(answer: dict[str, Any]) -> str:
    """What each job waits for."""
    return "\n".join(f"{safe(job_id)}: {safe(reason)}" for job_id, reason in answer["why"].items())


def _row(job: dict[str, Any]) -> tuple[str, ...]:
    seconds = "" if job["seconds"] is None else duration_text(max(0.0, job["seconds"]))
    run = shlex.join(job["run"]) if isinstance(job["run"], list) else str(job["run"])
    command = safe(" ".join(run[: LONGEST * 8].split()))
    command = command if len(command) <= LONGEST else command[: LONGEST - 1] + "…"
    tries = f"{job['attempts']}/{job['max_attempts']}"
    return safe(job["id"]), job["state"], job["priority"], tries, seconds, command
