# SPDX-License-Identifier: LGPL-3.0-or-later
"""The parts that the commands for live runs share: `--run`, selectors, and what they print."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Annotated, Any

from pqrun.cli.declarations import ArgumentSpec
from pqrun.cli.stdout import print_text
from pqrun.core.option_spec import RECORD, OptionSpec
from pqrun.core.text import escape_controls

PANEL = "Live runs"
SELECTORS = "Jobs: ids, globs, all, state:x, priority:x, tag:x"
RUN = "A run: its id, a prefix of the id, latest, or a path"
RunName = Annotated[
    str | None,
    OptionSpec(("--run",), "Name of the run, if several are live", RECORD, "RUN", completes="runs"),
]
Jobs = Annotated[list[str] | None, ArgumentSpec("[JOB]...", SELECTORS, "jobs")]


def option_value(read: Any, *names: str, metavar: str, help: str) -> OptionSpec:
    """Return an option whose text is parsed by `read`."""
    return OptionSpec(names, help, None, metavar, read)


def print_ids(ids: Iterable[str]) -> None:
    """Print ids, one on each line: unchanged for a program, without control characters on a terminal."""
    screen = sys.stdout.isatty()
    print_text("".join(f"{escape_controls(job_id) if screen else job_id}\n" for job_id in ids))


def note(text: str) -> None:
    """Print a message to stderr."""
    from pqrun.output.writer import StreamWriter

    StreamWriter(2, "standard error").note(
        text
    )  # if stderr is broken, the exit code still tells of the failure


def some(count: int, otherwise: str = "no job changed: none of these jobs is unfinished") -> int:
    """Return exit code 0; or 1, and print the message `otherwise`, if a selector matched no job."""
    if not count:
        note(escape_controls(otherwise))
    return 0 if count else 1
