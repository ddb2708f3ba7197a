# SPDX-License-Identifier: LGPL-3.0-or-later
"""`run` and `each` with a plain command line, read with the options' declarations alone.

To load typer takes a third of the time of a short run. A command line that is not plain is left to
typer: help, mistakes, completion, and variables that set options. A test compares both parsers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pqrun.cli.options import DeclaredOption, EachOptions, ListOptions, OptionGroup

COMPLETES = "_PQRUN_COMPLETE"
ParsedOptions = TypeVar("ParsedOptions", bound=OptionGroup)


def run_if_plain(command: str, words: Sequence[str], environment: Mapping[str, str]) -> int | None:
    """Run the command and return its exit code; return None if the command line is not plain."""
    if command == "run":
        found = read(ListOptions, words, environment)
        if found is not None and (found[0] or not (found[1].resume or is_terminal(0))):
            return run_lists(*found)
    elif "--header" not in words:  # `--header :` is read by `EachCommand` alone
        every = read(EachOptions, words, environment, mixed=False)
        if every is not None and (every[0] or every[1].arg_file or not is_terminal(0)):
            return run_each(*every)
    return None


def read(
    options: type[ParsedOptions], words: Sequence[str], environment: Mapping[str, str], *, mixed: bool = True
) -> tuple[list[str], ParsedOptions] | None:
    """Return arguments and options, or None if the words are not plain.

    `mixed`: whether options may follow arguments.
    """
    declared = options.declared()
    variables = {one.flag.variable or COMPLETES for one in declared.values()}
    if not variables.isdisjoint(environment):
        return None
    try:
        arguments, given = _sorted_out(iter(words), declared, mixed=mixed)
        values = {name: _value(declared[name], found) for name, found in given.items()}
    except (LookupError, ValueError):
        return None
    return arguments, options(**values)


def run_lists(files: Iterable[str], options: ListOptions) -> int:
    """Run the jobs of files or stdin; return the exit code."""
    from pqrun.app.run import run
    from pqrun.cli.settings import settings_of

    more = {"format": options.format, "null": options.null, "resume": options.resume}
    return run(settings_of(options, files=tuple(files), **more))


def run_each(words: Iterable[str], options: EachOptions) -> int:
    """Run a command for each argument; return the exit code."""
    from pqrun.app.run import run
    from pqrun.cli.settings import settings_of
    from pqrun.core.settings import Each

    files = tuple(options.arg_file or ())
    each = Each(tuple(words), files, options.delimiter, options.colsep, options.header)
    return run(settings_of(options, each=each, files=each.files, null=options.null))


def is_terminal(fd: int) -> bool:
    """Return whether the descriptor is open and a terminal."""
    try:
        return os.isatty(fd)
    except OSError:
        return False


def _sorted_out(
    words: Iterator[str], declared: Mapping[str, DeclaredOption], *, mixed: bool
) -> tuple[list[str], dict[str, list[str]]]:
    """Return the arguments, and the words given for each option.

    Raises `LookupError` or `ValueError` if the words are not plain.
    """
    named = {spelling: name for name, one in declared.items() for spelling in one.flag.names}
    arguments: list[str] = []
    given: dict[str, list[str]] = {}
    for word in words:
        if word == "--":
            arguments += words
        elif word == "-" or not word.startswith("-"):
            arguments.append(word)
            if not mixed:
                arguments += words
        elif word.startswith("--"):
            spelling, equals, value = word.partition("=")
            name = named[spelling]
            if declared[name].is_switch and equals:
                raise ValueError(word)
            if not declared[name].is_switch and not equals:
                value = _next(words)
            given.setdefault(name, []).append(value)
        else:
            for name, value in _short(word, named, declared, words):
                given.setdefault(name, []).append(value)
    return arguments, given


def _short(
    word: str, named: Mapping[str, str], declared: Mapping[str, DeclaredOption], words: Iterator[str]
) -> Iterator[tuple[str, str]]:
    """Yield the options of `-kq`, `-j4` or `-kj 4`, up to the first with a value, each with its value.

    The value is the rest of the word, or the next word.
    """
    for place in range(1, len(word)):
        name = named[f"-{word[place]}"]
        if not declared[name].is_switch:
            yield name, word[place + 1 :] or _next(words)
            return
        yield name, ""


def _next(words: Iterator[str]) -> str:
    for word in words:
        return word
    raise LookupError("an option without its value")


def _value(one: DeclaredOption, found: list[str]) -> Any:
    if one.is_switch:
        return True
    if one.is_repeated:
        return found
    return found[-1] if one.flag.read is None else one.flag.read(found[-1])
