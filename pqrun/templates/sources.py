# SPDX-License-Identifier: LGPL-3.0-or-later
"""How arguments are written: what separates them, columns in them, a header above them."""

from __future__ import annotations

import os
import re
from typing import Final, NamedTuple

from pqrun.errors import UserError
from pqrun.jobfile.reading import read_some
from pqrun.jobfile.records import LONGEST, Records, TooLong

Columns = tuple[str, ...]
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b"}
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_WHITE: Final = " \t\n\r\f\v"
_PIECE: Final = 1 << 20


class Form(NamedTuple):
    """What separates values, and columns in them; whether the first value of a source names its columns.

    Columns lose the blanks around them if somebody has said what separates them. Where values are
    `lines`, the CR of a line end CRLF is no part of them, as in a list of commands.
    """

    separator: bytes = b"\n"
    columns: re.Pattern[str] | None = None
    header: bool = False
    trims: bool = False
    lines: bool = True

    def split(self, value: str) -> Columns:
        """A value's columns; where there are none, the value as it is."""
        if self.columns is None:
            return (value,)
        parts = [part or "" for part in self.columns.split(value)]
        return tuple(part.strip(_WHITE) for part in parts) if self.trims else tuple(parts)

    def text(self, record: bytes, where: str) -> str:
        """A value as text; UserError for what no argument can hold."""
        if b"\0" in record:
            raise UserError(f"{where}: a NUL character (if NULs separate the arguments, use -0)")
        if self.lines and record[-1:] == b"\r":
            record = record[:-1]
        return record.decode("utf-8", "surrogateescape")


def form(*, null: bool, delimiter: str | None, colsep: str | None, header: bool) -> Form:
    """From options as they are typed."""
    if null and delimiter is not None:
        raise UserError("-0 says what separates the arguments, and so does -d: give one of them")
    separator = b"\0" if null else b"\n"
    if delimiter is not None:
        separator = os.fsencode(_ESCAPE.sub(_unescaped, delimiter))
    if not separator:
        raise UserError("-d: nothing separates the arguments")
    pattern = colsep if colsep is not None else "\t" if header else None
    try:
        columns = None if pattern is None else re.compile(pattern)
    except re.error as error:
        raise UserError(f"--colsep: `{pattern}` is not a regular expression: {error}") from None
    by_lines = delimiter is None and not null
    return Form(separator, columns, header, trims=colsep is not None, lines=by_lines)


def _unescaped(found: re.Match[str]) -> str:
    sign = found[1]
    if sign[0] == "x" and len(sign) > 1:
        return os.fsdecode(bytes([int(sign[1:], 16)]))
    if sign[0] in "01234567":
        return os.fsdecode(bytes([int(sign, 8) & 0xFF]))
    return _ESCAPES.get(sign, sign)


def opened(path: str) -> int:
    """A descriptor of a file of arguments; `-` is stdin."""
    if path == "-":
        return 0
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    if os.path.isdir(path):
        os.close(fd)
        raise UserError(f"cannot read {path}: it is a directory")
    return fd


def called(path: str) -> str:
    """The file's name in messages."""
    return "stdin" if path == "-" else path


def values_of(path: str, form: Form) -> list[str]:
    """All values of a file, read to its end."""
    fd = opened(path)
    records = Records(form.separator)
    try:
        while data := read_some(fd, _PIECE):
            records.feed(data)
    except OSError as error:
        raise UserError(f"cannot read {called(path)}: {error.strerror}") from None
    finally:
        if fd:
            os.close(fd)
    records.end()
    found: list[str] = []
    while (record := next_of(records, called(path), len(found) + 1)) is not None:
        found.append(form.text(record, f"{called(path)}:{len(found) + 1}"))
    return found


def next_of(records: Records, name: str, number: int) -> bytes | None:
    """The next value's bytes; None if its end has not come, or there is none."""
    try:
        return records.next()
    except TooLong:
        raise UserError(f"{name}:{number}: an argument over {LONGEST // 1024 // 1024} MiB") from None
