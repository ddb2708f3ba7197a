# SPDX-License-Identifier: LGPL-3.0-or-later
"""The typer application `app`: help, completion, and command lines that are not plain."""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Annotated, Any, TypeVar, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from pqrun import __version__
from pqrun.cli.commands import MODULES, find_command
from pqrun.cli.declarations import (
    REQUIRED,
    CommandSpec,
    DeclaredArgument,
    DeclaredOption,
    HelpWanted,
    ReadWords,
    WrongUsage,
)
from pqrun.cli.stdout import ignore_a_reader_that_goes_away, print_text
from pqrun.core.errors import USAGE, UserError
from pqrun.core.text import command as command_line
from pqrun.core.values import InvalidValue

MAX_OFFERED = 200
MAX_HELP_CELLS = 60
MAX_INDEX_BYTES = 4_000_000
_EASY = re.compile(r"[A-Za-z0-9_.:@/-]+")
EXAMPLES = """
[bold]Examples[/bold]

  printf 'make a\\nmake b\\n' | pqrun run -j4

  pqrun run jobs.yaml --retries 2 --timeout 10m

  pqrun resume latest --failed

[bold]All of one command[/bold]  pqrun help run    [bold]What people use daily[/bold]  pqrun -h    [bold]Manual[/bold]  man pqrun
"""


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

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        ignore_a_reader_that_goes_away()
        super().format_help(ctx, formatter)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Load and return the command with that name."""
        command = find_command(cmd_name)
        return None if command is None else _for_typer(command)


app = typer.Typer(
    name="pqrun",
    cls=LazyGroup,
    help="Run shell commands in parallel, with priorities, retries, time limits and a journal.",
    epilog=EXAMPLES,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["--help", "-h"]},
)


UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""The base of typer's errors of a command line. typer does not export it."""


def run_with_typer(words: list[str] | None = None) -> int:
    """Run the command line of the process, or these words; return the exit code. Print what is wrong with them."""
    if sys.argv[1:2] == ["--show-completion"]:
        ignore_a_reader_that_goes_away()
    try:
        code = app(words, standalone_mode=False, prog_name="pqrun")
    except UsageError as error:
        from pqrun.cli.messages import print_error

        print_error("\n  hint: ".join(_wrong_usage(error)))
        return USAGE
    except typer.Abort:
        return 1
    return code if isinstance(code, int) else 0


def _wrong_usage(error: Any) -> tuple[str, str]:
    """Return what is wrong with the command line, and a hint."""
    context = error.ctx
    words = [word for word in sys.argv[1:2] if word in MODULES]
    path = context.command_path if context is not None else " ".join(["pqrun", *words])
    more = (
        "all commands: pqrun help"
        if path in ("pqrun", "pqrun help")
        else f"all options: {path.replace('pqrun ', 'pqrun help ', 1)}"
    )
    if path == "pqrun" and sys.argv[1:] and os.path.isfile(sys.argv[1]):
        more = f"to run a file: {command_line('run', sys.argv[1])}"
    elif (
        isinstance(error, typer.BadParameter)
        and not error.message
        and error.param
        and error.param.metavar == "RUN"
    ):
        more = f"for the latest run: {path} latest; {more}"
    if possibilities := vars(error).get("possibilities"):
        offered = " or ".join(f"`{word}`" for word in sorted(possibilities))
        return _lower(error.message), f"did you mean {offered}? {more[0].upper()}{more[1:]}"
    cause = error.__cause__ or error.__context__
    if error.__class__ is typer.BadParameter and error.param is not None and error.param_hint is None:
        name, source = error.param.opts[-1], context and context.get_parameter_source(error.param.name)
        if from_variable := source is not None and source.name == "ENVIRONMENT":
            name = str(error.param.envvar)
        if isinstance(cause, InvalidValue) and cause.hint:
            return f"{name}: {cause.what}", cause.hint
        if from_variable and isinstance(error.param, TyperOption) and error.param.is_flag:
            return f"{name}: not true or false: `{os.environ[name]}`", "write 1 or 0"
        return f"{name}: {error.message}", more
    return _lower(error.format_message()), more


def _lower(text: str) -> str:
    """Return a sentence as the rest of a line. A name in capitals, such as `JOB:`, stays."""
    first = text[:1].lower() if text[1:2].islower() else text[:1]
    return first + text[1:].rstrip(".")


def _version(asked: bool) -> None:
    if asked:
        print_text(f"pqrun {__version__}\n")
        raise typer.Exit


@app.callback()
def pqrun(
    version: Annotated[
        bool, typer.Option("-V", "--version", help="Print the version", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Run shell commands in parallel, with priorities, retries, time limits and a journal."""


def _for_typer(command: CommandSpec) -> Any:
    """Return the command as typer has it."""

    class Rewritten(TyperCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            words = args if command.rewrite is None else command.rewrite(args, command.options)
            return super().parse_args(ctx, words)

        def format_help(self, ctx: Any, formatter: Any) -> None:
            ignore_a_reader_that_goes_away()
            super().format_help(ctx, formatter)

    alone = typer.Typer(add_completion=False, rich_markup_mode="rich")
    alone.command(
        command.name,
        cls=Rewritten,
        rich_help_panel=command.panel,
        epilog=command.epilog,
        context_settings={
            "help_option_names": ["--help", "-h"],
            "allow_interspersed_args": command.mixed,
        },
    )(_function(command))
    return typer.main.get_command(alone)


def _function(command: CommandSpec) -> Callable[..., None]:
    """Return a function whose signature tells typer the arguments and options of the command."""

    def wrapper(context: typer.Context, **given: Any) -> None:
        sources = {name: context.get_parameter_source(name) for name in given}
        told = {name: source.name for name, source in sources.items() if source is not None}
        values = {name: value for name, value in given.items() if told.get(name) != "DEFAULT"}
        by_variable = frozenset(name for name, source in told.items() if source == "ENVIRONMENT")
        try:
            raise typer.Exit(command.call(ReadWords(values, by_variable)))
        except HelpWanted as wanted:
            from pqrun.cli.short_help import print_command

            print_command(command)  # its last line says where all options are, so the error needs no hint
            raise UserError(str(wanted)) from None
        except WrongUsage as wrong:
            raise UsageError(str(wrong), context) from None

    declared = {
        "context": (typer.Context, inspect.Parameter.empty),
        **{name: _argument(one) for name, one in command.arguments.items()},
        **{name: _option(one) for name, one in command.options.items()},
    }
    wrapper.__annotations__ = {name: hint for name, (hint, _) in declared.items()}
    wrapper.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
            for name, (hint, default) in declared.items()
        ]
    )
    wrapper.__doc__, wrapper.__name__ = command.function.__doc__, command.function.__name__
    return wrapper


def _argument(one: DeclaredArgument) -> tuple[Any, Any]:
    """Return the annotation and the default of an argument."""
    spec = one.spec
    shown = typer.Argument(
        metavar=spec.metavar,
        help=spec.help,
        show_default=spec.show_default,
        autocompletion=COMPLETIONS.get(spec.completes or ""),
    )
    return Annotated[one.kind, shown], inspect.Parameter.empty if one.default is REQUIRED else one.default


def _option(one: DeclaredOption) -> tuple[Any, Any]:
    """Return the annotation and the default of an option."""
    flag, kind = one.flag, one.kind
    if flag.read is not None and any(get_origin(part) is tuple for part in get_args(kind)):
        kind = str | None  # typer would read two words for a tuple of two
    shown = typer.Option(
        *flag.names,
        help=flag.help,
        rich_help_panel=flag.panel,
        metavar=flag.metavar,
        parser=None if flag.read is None else _told(flag.read),
        envvar=flag.variable,
        show_envvar=True,
        autocompletion=COMPLETIONS.get(flag.completes or ""),
    )
    return Annotated[kind, shown], one.default


T = TypeVar("T")


def _told(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Wrap a parser so that typer shows the message of its ValueError to the user."""

    @wraps(parse)
    def parser(text: str) -> T:
        if not isinstance(text, str):
            return text
        try:
            return parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    return parser


def run_ids(incomplete: str = "") -> list[tuple[str, str]]:
    """Return the ids of runs that begin with `incomplete`, the newest first, each with its date and source."""
    import time

    from pqrun.cli.run_table import when
    from pqrun.core.layout import cut_middle
    from pqrun.core.text import escape_controls
    from pqrun.journal.run_list import past_runs

    try:
        found = past_runs()
    except (OSError, UserError):
        found = []
    now = time.time()
    ids = _offered(["latest", *(run.id for run in found)], incomplete)
    told = {run.id: f"{when(run.began, now, screen=True)}  {run.state}  {run.source}" for run in found}
    told["latest"] = "the newest run"
    return [(name, cut_middle(escape_controls(told[name]), MAX_HELP_CELLS)) for name in ids]


def command_names(incomplete: str = "") -> list[str]:
    """Return the names of commands that begin with `incomplete`."""
    return _offered(list(MODULES), incomplete)


def job_ids(ctx: typer.Context, incomplete: str = "") -> list[str]:
    """Return the ids of jobs of the run that the command line names, or of the latest run."""
    import os

    from pqrun.core.errors import InternalFailure
    from pqrun.journal.index import query_index
    from pqrun.journal.run_directory import find_run

    try:
        run = find_run(str(ctx.params.get("name") or ctx.params.get("run") or "latest"))
        if not os.path.exists(run.index) and os.path.getsize(run.journal) > MAX_INDEX_BYTES:
            return []  # to index a long journal takes longer than a user waits for a completion
        ids = query_index(run, lambda index: index.ids(incomplete, most=MAX_OFFERED))
    except (OSError, UserError, InternalFailure):
        return []
    return _offered(ids, incomplete)


COMPLETIONS: dict[str, Callable[..., Sequence[str | tuple[str, str]]]] = {
    "runs": run_ids,
    "jobs": job_ids,
    "commands": command_names,
}


def _offered(words: list[str], incomplete: str) -> list[str]:
    """Return the matching words that a shell takes without quotes."""
    return [word for word in words if word.startswith(incomplete) and _EASY.fullmatch(word)]
