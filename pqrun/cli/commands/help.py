# SPDX-License-Identifier: LGPL-3.0-or-later
"""`help`: the whole help of the program or of a command."""

from typing import Annotated

from pqrun.cli.declarations import ArgumentSpec, CommandSpec, WrongUsage


def help_(
    command: Annotated[
        str | None, ArgumentSpec("[COMMAND]", "The command", "commands", show_default=False)
    ] = None,
) -> int:
    """Print all options of a command, or all commands."""
    from pqrun.cli.commands import MODULES

    if command is not None and command not in MODULES:
        raise WrongUsage(f"no such command: `{command}`")
    from pqrun.cli.app import run_with_typer

    return run_with_typer(["--help"] if command is None else [command, "--help"])


EXAMPLES = ("pqrun help", "pqrun help run")
COMMANDS = (CommandSpec("help", help_, "Help", examples=EXAMPLES),)
