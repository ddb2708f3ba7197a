# SPDX-License-Identifier: LGPL-3.0-or-later
"""The parts shared by commands that talk to a live run: `--run`, selectors, printed ids."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import typer

from pqrun.cli.app import commands, parser
from pqrun.cli.completion import job_ids, run_ids
from pqrun.cli.options import RECORD
from pqrun.core.text import escape_controls

PANEL = "Live runs"
SELECTORS = "Jobs: ids, globs, all, state:x, priority:x, tag:x"
RunName = Annotated[
    str | None,
    typer.Option(
        "--run",
        help="Name of the run, if several are live",
        metavar="RUN",
        rich_help_panel=RECORD,
        autocompletion=run_ids,
    ),
]
Jobs = Annotated[list[str] | None, typer.Argument(metavar="[JOB]...", help=SELECTORS, autocompletion=job_ids)]


def live_commands(**found: Callable[..., None]) -> typer.Typer:
    """Return the typer application of one module, with these commands by name."""
    app = commands()
    for name, command in found.items():
        app.command(name, rich_help_panel=PANEL)(command)
    return app


def option_value(read: Any, *names: str, metavar: str, help: str) -> Any:
    """Return an option whose text is parsed by `read`."""
    return typer.Option(*names, metavar=metavar, parser=parser(read), help=help)


def print_ids(ids: Iterable[str]) -> None:
    """Print ids, one on each line: unchanged for a program, without control characters on a terminal."""
    screen = sys.stdout.isatty()
    sys.stdout.write("".join(f"{escape_controls(job_id) if screen else job_id}\n" for job_id in ids))
    sys.stdout.flush()


def expect_some(count: int, otherwise: str = "no job changed: none of these jobs is unfinished") -> None:
    """Exit with 1 and the message `otherwise` if a selector matched no job."""
    if not count:
        typer.echo(f"pqrun: {escape_controls(otherwise)}", err=True)
        raise typer.Exit(1)
