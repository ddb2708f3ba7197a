# SPDX-License-Identifier: LGPL-3.0-or-later
"""How options are declared, and how a command gets them: as one object of a dataclass."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import cache, wraps
from typing import Any, TypeVar

import typer

from pqrun.jobfile import values

T = TypeVar("T")
SCHEDULING, FAILURE, TIME, OUTPUT, SCREEN, RECORD, INPUT, REPORTS, PLACE = (
    "Scheduling", "Failure", "Time", "Output", "Screen", "Record", "Input", "Reports", "Cluster",
)  # fmt: skip
FOR_JOBS = {"PQRUN_PRIORITY", "PQRUN_SLOT", "PQRUN_SEQ", "PQRUN_REPORT", "PQRUN_SOCKET", "PQRUN_ENV"}


def reads(parse: Callable[[str], T]) -> Callable[[str], T]:
    """A parser whose complaint reaches the user."""
    assert callable(parse)  # in a class, a name that its own option hides is already the default

    @wraps(parse)
    def parser(text: str) -> T:
        if not isinstance(text, str):
            return text
        try:
            return parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return parser


def option(
    *names: str, help: str, panel: str, metavar: str | None = None, read: Callable[[str], Any] | None = None
) -> Any:
    """An option; its long name also names a variable, unless jobs get one of that name."""
    long = next(name for name in names if name.startswith("--"))
    variable = "PQRUN_" + long[2:].split("/")[0].upper().replace("-", "_")
    return typer.Option(
        *names,
        help=help,
        rich_help_panel=panel,
        metavar=metavar,
        parser=None if read is None else reads(read),
        envvar=None if variable in FOR_JOBS else variable,
        show_envvar=False,
    )


def choice(*accepted: str) -> Callable[[str], str]:
    """One of these words."""
    return lambda text: values.one_of(text, *accepted)


@cache
def _parameters(options: type[Any]) -> tuple[inspect.Parameter, ...]:
    hints: dict[str, Any] = {}
    for kind in reversed(options.__mro__):  # as they are, not as text: to read that takes 5 ms
        hints |= inspect.get_annotations(kind)
    return tuple(
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(options)
    )


def takes(options: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the options of that class; it gets them as one object, its last argument."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[:-1]

        def wrapper(**given: Any) -> None:
            facts = {field.name: given.pop(field.name) for field in fields(options)}
            command(**given, options=options(**facts))

        parameters = [*own, *_parameters(options)]  # type: ignore[arg-type]
        wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
        wrapper.__doc__, wrapper.__name__ = command.__doc__, command.__name__
        return wrapper

    return decorate
