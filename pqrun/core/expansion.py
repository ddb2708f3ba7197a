# SPDX-License-Identifier: LGPL-3.0-or-later
"""`$NAME` and `${NAME}` in the values of environment variables; `$$` is a dollar.

A value of a job file is a `Template`. One from elsewhere (`--env`, a matrix, the caller) is a plain
text, in which a `$` means nothing: a password may hold one. Everything else that a shell would
expand, such as `$(date)` and `${NAME:-x}`, stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping

from pqrun.core.errors import UserError

MAX_VARIABLE_BYTES = 131_072
"""Bytes: Linux takes no longer variable. A bound, since each of a chain can double the one before."""

_REFERENCE = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\}|(\$))")

_OF_EVERY_JOB = {
    "PQRUN", "PQRUN_RUN_ID", "PQRUN_JOB_ID", "PQRUN_SEQ", "PQRUN_SLOT", "PQRUN_ATTEMPT", "PQRUN_MAX_ATTEMPTS",
    "PQRUN_PRIORITY", "PQRUN_SOCKET", "PQRUN_REPORT", "PARALLEL_SEQ", "PARALLEL_JOBSLOT", "PWD",
}  # fmt: skip

Pairs = tuple[tuple[str, str], ...]


class ValueTooLong(Exception):
    """A value that grows beyond what a variable can hold; `name` is the variable's."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the variable {name} is too long (over {MAX_VARIABLE_BYTES} bytes)")
        self.name = name


class EnvTemplate(str):
    """A value in which variables are to be expanded; `place` is where it stands in its file."""

    place: object = None


def references(text: str) -> list[str]:
    """The names of the variables in a template, each once."""
    return list(dict.fromkeys(found[1] or found[2] for found in _REFERENCE.finditer(text) if not found[3]))


def pool_variable(pool: str) -> str:
    """The variable in which a job finds its share of a pool."""
    return "PQRUN_POOL_" + "".join(c if c.isascii() and c.isalnum() else "_" for c in pool.upper())


def unset(pairs: Pairs, expand: Iterable[str], *known: Container[str]) -> Iterator[tuple[str, str]]:
    """Of the templates: the variable, and a name in its value that is not set, neither here nor in `known`."""
    values = dict(pairs)
    for name in expand:
        for wanted in references(values[name]):
            here = wanted in values and wanted != name
            if not here and wanted not in _OF_EVERY_JOB and not any(wanted in names for names in known):
                yield name, wanted


def layered(below: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Variables over others: a template that names its own variable gets the value below it.

    Raises UserError for a value that would grow without bound.
    """
    both = {**below, **own}
    for name, value in own.items():
        if type(value) is EnvTemplate and name in below and name in references(value):
            both[name] = _over(name, value, below[name])
    return both


def _over(name: str, template: EnvTemplate, below: str) -> EnvTemplate:
    if type(below) is EnvTemplate:
        inner = _REFERENCE.sub(lambda found: found[0] if found[3] else f"${{{found[1] or found[2]}}}", below)
    else:
        inner = below.replace("$", "$$")
    try:
        text = _substituted(name, template, lambda one: inner if one == name else f"${{{one}}}", dollar="$$")
    except ValueTooLong as error:
        raise UserError(f"env: {error}") from None
    found = EnvTemplate(text)
    found.place = template.place
    return found


def split_templates(variables: Mapping[str, str]) -> tuple[Pairs, tuple[str, ...]]:
    """The variables as plain texts, and the names of those that are templates."""
    pairs = tuple((name, str(value)) for name, value in variables.items())
    return pairs, tuple(name for name, value in variables.items() if type(value) is EnvTemplate)


def join_templates(pairs: Pairs, expand: Iterable[str]) -> dict[str, str]:
    """The reverse of `apart`."""
    names = frozenset(expand)
    return {name: EnvTemplate(value) if name in names else value for name, value in pairs}


def expanded(pairs: Pairs, expand: Iterable[str], outside: Callable[[str], str | None]) -> Pairs:
    """The variables with their final values; raises TooLong.

    A name stands for the value that the variable gets here, else for that `outside`. A variable that
    needs itself, also by way of others, gets its own value from outside. An unset name is empty.
    """
    templates = {name: references(value) for name, value in pairs if name in frozenset(expand)}
    texts = dict(pairs)
    done = {name: value for name, value in pairs if name not in templates}
    for first in templates:
        path = {first: None}  # in order: each needs the next; a dict, since a chain may be long
        while path:
            name = next(reversed(path))
            if name not in done:
                wanted = (one for one in templates[name] if one in templates and one not in done)
                if (next_one := next((one for one in wanted if one not in path), None)) is not None:
                    path[next_one] = None
                    continue
                done[name] = _substituted(name, texts[name], _value(name, done, outside))
            del path[name]
    return tuple((name, done[name]) for name, _ in pairs)


def _value(name: str, done: Mapping[str, str], outside: Callable[[str], str | None]) -> Callable[[str], str]:
    return lambda one: (done[one] if one in done and one != name else outside(one)) or ""


def _substituted(name: str, text: str, value: Callable[[str], str], *, dollar: str = "$") -> str:
    pieces: list[str] = []
    at = length = 0
    for found in _REFERENCE.finditer(text):
        piece = dollar if found[3] else value(found[1] or found[2])
        pieces += (text[at : found.start()], piece)
        length += found.start() - at + len(piece)
        if length > MAX_VARIABLE_BYTES:
            raise ValueTooLong(name)
        at = found.end()
    return "".join((*pieces, text[at:]))
