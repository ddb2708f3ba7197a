# SPDX-License-Identifier: LGPL-3.0-or-later
"""`each`: run one command for many arguments, in the notation of GNU parallel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pqrun.cli.declarations import ArgumentSpec, CommandSpec, DeclaredOption, HelpWanted
from pqrun.cli.fast_parser import is_terminal
from pqrun.cli.options import EachOptions

EXAMPLES = (
    "pqrun each 'gzip -9 {}' ::: *.log",
    "find . -name '*.flac' -print0 | pqrun each -0 'lame {} {.}.mp3'",
    "pqrun each 'resize {1} {2}' ::: *.png ::: small large",
)
PLACEHOLDERS = """
Placeholders (each value is quoted for the shell): [bold]{}[/bold] the argument, [bold]{.}[/bold] without its
extension, [bold]{/}[/bold] its base name, [bold]{//}[/bold] its directory, [bold]{/.}[/bold] its base name
without extension, [bold]{n}[/bold] the n-th argument (also [bold]{n.}[/bold] and so on),
[bold]{name}[/bold] the column of that name, [bold]{#}[/bold] the job's number, [bold]{%}[/bold] the number of its worker.
"""


def each(
    words: Annotated[
        list[str] | None,
        ArgumentSpec(
            "[COMMAND] [::: ARG...]",
            "The command, and its arguments: after :::, in files after ::::, or on stdin. "
            ":::+ and ::::+ pair a source with the one before. Without a command, each argument is one",
        ),
    ] = None,
    *,
    options: EachOptions,
) -> int:
    """Run one command for each argument."""
    if not words and not options.arg_file and is_terminal(0):
        raise HelpWanted
    from pqrun.app.run import run
    from pqrun.cli.settings import settings_of
    from pqrun.core.settings import Each

    files = tuple(options.arg_file or ())
    asked = Each(tuple(words or ()), files, options.delimiter, options.colsep, options.header)
    return run(settings_of(options, each=asked, files=files))


def without_colon(words: list[str], declared: Mapping[str, DeclaredOption]) -> list[str]:
    """Return the words without the colon of `--header :`, which GNU parallel wants.

    Only the words before the first argument are searched, because the rest belongs to the command.
    """
    with_value = {name for one in declared.values() if not one.is_switch for name in one.flag.names}
    at = 0
    while at < len(words) and words[at] not in ("-", "--") and words[at].startswith("-"):
        word = words[at]
        at += 1
        if word == "--header" and words[at : at + 1] == [":"]:
            return words[:at] + without_colon(words[at + 1 :], declared)
        if word.startswith("--"):
            at += word in with_value
        else:
            places = [place for place in range(1, len(word)) if f"-{word[place]}" in with_value]
            at += bool(places) and places[0] == len(word) - 1
    return words


COMMANDS = (
    CommandSpec(
        "each", each, "Run jobs", examples=EXAMPLES, epilog=PLACEHOLDERS, mixed=False, rewrite=without_colon
    ),
)
