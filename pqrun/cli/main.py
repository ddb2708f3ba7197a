# SPDX-License-Identifier: LGPL-3.0-or-later
"""The program: its commands, and what becomes of what they raise."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from pqrun import __version__
from pqrun.cli.lazy import LazyGroup
from pqrun.errors import OwnFailure, UserError

BUG = 70
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


def main() -> None:
    """Runs, and raises SystemExit with the exit code."""
    sys.exit(run())


def entry() -> None:
    """The program: runs, and leaves at once with the exit code.

    Python's own tidying up takes 10 ms of a command's time, and there is nothing left to tidy.
    """
    code = run()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            code = code or 1  # closed, or nobody reads it any more
    os._exit(code)


def run() -> int:
    """The exit code: what the user did is told in a line, what we did with a traceback."""
    try:
        app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except UserError as error:
        _tell(f"{error}" if "\n" in str(error) else f"pqrun: {error}")
        return 2
    except OwnFailure as failure:
        _tell(f"pqrun: {failure}")
        return failure.code
    except Exception:
        import traceback

        _tell(traceback.format_exc())
        _tell("pqrun: this is a bug in pqrun; please report the lines above to its issue tracker")
        return BUG
    return 0


def _tell(text: str) -> None:
    try:
        os.write(2, text.encode("utf-8", "backslashreplace") + b"\n")
    except OSError:
        pass  # nobody is there to be told; the exit code tells


if __name__ == "__main__":
    entry()
