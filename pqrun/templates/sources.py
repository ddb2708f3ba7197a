# SPDX-License-Identifier: LGPL-3.0-or-later
"""Arguments read and put together: lines or what `-d` separates, columns, links, all combinations.

The first source may be read while jobs run; of the others each value is needed again and again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import prod
from typing import Final, NamedTuple

from pqrun.errors import UserError
from pqrun.jobfile.records import Records, TooLong
from pqrun.templates.words import Given

Columns = tuple[str, ...]
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b"}
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_PIECE: Final = 1 << 20
_WHITE: Final = " \t\n\r\f\v"


class Form(NamedTuple):
    """How sources are written: what separates values, and columns in them; whether they have a header."""

    separator: bytes = b"\n"
    columns: re.Pattern[str] | None = None
    header: bool = False

    def split(self, value: str) -> Columns:
        """A value's columns; a value of one column is left as it is."""
        if self.columns is None:
            return (value,)
        return tuple(part.strip(_WHITE) for part in self.columns.split(value))


def form(*, null: bool, delimiter: str | None, colsep: str | None, header: bool) -> Form:
    """From options as they are typed."""
    if null and delimiter is not None:
        raise UserError("-0 is -d '\\0': give one of them")
    separator = b"\0" if null else b"\n"
    if delimiter is not None:
        separator = os.fsencode(_ESCAPE.sub(_unescaped, delimiter))
    if not separator:
        raise UserError("-d: nothing separates the arguments")
    pattern = colsep if colsep is not None else "\t" if header else None
    try:
        columns = None if pattern is None else re.compile(pattern)
    except re.error as error:
        raise UserError(f"--colsep: not a regular expression: `{pattern}` ({error})") from None
    if columns is not None and columns.groups:
        columns = re.compile(_uncaptured(pattern or ""))
    return Form(separator, columns, header)


def _unescaped(found: re.Match[str]) -> str:
    sign = found[1]
    if sign[0] == "x" and len(sign) > 1:
        return os.fsdecode(bytes([int(sign[1:], 16)]))
    if sign[0] in "01234567":
        return os.fsdecode(bytes([int(sign, 8) & 0xFF]))
    return _ESCAPES.get(sign, sign)


def _uncaptured(pattern: str) -> str:
    """Groups that split without giving what they matched."""
    return re.sub(r"(\\.|\[\^?\]?[^]]*\])|\((?!\?)", lambda found: found[1] or "(?:", pattern)


def decoded(record: bytes, where: str) -> str:
    """A value's text; UserError for what no argument can hold."""
    if b"\0" in record:
        raise UserError(f"{where}: a NUL character (if NULs separate the arguments, use -0)")
    return record.decode("utf-8", "surrogateescape")


class Rows:
    """All combinations of the sources but for the first one, to be put behind each row of that."""

    def __init__(self, sources: Sequence[Given], form: Form, read: Callable[[str], list[str]]) -> None:
        """`read` gives all values of a file. The first source is left out if it is a file."""
        groups: list[list[list[Columns]]] = []
        self.names: list[str] = []
        self.first = sources[0].path
        self._linked: list[Columns] | None = None
        for number, source in enumerate(sources):
            if number == 0 and source.path is not None:
                continue
            values = list(source.values) if source.path is None else read(source.path)
            rows = [form.split(value) for value in values]
            if form.header:
                self.names += rows[0] if rows else ()
                rows = rows[1:]
            if source.linked:
                groups[-1].append(rows) if groups else groups.append([rows])
            else:
                groups.append([rows])
        ...
