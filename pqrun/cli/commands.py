# SPDX-License-Identifier: LGPL-3.0-or-later
"""All commands, as typer knows them: `app` reads a command line and runs one."""

from __future__ import annotations

from typing import Annotated

import typer

from pqrun import __version__
from pqrun.cli.lazy import LazyGroup

EXAMPLES = """
[bold]Examples[/bold]

  printf 'make a\\nmake b\\n' | pqrun run -j4

  pqrun run jobs.yaml --retries 2 --timeout 10m

  pqrun resume latest --failed
"""

app = typer.Typer(
    name="pqrun",
    cls=LazyGroup,
    help="Run shell commands: in priority order, some at a time, each with a limit and a record.",
    epilog=EXAMPLES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"pqrun {__version__}")
        raise typer.Exit


@app.callback()
def pqrun(
    version: Annotated[
        bool, typer.Option("-V", "--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Run shell commands: in priority order, some at a time, each with a limit and a record."""
