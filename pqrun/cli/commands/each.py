# SPDX-License-Identifier: LGPL-3.0-or-later
"""`each`: run one command for many arguments, in the notation of GNU parallel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from pqrun.cli.app import commands, with_options
from pqrun.cli.fast_parser import is_terminal, run_each
from pqrun.cli.options import EachOptions

PANEL = "Run jobs"
EXAMPLES = """
[bold]Examples[/bold]

  pqrun each 'gzip -9 {}' ::: *.log

  find . -name '*.flac' -print0 | pqrun each -0 'lame {} {.}.mp3'

  pqrun each 'resize {1} {2}' ::: *.png ::: small large
"""
PLACEHOLDERS = """
Placeholders (each value is quoted for the shell): [bold]{}[/bold] the argument, [bold]{.}[/bold] without its
extension, [bold]{/}[/bold] its base name, [bold]{//}[/bold] its directory, [bold]{/.}[/bold] its base name
without extension, [bold]{n}[/bold] the n-th argument (also [bold]{n.}[/bold] and so on),
[bold]{name}[/bold] the column of that name, [bold]{#}[/bold] the job's number, [bold]{%}[/bold] the number of its worker.
"""


class EachCommand(TyperCommand):
    """A command that accepts GNU parallel's `--header :` as well as `--header`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Remove the colon after `--header` and parse the arguments."""
        return super().parse_args(ctx, list(self._without_colons(args)))

    def _without_colons(self, args: Sequence[str]) -> Iterator[str]:
        """Yield the words without the colon of `--header :`.

        Only the words before the first argument are searched, because the rest belongs to the command.
        """
        takes_value = {
            name: not param.is_flag
            for param in self.params
            for name in param.opts
            if hasattr(param, "is_flag")
        }
        at = 0
        while at < len(args):
            word = args[at]
            if word in ("-", "--") or not word.startswith("-"):
                break
            at += 1
            yield word
            if word == "--header" and args[at : at + 1] == [":"]:
                at += 1
            elif self._wants_more(word, takes_value) and at < len(args):
                yield args[at]
                at += 1
        yield from args[at:]

    @staticmethod
    def _wants_more(word: str, takes_value: dict[str, bool]) -> bool:
        """Return whether the next word is this option's value."""
        if word.startswith("--"):
            return takes_value.get(word, False)
        for place in range(1, len(word)):
            if takes_value.get("-" + word[place], False):
                return place == len(word) - 1
        return False


app = commands()


@app.command(
    "each",
    cls=EachCommand,
    rich_help_panel=PANEL,
    epilog=PLACEHOLDERS + EXAMPLES,
    context_settings={"allow_interspersed_args": False},
)
@with_options(EachOptions)
def each(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[COMMAND] [::: ARG...]",
            help="The command, and its arguments: after :::, in files after ::::, or on stdin. "
            ":::+ and ::::+ pair a source with the one before. Without a command, each argument is one",
        ),
    ] = None,
    *,
    options: EachOptions,
) -> None:
    """Run one command for each argument."""
    if not words and not options.arg_file and is_terminal(0):
        typer.echo(context.get_help())
        raise typer.Exit(2)
    raise typer.Exit(run_each(words or (), options))
