# SPDX-License-Identifier: LGPL-3.0-or-later
"""`check`, `init` and `schema`."""

from __future__ import annotations

from typing import Annotated

import typer

from pqrun.cli.lazy import commands

PANEL = "Job files"

app = commands()


@app.command("check", rich_help_panel=PANEL)
def check(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Job files, and lists of commands; - is stdin")
    ],
) -> None:
    """Say all that is wrong with job files and lists of commands, at once and with its place; exit 0 or 2."""
    from pqrun.cli import files as jobfiles

    raise typer.Exit(jobfiles.check(files))


@app.command("init", rich_help_panel=PANEL)
def init(
    file: Annotated[str, typer.Argument(metavar="[FILE]", help="What to call it")] = "jobs.yaml",
) -> None:
    """Write a commented example of a job file; never over another file."""
    from pqrun.cli import files as jobfiles

    jobfiles.init(file)


@app.command("schema", rich_help_panel=PANEL)
def schema() -> None:
    """Print the JSON Schema of the job file, for editors."""
    from pqrun.cli import files as jobfiles

    typer.echo(jobfiles.schema_text().rstrip("\n"))
