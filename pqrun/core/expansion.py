# SPDX-License-Identifier: LGPL-3.0-or-later
"""Expansion of `$NAME` and `${NAME}` in the values of environment variables; `$$` is a dollar sign.

Only values of job files (`EnvTemplate`) are expanded. In a value from elsewhere (`--env`, a matrix,
the caller's environment) a `$` has no meaning, because a password may hold one. Other shell syntax,
such as `$(date)` and `${NAME:-x}`, stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING

from pqrun.core.errors import UserError

if TYPE_CHECKING:
    import re

MAX_VARIABLE_BYTES = 131_072
"""Bytes; Linux accepts no longer variable. Without a limit, a chain of variables that each contain the one
before twice would fill the memory.
"""


@cache
def _reference() -> re.Pattern[str]:
    """Return the pattern of a variable in a template, or of `$$`."""
    import re

    return re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\}|(\$))")


_OF_EVERY_JOB = {
    "PQRUN", "PQRUN_RUN_ID", "PQRUN_JOB_ID", "PQRUN_SEQ", "PQRUN_SLOT", "PQRUN_ATTEMPT", "PQRUN_MAX_ATTEMPTS",
    "PQRUN_PRIORITY", "PQRUN_SOCKET", "PQRUN_REPORT", "PARALLEL_SEQ", "PARALLEL_JOBSLOT", "PWD",
}  # fmt: skip

Pairs = tuple[tuple[str, str], ...]


class ValueTooLong(Exception):
    """Raised when the value of the variable `name` grows longer than a variable may be."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the variable {name} is too long (over {MAX_VARIABLE_BYTES} bytes)")
        self.name = name


class EnvTemplate(str):
    """A value of an environment variable to be expanded. `place` is its position in the job file."""

    place: object = None


def references(text: str) -> list[str]:
    """Return the names of the variables in a template, each once."""
    return list(dict.fromkeys(found[1] or found[2] for found in _reference().finditer(text) if not found[3]))


def pool_variable(pool: str) -> str:
    """Return the name of the environment variable that holds a job's share of the pool."""
    return "PQRUN_POOL_" + "".join(c if c.isascii() and c.isalnum() else "_" for c in pool.upper())


def unset(pairs: Pairs, expand: Iterable[str], *known: Container[str]) -> Iterator[tuple[str, str]]:
    """Yield each unset name in a template: the variable with the template, and the name.

    A name is set if it is in `pairs`, in one of `known`, or given to every job by pqrun.
    """
    values = dict(pairs)
    for name in expand:
        for wanted in references(values[name]):
            here = wanted in values and wanted != name
            if not here and wanted not in _OF_EVERY_JOB and not any(wanted in names for names in known):
                yield name, wanted


def layered(below: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of `below` overlaid with `own`.

    A template in `own` that names its own variable gets the value from `below` in place of the name.

    Raises:
        UserError: A value grows longer than a variable may be.
    """
    both = {**below, **own}
    for name, value in own.items():
        if type(value) is EnvTemplate and name in below and name in references(value):
            both[name] = _over(name, value, below[name])
    return both


def _over(name: str, template: EnvTemplate, below: str) -> EnvTemplate:
    """Return the template with the value from `below` in place of its own name."""
    if type(below) is EnvTemplate:
        inner = _reference().sub(
            lambda found: found[0] if found[3] else f"${{{found[1] or found[2]}}}", below
        )
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
    """Return the variables as plain texts, and the names of those that are templates."""
    pairs = tuple((name, str(value)) for name, value in variables.items())
    return pairs, tuple(name for name, value in variables.items() if type(value) is EnvTemplate)


def join_templates(pairs: Pairs, expand: Iterable[str]) -> dict[str, str]:
    """Return the variables with the templates marked again; the reverse of `split_templates`."""
    names = frozenset(expand)
    return {name: EnvTemplate(value) if name in names else value for name, value in pairs}


def expanded(pairs: Pairs, expand: Iterable[str], outside: Callable[[str], str | None]) -> Pairs:
    """Return the variables with all templates expanded.

    A name in a template stands for the variable's value here, or else for the value that `outside`
    returns for the name. A variable that refers to itself, directly or through others, gets its own
    value from `outside`. An unset name is replaced by an empty text.

    Raises:
        ValueTooLong: A value grows longer than a variable may be.
    """
    templates = {name: references(value) for name, value in pairs if name in frozenset(expand)}
    texts = dict(pairs)
    done = {name: value for name, value in pairs if name not in templates}
    for first in templates:
        path = {first: None}  # each name refers to the next; a dict, because a list is slow to search
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
    """Return the function that looks up a name in the template of the variable `name`."""
    return lambda one: (done[one] if one in done and one != name else outside(one)) or ""


def _substituted(name: str, text: str, value: Callable[[str], str], *, dollar: str = "$") -> str:
    """Return the text with each reference replaced by its value, and `$$` by `dollar`."""
    pieces: list[str] = []
    at = length = 0
    for found in _reference().finditer(text):
        piece = dollar if found[3] else value(found[1] or found[2])
        pieces += (text[at : found.start()], piece)
        length += found.start() - at + len(piece)
        if length > MAX_VARIABLE_BYTES:
            raise ValueTooLong(name)
        at = found.end()
    return "".join((*pieces, text[at:]))
