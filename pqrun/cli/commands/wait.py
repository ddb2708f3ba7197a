# SPDX-License-Identifier: LGPL-3.0-or-later
"""The command `wait`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pqrun.cli.commands.live_run import PANEL, RunName, note, option_value, print_ids
from pqrun.cli.declarations import ArgumentSpec, CommandSpec, switch
from pqrun.core import values
from pqrun.core.option_spec import OptionSpec
from pqrun.core.text import count_of

if TYPE_CHECKING:
    from pqrun.reports.desktop import Desktop

NOT_YET = 3
NOTIFY = OptionSpec(
    ("--notify",), "Notify you on the desktop when the jobs have ended", variable="PQRUN_NOTIFY"
)


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
    notify: Annotated[bool, NOTIFY] = False,
    run: RunName = None,
) -> int:
    """Wait until jobs have ended. Exit with 0 if all of them are ok, else with 1."""
    from pqrun.control.client import request

    desktop: Desktop | None = None
    if notify:
        from pqrun.reports.desktop import desktop_of

        desktop = desktop_of()
    try:
        answer = request(run, "wait", timeout=timeout, jobs=jobs or [], any=any_)
    except TimeoutError:
        note("jobs have not ended yet")
        return NOT_YET
    if desktop is not None:
        ended, failed = answer["ended"], answer["failed"]
        desktop.tell(
            f"{count_of(ended, 'job')} ended, {failed} failed"
            if failed
            else f"{count_of(ended, 'job')} ended: ok"
        )
        desktop.close()
    if any_:
        print_ids(answer["ids"])
    return 1 if answer["failed"] else 0


EXAMPLES = ("pqrun wait deploy", "pqrun wait all --run nightly")
COMMANDS = (CommandSpec("wait", wait, PANEL, examples=EXAMPLES),)
