# SPDX-License-Identifier: LGPL-3.0-or-later
"""A plain command line, read with the declarations of its command alone.

To load typer takes a third of the time of a short run. A command line that is not plain is left to
typer: help, mistakes and completion. A test compares both parsers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pqrun.cli.commands import find_command
from pqrun.cli.declarations import (
    REQUIRED,
    CommandSpec,
    DeclaredArgument,
    DeclaredOption,
    HelpWanted,
    ReadWords,
    WrongUsage,
)

COMPLETES = "_PQRUN_COMPLETE"
BOOLEANS = {
    "1": True, "yes": True, "true": True, "on": True, "t": True, "y": True,
    "0": False, "no": False, "false": False, "off": False, "f": False, "n": False, "": False,
}  # fmt: skip
"""The texts by which a variable switches an option on or off, as typer reads them."""


def run_if_plain(name: str, words: Sequence[str], environment: Mapping[str, str]) -> int | None:
    """Run the command and return its exit code; return None if the command line is not plain."""
    command = find_command(name)
    if command is None or (found := read(command, words, environment)) is None:
        return None
    try:
        return command.call(found)
    except (WrongUsage, HelpWanted):
        return None


def read(command: CommandSpec, words: Sequence[str], environment: Mapping[str, str]) -> ReadWords | None:
    """Return what the words and the variables give, or None if the words are not plain."""
    if COMPLETES in environment:
        return None
    options = command.options
    rewritten = list(words) if command.rewrite is None else command.rewrite(list(words), options)
    try:
        arguments, given = _sorted_out(iter(rewritten), options, mixed=command.mixed)
        values = {name: _value(options[name], found) for name, found in given.items()}
        by_variable = {
            name: _value_of_variable(one, text)
            for name, one in options.items()
            # An empty variable counts as one that is not set.
            if one.flag.variable and name not in given and (text := environment.get(one.flag.variable))
        }
        placed = _placed(arguments, command.arguments)
        return ReadWords({**placed, **values, **by_variable}, frozenset(by_variable))
    except (LookupError, ValueError):
        return None


def _placed(words: list[str], declared: Mapping[str, DeclaredArgument]) -> dict[str, Any]:
    """Return the value of each argument. Raises `LookupError` if words are missing or left over."""
    found: dict[str, Any] = {}
    for name, argument in declared.items():
        if words:
            found[name] = words[:] if argument.is_list else words[0]
            del words[: len(words) if argument.is_list else 1]
        elif argument.default is REQUIRED:
            raise LookupError(name)
    if words:
        raise LookupError(words[0])
    return found


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


def _value_of_variable(one: DeclaredOption, text: str) -> Any:
    if one.is_switch:
        return BOOLEANS[text.strip().lower()]
    return _value(one, text.split() if one.is_repeated else [text])


def is_terminal(fd: int) -> bool:
    """Return whether the descriptor is open and a terminal."""
    try:
        return os.isatty(fd)
    except OSError:
        return False
