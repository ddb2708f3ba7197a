# SPDX-License-Identifier: LGPL-3.0-or-later
"""What to call a job on a screen, and what it said last."""

from __future__ import annotations

from pqrun import events as ev
from pqrun.display.safe import last_line, plain, safe
from pqrun.model import JobSpec, shown_command

LONGEST_NAME = 60


def name_of(spec: JobSpec) -> str:
    """Its id, or its command if it has none of its own; on one line, safe."""
    name = spec.id if spec.named else shown_command(spec.work)
    if len(name) > 4 * LONGEST_NAME:
        name = name[: 4 * LONGEST_NAME]
    return safe(" ".join(name.split())) or "?"


def short(text: str, longest: int = LONGEST_NAME) -> str:
    """Cut to so many characters."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def last_words(event: ev.AttemptEnded) -> str:
    """What tells best why it failed: its own message, ours, or the last line that it printed."""
    if event.said.message and event.said.message != event.said.moved:  # that is no reason
        return plain(event.said.message)
    if why := getattr(event.exit, "why", ""):
        return plain(str(why))
    if event.output is None:
        return ""
    try:
        return last_line(event.output.err.tail()) or last_line(event.output.out.tail())
    except OSError:
        return ""  # its file is gone already
