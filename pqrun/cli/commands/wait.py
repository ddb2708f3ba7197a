# SPDX-License-Identifier: LGPL-3.0-or-later
"""The command `wait`."""

from __future__ import annotations

from typing import Annotated

from pqrun.cli.commands.live_run import PANEL, RunName, note, option_value, print_ids
from pqrun.cli.declarations import ArgumentSpec, CommandSpec, switch
from pqrun.core import values

NOT_YET = 3


def wait(
    jobs: Annotated[
        list[str] | None, ArgumentSpec("[JOB]...", "Jobs: ids, globs (default: all unfinished jobs)", "jobs")
    ] = None,
    any_: Annotated[
        bool, switch("--any", help="Return when one of the jobs has ended, and print its id")
    ] = False,
    timeout: Annotated[
        float | None,
        option_value(
            values.duration, "-t", "--timeout", metavar="DUR", help="Wait at most DUR, then exit with 3"
        ),
    ] = None,
    run: RunName = None,
) -> int:
    """Wait until jobs have ended. Exit with 0 if all of them are ok, else with 1."""
    from pqrun.control.client import request

    try:
        answer = request(run, "wait", timeout=timeout, jobs=jobs or [], any=any_)
    except TimeoutError:
        note("jobs have not ended yet")
        return NOT_YET
    if any_:
        print_ids(answer["ids"])
    return 1 if answer["failed"] else 0


EXAMPLES = ("pqrun wait deploy", "pqrun wait all --run nightly")
COMMANDS = (CommandSpec("wait", wait, PANEL, examples=EXAMPLES),)
