# SPDX-License-Identifier: LGPL-3.0-or-later
"""The typer application `app`, which reads a command line and runs the command."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import copy
from functools import wraps
from importlib import import_module
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperGroup

from pqrun import __version__
from pqrun.cli.options import OptionGroup, OptionSpec

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
    "pause": "pause_stop",
    "unpause": "pause_stop",
    "cancel": "cancel",
    "wait": "wait",
    "stop": "pause_stop",
    "top": "top",
    "runs": "runs",
    "show": "runs",
    "logs": "runs",
    "prune": "runs",
}
"""The module in `pqrun.cli.commands` of each command, in the order of the help."""


def commands() -> typer.Typer:
    """Return an application for one module's commands, without the options that install completion."""
    settings = {"help_option_names": ["-h", "--help"]}
    return typer.Typer(add_completion=False, rich_markup_mode="rich", context_settings=settings)


class LazyGroup(TyperGroup):
    """A group of commands that loads a command's module when the command is called.

    The import of all modules would slow down the start of each command.
    """

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = dict.fromkeys(MODULES)  # type: ignore[assignment]

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order of the help."""
        return list(MODULES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Load and return the command with that name."""
        if cmd_name not in MODULES:
            return None
        module = import_module(f"pqrun.cli.commands.{MODULES[cmd_name]}")
        alone = copy(module.app)  # building a command takes milliseconds, so leave out the others
        alone.registered_commands = [info for info in alone.registered_commands if info.name == cmd_name]
        return typer.main.get_command(alone)


EXAMPLES = """
[bold]Examples[/bold]

  printf 'make a\\nmake b\\n' | pqrun run -j4

  pqrun run jobs.yaml --retries 2 --timeout 10m

  pqrun resume latest --failed
"""

app = typer.Typer(
    name="pqrun",
    cls=LazyGroup,
    help="Run shell commands in parallel, with priorities, retries, time limits and a journal.",
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
        bool, typer.Option("-V", "--version", help="Print the version", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Run shell commands in parallel, with priorities, retries, time limits and a journal."""


T = TypeVar("T")


def parser(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Wrap a parser so that typer shows the message of its ValueError to the user."""

    @wraps(parse)
    def parser(text: str) -> T:
        if not isinstance(text, str):
            return text
        try:
            return parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return parser


def _for_typer(flag: OptionSpec) -> Any:
    return typer.Option(
        *flag.names,
        help=flag.help,
        rich_help_panel=flag.panel,
        metavar=flag.metavar,
        parser=None if flag.read is None else parser(flag.read),
        envvar=flag.variable,
        show_envvar=False,
    )


def with_options(options: type[OptionGroup]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command the options of that class as its last argument."""
    declared = options.declared()

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[:-1]

        def wrapper(**given: Any) -> None:
            facts = {name: given.pop(name) for name in declared}
            command(**given, options=options(**facts))

        parameters = [
            *own,
            *(
                inspect.Parameter(
                    name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=one.default,
                    annotation=Annotated[one.kind, _for_typer(one.flag)],
                )
                for name, one in declared.items()
            ),
        ]
        wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
        wrapper.__doc__, wrapper.__name__ = command.__doc__, command.__name__
        return wrapper

    return decorate
