# SPDX-License-Identifier: LGPL-3.0-or-later
"""`run` and `resume`: run jobs, or continue a recorded run."""

from __future__ import annotations

from typing import Annotated

import typer

from pqrun.cli.app import commands, with_options
from pqrun.cli.completion import run_ids
from pqrun.cli.fast_parser import is_terminal, run_lists
from pqrun.cli.options import ListOptions, RunOptions

PANEL = "Run jobs"
EXAMPLES = """
[bold]Examples[/bold]

  printf 'make a\\nmake b\\n' | pqrun run -j4

  pqrun run jobs.yaml --retries 2 --timeout 10m

  pqrun run nightly.txt -k --tag
"""

app = commands()


@app.command("run", rich_help_panel=PANEL, epilog=EXAMPLES)
@with_options(ListOptions)
def run(
    context: typer.Context,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE]...", help="Job files or lists of commands; - is stdin"),
    ] = None,
    *,
    options: ListOptions,
) -> None:
    """Run jobs from job files, or commands (one per line) from files or stdin."""
    if not files and is_terminal(0):
        typer.echo(context.get_help())
        raise typer.Exit(2)
    if options.resume is not None and not files:
        raise typer.BadParameter("name the edited file as well, or use `pqrun resume`", param_hint="--resume")
    raise typer.Exit(run_lists(files or (), options))


@app.command("resume", rich_help_panel=PANEL)
@with_options(RunOptions)
def resume(
    name: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="A run: its id, a prefix of the id, latest, or a path", autocompletion=run_ids
        ),
    ],
    failed: Annotated[
        bool, typer.Option("--failed", help="Run failed jobs again, too", rich_help_panel="Failure")
    ] = False,
    *,
    options: RunOptions,
) -> None:
    """Continue a run. Options you don't give keep their first values."""
    from pqrun.app.run import run as run_all
    from pqrun.cli.settings import resumed_settings

    raise typer.Exit(run_all(resumed_settings(name, options, failed=failed)))
