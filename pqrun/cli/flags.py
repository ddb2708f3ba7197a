# SPDX-License-Identifier: LGPL-3.0-or-later
"""Options as data: how each is spelled, explained and read. Who reads a command line is not known here.

A class of options declares each of them once, as an annotated attribute with its default.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from pqrun.jobfile import values

SCHEDULING, FAILURE, TIME, OUTPUT, SCREEN, RECORD, INPUT, REPORTS, PLACE = (
    "Scheduling", "Failure", "Time", "Output", "Screen", "Record", "Input", "Reports", "Cluster",
)  # fmt: skip
FOR_JOBS = {"PQRUN_PRIORITY", "PQRUN_SLOT", "PQRUN_SEQ", "PQRUN_REPORT", "PQRUN_SOCKET", "PQRUN_ENV"}


class Flag(NamedTuple):
    """One option; `variable` of the environment sets it too, `read` makes a value of its word (ValueError)."""

    names: tuple[str, ...]
    help: str
    panel: str
    metavar: str | None = None
    read: Callable[[str], Any] | None = None
    variable: str | None = None


class Declaration(NamedTuple):
    """An option as a class has it: what its value is (`bool`, a list, one value), and without it."""

    flag: Flag
    kind: Any
    default: Any

    @property
    def is_switch(self) -> bool:
        """Whether it stands alone, without a value."""
        return self.kind is bool

    @property
    def is_repeated(self) -> bool:
        """Whether it may be given several times, each time with another value."""
        return bool(self.kind == list[str] | None)


class Options:
    """What a command line says: an attribute for each option, its default if it was not given."""

    def __init__(self, **given: Any) -> None:
        unknown = given.keys() - self.declared().keys()
        if unknown:
            raise TypeError(f"no such options: {', '.join(sorted(unknown))}")
        vars(self).update(given)

    @classmethod
    def declared(cls) -> dict[str, Declaration]:
        """All options, those of base classes first."""
        found: dict[str, Declaration] = {}
        for kind in reversed(cls.__mro__):
            # What `inspect` has for this does the same, but takes 8 ms to load.
            for name, hint in kind.__dict__.get("__annotations__", {}).items():  # noqa: RUF063
                found[name] = Declaration(hint.__metadata__[0], hint.__origin__, getattr(cls, name))
        return found


def option(
    *names: str, help: str, panel: str, metavar: str | None = None, read: Callable[[str], Any] | None = None
) -> Flag:
    """An option; its long name also names a variable, unless jobs get one of that name."""
    # In a class, a name that its own option hides is already the default.
    assert read is None or callable(read)
    long = next(name for name in names if name.startswith("--"))
    variable = "PQRUN_" + long[2:].upper().replace("-", "_")
    return Flag(names, help, panel, metavar, read, None if variable in FOR_JOBS else variable)


def choice(*accepted: str) -> Callable[[str], str]:
    """One of these words."""
    return lambda text: values.one_of(text, *accepted)
