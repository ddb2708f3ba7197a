# SPDX-License-Identifier: LGPL-3.0-or-later
"""Declared options as typer wants them; a command gets them as one object."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, TypeVar

import typer

from pqrun.cli.flags import Flag, Options

T = TypeVar("T")


def reads(parse: Callable[[str], T]) -> Callable[[str], T]:
    """A parser whose complaint reaches the user."""

    @wraps(parse)
    def parser(text: str) -> T:
        if not isinstance(text, str):
            return text
        try:
            return parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return parser


def _for_typer(flag: Flag) -> Any:
    return typer.Option(
        *flag.names,
        help=flag.help,
        rich_help_panel=flag.panel,
        metavar=flag.metavar,
        parser=None if flag.read is None else reads(flag.read),
        envvar=flag.variable,
        show_envvar=False,
    )


def takes(options: type[Options]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the options of that class; it gets them as one object, its last argument."""
    declared = options.declared()

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[:-1]

        def wrapper(**given: Any) -> None:
            facts = {name: given.pop(name) for name in declared}
            command(**given, options=options(**facts))

        parameters = [
            *own,
            *(
                inspect.Parameter(
                    name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=one.default,
                    annotation=Annotated[one.kind, _for_typer(one.flag)],
                )
                for name, one in declared.items()
            ),
        ]
        wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
        wrapper.__doc__, wrapper.__name__ = command.__doc__, command.__name__
        return wrapper

    return decorate
