# SPDX-License-Identifier: LGPL-3.0-or-later
"""How an option of the command line is declared: its names, its help and its parser."""

from collections.abc import Callable
from typing import Any, NamedTuple

from pqrun.core import values

SCHEDULING, FAILURE, TIME, OUTPUT, SCREEN, RECORD, INPUT, REPORTS, PLACE = (
    "Scheduling", "Failure", "Time", "Output", "Screen", "Record", "Input", "Reports", "Cluster",
)  # fmt: skip
"""The headings of the help."""
FOR_JOBS = {"PQRUN_PRIORITY", "PQRUN_SLOT", "PQRUN_SEQ", "PQRUN_REPORT", "PQRUN_SOCKET", "PQRUN_ENV"}


class OptionSpec(NamedTuple):
    """One option. The last of its `names` is the long one that pages and messages use. `variable`: an environment variable that sets it. `read`: its parser (ValueError).

    `completes`: whether a shell completes the value as one of the `runs`.
    """

    names: tuple[str, ...]
    help: str
    panel: str | None = None
    metavar: str | None = None
    read: Callable[[str], Any] | None = None
    variable: str | None = None
    completes: str | None = None


def option(
    *names: str, help: str, panel: str, metavar: str | None = None, read: Callable[[str], Any] | None = None
) -> OptionSpec:
    """Return an option. A variable sets it as well, unless jobs get a variable of that name."""
    # In a class body, an option declared before may hide the name of its parser.
    assert read is None or callable(read)
    variable = "PQRUN_" + names[-1][2:].upper().replace("-", "_")
    return OptionSpec(names, help, panel, metavar, read, None if variable in FOR_JOBS else variable)


def choice(*accepted: str) -> Callable[[str], str]:
    """Return a parser that accepts these words."""
    return lambda text: values.one_of(text, *accepted)
