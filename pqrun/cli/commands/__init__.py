# SPDX-License-Identifier: LGPL-3.0-or-later
"""The commands: a module for each, or for a family of commands. `find_command` loads and returns a command.

run                 `run` and `resume`.
each                `each`.
check_init_schema   `check`, `init` and `schema`.
add, cancel, edit,
ps, restart, send,
serve, set, top,
wait, web           The command of that name.
hold                `hold` and `release`.
pause_stop          `pause`, `unpause` and `stop`.
live_run            The parts that the commands for live runs share.
runs                `runs`, `show`, `logs` and `prune`.
show, show_job      The page and the documents of `show`, and of `show RUN JOB`.
logs                The output of jobs for `logs`.
help                `help`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pqrun.cli.declarations import CommandSpec

MODULES = {
    "run": "run",
    "each": "each",
    "resume": "run",
    "check": "check_init_schema",
    "init": "check_init_schema",
    "schema": "check_init_schema",
    "serve": "serve",
    "add": "add",
    "ps": "ps",
    "set": "set",
    "edit": "edit",
    "pause": "pause_stop",
    "unpause": "pause_stop",
    "hold": "hold",
    "release": "hold",
    "cancel": "cancel",
    "restart": "restart",
    "send": "send",
    "wait": "wait",
    "stop": "pause_stop",
    "top": "top",
    "web": "web",
    "runs": "runs",
    "show": "runs",
    "logs": "runs",
    "prune": "runs",
    "help": "help",
}
"""The module of each command, in the order of the help. A module is loaded only when its command is called."""


def find_command(name: str) -> CommandSpec | None:
    """Load the module of a command and return the command; return None if there is no such command.

    A word of another tool that means the same as a command is accepted.
    """
    if name not in MODULES:
        from pqrun.cli.foreign_verbs import meaning

        if not (name := meaning(name)):
            return None
    module = import_module(f"pqrun.cli.commands.{MODULES[name]}")
    found: CommandSpec = next(command for command in module.COMMANDS if command.name == name)
    return found
