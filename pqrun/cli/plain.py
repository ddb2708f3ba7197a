# SPDX-License-Identifier: LGPL-3.0-or-later
"""`run` with a plain command line: read by the options' declarations alone.

To load typer takes as long as all else that a short run does. Whatever is not plain is left to it: help,
mistakes, completion, variables that set options. A test holds the two to the same answers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pqrun.cli.flags import Declaration
from pqrun.cli.options import ListOptions

COMPLETES = "_PQRUN_COMPLETE"


def read(words: Sequence[str], environment: Mapping[str, str]) -> tuple[list[str], ListOptions] | None:
    """Files and options; None if that takes more than this."""
    declared = ListOptions.declared()
    variables = {one.flag.variable or COMPLETES for one in declared.values()}
    if not variables.isdisjoint(environment):
        return None
    try:
        files, given = _sorted_out(iter(words), declared)
        options = ListOptions(**{name: _value(declared[name], found) for name, found in given.items()})
    except (LookupError, ValueError):
        return None
    if not files and (options.resume is not None or is_terminal(0)):
        return None
    return files, options


def run_lists(files: Iterable[str], options: ListOptions) -> int:
    """Runs them; the exit code."""
    from pqrun.app import run
    from pqrun.cli.settings import settings_of

    more = {"format": options.format, "null": options.null, "resume": options.resume}
    return run(settings_of(options, files=tuple(files), **more))


def is_terminal(fd: int) -> bool:
    """Whether it is one, and open at all."""
    try:
        return os.isatty(fd)
    except OSError:
        return False


def _sorted_out(
    words: Iterator[str], declared: Mapping[str, Declaration]
) -> tuple[list[str], dict[str, list[str]]]:
    """Files, and the words given for each option; LookupError or ValueError for what is not plain."""
    named = {spelling: name for name, one in declared.items() for spelling in one.flag.names}
    files: list[str] = []
    given: dict[str, list[str]] = {}
    for word in words:
        if word == "--":
            files += words
        elif word == "-" or not word.startswith("-"):
            files.append(word)
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
    return files, given


def _short(
    word: str, named: Mapping[str, str], declared: Mapping[str, Declaration], words: Iterator[str]
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


def _value(one: Declaration, found: list[str]) -> Any:
    if one.is_switch:
        return True
    if one.is_repeated:
        return found
    return found[-1] if one.flag.read is None else one.flag.read(found[-1])
