# SPDX-License-Identifier: LGPL-3.0-or-later
"""`wait`: wait until jobs of a live run have ended."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pqrun.cli.commands.live_run import RunName, live_commands, option_value, print_ids
from pqrun.cli.completion import job_ids
from pqrun.core import values

NOT_YET = 3


def wait(
    jobs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[JOB]...", help="Jobs: ids, globs (default: all unfinished jobs)", autocompletion=job_ids
        ),
    ] = None,
    any_: Annotated[
        bool, typer.Option("--any", help="Return when one of the jobs has ended, and print its id")
    ] = False,
    timeout: Annotated[
        Any,
        option_value(
            values.duration, "-t", "--timeout", metavar="DUR", help="Wait at most DUR, then exit with 3"
        ),
    ] = None,
    run: RunName = None,
) -> None:
    """Wait until jobs have ended. Exit with 0 if all of them are ok, else with 1."""
    from pqrun.control.client import ControlClient

    with ControlClient(run) as client:
        try:
            answer = client.request("wait", timeout=timeout, jobs=jobs or [], any=any_)
        except TimeoutError:
            typer.echo("pqrun: jobs have not ended yet", err=True)
            raise typer.Exit(NOT_YET) from None
    if any_:
        print_ids(answer["ids"])
    raise typer.Exit(1 if answer["failed"] else 0)


app = live_commands(wait=wait)
