# SPDX-License-Identifier: LGPL-3.0-or-later
"""`run` and `resume`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from pqrun.cli.declare import INPUT, RECORD, takes
from pqrun.cli.lazy import commands
from pqrun.cli.offered import run_ids
from pqrun.cli.options import RunOptions

PANEL = "Run jobs"
EXAMPLES = """
[bold]Examples[/bold]

  printf 'make a\\nmake b\\n' | pqrun run -j4

  pqrun run jobs.yaml --retries 2 --timeout 10m

  pqrun run nightly.txt -k --tag
"""

app = commands()


@app.command("run", rich_help_panel=PANEL, epilog=EXAMPLES)
@takes(RunOptions)
def run(
    context: typer.Context,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE]...", help="Job files, or lists of commands; - is stdin"),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option("--format", help="yaml, json or lines", metavar="KIND", rich_help_panel=INPUT),
    ] = None,
    null: Annotated[
        bool, typer.Option("-0", "--null", help="Commands end in NUL, not newline", rich_help_panel=INPUT)
    ] = False,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            help="Go on from that run with this, edited, list",
            metavar="RUN",
            rich_help_panel=RECORD,
        ),
    ] = None,
    *,
    options: RunOptions,
) -> None:
    """Run the jobs of job files, or commands, one a line, from files or stdin."""
    if not files and _is_terminal(0):
        typer.echo(context.get_help())
        raise typer.Exit(2)
    if format not in (None, "yaml", "json", "lines"):
        raise typer.BadParameter("yaml, json or lines", param_hint="--format")
    if resume is not None and not files:
        raise typer.BadParameter("name the edited file too, or use pqrun resume", param_hint="--resume")
    from pqrun.app import run as run_all
    from pqrun.cli.settings import settings_of

    settings = settings_of(options, files=tuple(files or ()), format=format, null=null, resume=resume)
    raise typer.Exit(run_all(settings))


@app.command("resume", rich_help_panel=PANEL)
@takes(RunOptions)
def resume(
    name: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="A run's id, a prefix of it, latest, or a path", autocompletion=run_ids
        ),
    ],
    failed: Annotated[
        bool, typer.Option("--failed", help="Run again also what failed", rich_help_panel="Failure")
    ] = False,
    *,
    options: RunOptions,
) -> None:
    """Go on with a run where it was left; what isn't given here stays as in its first process."""
    from pqrun.app import run as run_all
    from pqrun.cli.settings import resumed_settings

    raise typer.Exit(run_all(resumed_settings(name, options, failed=failed)))


def _is_terminal(fd: int) -> bool:
    try:
        return os.isatty(fd)
    except OSError:
        return False
