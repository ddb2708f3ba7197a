# SPDX-License-Identifier: LGPL-3.0-or-later
"""The list of `ps`, as text."""

from __future__ import annotations

from typing import Any

from pqrun.display.safe import safe
from pqrun.words import duration_text

LONGEST = 60


def shown(answer: dict[str, Any]) -> str:
    """One line a job, under a line of titles; a last line if the run is paused."""
    rows = [("id", "state", "priority", "try", "time", "command")]
    for job in answer["jobs"]:
        seconds = "" if job["seconds"] is None else duration_text(job["seconds"])
        tries = f"{job['attempts']}/{job['max_attempts']}"
        command = safe(" ".join(job["run"].split()))
        command = command if len(command) <= LONGEST else command[: LONGEST - 1] + "…"
        rows.append((safe(job["id"]), job["state"], job["priority"], tries, seconds, command))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[5]])
        for row in rows
    ]
    if answer["paused"]:
        lines.append("paused: nothing starts until `pqrun unpause`")
    return "\n".join(line.rstrip() for line in lines)
