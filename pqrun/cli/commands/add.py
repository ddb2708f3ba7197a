# SPDX-License-Identifier: LGPL-3.0-or-later
"""`add`: turns options or a file into jobs, and sends them to a live run in messages of limited size."""

from typing import Annotated

import typer

from pqrun.cli.app import commands, with_options
from pqrun.cli.commands.live_run import PANEL, RunName, print_ids
from pqrun.cli.options import OptionGroup, with_fields
from pqrun.core.errors import UserError


@with_fields("add")
class AddOptions(OptionGroup):
    """Options of `add`: the fields of a job."""


@with_options(AddOptions)
def add(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CMD", help="The command. Put options before it; several words are quoted as one command"
        ),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("-f", "--file", help="Add the jobs of a job file or list; - is stdin", metavar="FILE"),
    ] = None,
    if_absent: Annotated[
        bool, typer.Option("--if-absent", help="Skip a job if a job with its id is still unfinished")
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", help="Skip a job if its id was ever used in the run")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait if the queue is full (default: exit with 75)")
    ] = False,
    run: RunName = None,
    *,
    options: AddOptions,
) -> None:
    """Add a job, or a file of jobs, to a live run, and print the ids."""
    from pqrun.cli.job_messages import jobs_of_command, jobs_of_file, send_jobs
    from pqrun.control.client import ControlClient
    from pqrun.control.commands.add import EMPTY

    if (file is None) == (not command):
        raise typer.BadParameter("give a command, or a file with -f", param_hint="CMD")
    if command and not command[0].strip():
        raise UserError(EMPTY)
    with ControlClient(run) as talk:
        jobs = jobs_of_command(command or [], options) if file is None else jobs_of_file(file, options)
        for ids in send_jobs(talk, jobs, wait=wait, if_absent=if_absent, once=once):
            print_ids(ids)


app = commands()
# As with `env` and `timeout`, options end at the first word of the command.
app.command("add", rich_help_panel=PANEL, context_settings={"allow_interspersed_args": False})(add)
