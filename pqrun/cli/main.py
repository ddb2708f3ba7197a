# SPDX-License-Identifier: LGPL-3.0-or-later
"""The commands, and what becomes of what they raise."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from pqrun import __version__
from pqrun.cli.options import RunOptions, takes
from pqrun.errors import OwnFailure, UserError

BUG = 70
EXAMPLES = """
[bold]Examples[/bold]

  printf 'make a\\nmake b\\n' | pqrun run -j4

  pqrun run jobs.yaml --retries 2 --timeout 10m

  pqrun run nightly.txt -k --tag
"""

app = typer.Typer(
    name="pqrun",
    help="Run shell commands: in priority order, some at a time, each with a limit and a record.",
    epilog=EXAMPLES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=True,
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


@app.command(rich_help_panel="Run jobs", epilog=EXAMPLES)
@takes(RunOptions)
def run(
    context: typer.Context,
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE]...", help="Job files, or lists of commands; - is stdin")
    ] = None,
    format: Annotated[
        str | None, typer.Option("--format", help="yaml, json or lines", metavar="KIND", rich_help_panel="Input")
    ] = None,
    null: Annotated[
        bool, typer.Option("-0", "--null", help="Commands end in NUL, not newline", rich_help_panel="Input")
    ] = False,
    resume: Annotated[
        str | None,
        typer.Option("--resume", help="Go on from that run with this, edited, list", metavar="RUN", rich_help_panel="Record"),
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
    from pqrun.app import run as run_all
    from pqrun.cli.settings import settings_of

    if resume is not None and not files:
        raise typer.BadParameter("name the edited file too, or use pqrun resume", param_hint="--resume")
    settings = settings_of(options, files=tuple(files or ()), format=format, null=null, resume=resume)
    raise typer.Exit(run_all(settings))


@app.command(rich_help_panel="Run jobs")
@takes(RunOptions)
def resume(
    name: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, a prefix of it, latest, or a path")],
    failed: Annotated[bool, typer.Option("--failed", help="Run again also what failed", rich_help_panel="Failure")] = False,
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


def main() -> None:
    """The entry point: what the user did is told in a line, what we did with a traceback."""
    try:
        app()
    except UserError as error:
        _tell(f"{error}" if "\n" in str(error) else f"pqrun: {error}")
        code = 2
    except OwnFailure as failure:
        _tell(f"pqrun: {failure}")
        code = failure.code
    except Exception:
        import traceback

        _tell(traceback.format_exc())
        _tell("pqrun: this is a bug in pqrun; please report the lines above to its issue tracker")
        code = BUG
    else:
        return
    sys.exit(code)


def _tell(text: str) -> None:
    try:
        os.write(2, text.encode("utf-8", "backslashreplace") + b"\n")
    except OSError:
        pass  # nobody is there to be told; the exit code tells


if __name__ == "__main__":
    main()
