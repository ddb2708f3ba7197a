# SPDX-License-Identifier: LGPL-3.0-or-later
"""`run` and `each` with a plain command line: read by the options' declarations alone.

To load typer takes a third of the time of a short run. Whatever is not plain is left to it: help,
mistakes, completion, variables that set options. A test holds the two to the same answers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pqrun.cli.options import DeclaredOption, EachOptions, ListOptions, OptionGroup

COMPLETES = "_PQRUN_COMPLETE"
ParsedOptions = TypeVar("ParsedOptions", bound=OptionGroup)


def run_if_plain(command: str, words: Sequence[str], environment: Mapping[str, str]) -> int | None:
    """Does what `run` or `each` is asked to, if that is plain: its exit code."""
    if command == "run":
        found = read(ListOptions, words, environment)
        if found is not None and (found[0] or not (found[1].resume or is_terminal(0))):
            return run_lists(*found)
    elif "--header" not in words:  # which may be followed by a colon
        every = read(EachOptions, words, environment, mixed=False)
        if every is not None and (every[0] or every[1].arg_file or not is_terminal(0)):
            return run_each(*every)
    return None


def read(
    options: type[ParsedOptions], words: Sequence[str], environment: Mapping[str, str], *, mixed: bool = True
) -> tuple[list[str], ParsedOptions] | None:
    """Arguments and options; None if that takes more than this. `mixed`: options may come behind arguments."""
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
    """Runs them; the exit code."""
    from pqrun.app.run import run
    from pqrun.cli.settings import settings_of

    more = {"format": options.format, "null": options.null, "resume": options.resume}
    return run(settings_of(options, files=tuple(files), **more))


def run_each(words: Iterable[str], options: EachOptions) -> int:
    """Runs a command for each argument; the exit code."""
    from pqrun.app.run import run
    from pqrun.cli.settings import settings_of
    from pqrun.core.settings import Each

    files = tuple(options.arg_file or ())
    each = Each(tuple(words), files, options.delimiter, options.colsep, options.header)
    return run(settings_of(options, each=each, files=each.files, null=options.null))


def is_terminal(fd: int) -> bool:
    """Whether it is one, and open at all."""
    try:
        return os.isatty(fd)
    except OSError:
        return False


def _sorted_out(
    words: Iterator[str], declared: Mapping[str, DeclaredOption], *, mixed: bool
) -> tuple[list[str], dict[str, list[str]]]:
    """Arguments, and the words given for each option; LookupError or ValueError for what is not plain."""
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
    """`-kq`, `-j4`, `-kj 4`: switches up to one that takes a value, which is the rest or the next word."""
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
