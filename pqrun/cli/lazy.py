# SPDX-License-Identifier: LGPL-3.0-or-later
"""Commands that are loaded when they are called: starting one does not pay for the others."""

from __future__ import annotations

from copy import copy
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

MODULES = {
    "run": "run",
    "each": "each",
    "resume": "run",
    "check": "jobfiles",
    "init": "jobfiles",
    "schema": "jobfiles",
    "serve": "serve",
    "add": "control",
    "ps": "control",
    "set": "control",
    "pause": "control",
    "unpause": "control",
    "cancel": "control",
    "wait": "control",
    "stop": "control",
    "top": "top",
    "runs": "history",
    "show": "history",
    "logs": "history",
    "prune": "history",
}
"""Which module of this package has which command, in the order of the help."""


def commands() -> typer.Typer:
    """Where a module puts its commands. What installs completion is the program's own option, not theirs."""
    settings = {"help_option_names": ["-h", "--help"]}
    return typer.Typer(add_completion=False, rich_markup_mode="rich", context_settings=settings)


class LazyGroup(TyperGroup):
    """Knows its commands by name, and builds one when it is asked for."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = dict.fromkeys(MODULES)  # type: ignore[assignment]

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order of the help."""
        return list(MODULES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, loaded now."""
        if cmd_name not in MODULES:
            return None
        module = import_module(f"pqrun.cli.{MODULES[cmd_name]}")
        alone = copy(module.app)  # building a command takes milliseconds: not those beside it
        alone.registered_commands = [info for info in alone.registered_commands if info.name == cmd_name]
        return typer.main.get_command(alone)
