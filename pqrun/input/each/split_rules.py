# SPDX-License-Identifier: LGPL-3.0-or-later
"""How a source of arguments is split into values, and a value into columns; a source that is read to its end."""

from __future__ import annotations

import os
import re
from typing import Final, NamedTuple

from pqrun.core.errors import UserError
from pqrun.core.settings import Each
from pqrun.input.command_list import MAX_LINE_BYTES, LineTooLong, RecordSplitter
from pqrun.input.sources import open_source, read_some_of, shown_name

Columns = tuple[str, ...]
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b"}
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_WHITE: Final = " \t\n\r\f\v"
_READ_CHUNK_BYTES: Final = 1 << 20


class SplitRules(NamedTuple):
    """The rules by which a source is split into values, and a value into columns.

    With `header`, the first value of a source names its columns. `trims` names the sides at which blanks are
    removed: `l`, `r`, both or none. Where values are `lines`, the CR of a line end CRLF is removed, as in a list
    of commands. A value that equals `end` ends its source. `csv` is the delimiter of columns in CSV. With `words`,
    values end at blanks, as for xargs.
    """

    separator: bytes = b"\n"
    columns: re.Pattern[str] | None = None
    header: bool = False
    trims: str = ""
    lines: bool = True
    end: str | None = None
    csv: str = ""
    words: bool = False

    def records(self, name: str) -> RecordSplitter:
        """Return the splitter of a source's bytes into values; `name` is the source's, for messages."""
        if not self.words:
            return RecordSplitter(self.separator)
        from pqrun.input.each.words import WordSplitter

        return WordSplitter(name)

    def split(self, value: str) -> Columns:
        """Return a value's columns; without a column separator, the value is the only column."""
        if self.columns is None:
            return (self.trim(value),) if self.trims else (value,)
        parts = [part or "" for part in self.columns.split(value)]
        return tuple(map(self.trim, parts)) if self.trims else tuple(parts)

    def trim(self, value: str) -> str:
        """Return the value without the blanks that are to be removed."""
        if "l" in self.trims:
            value = value.lstrip(_WHITE)
        return value.rstrip(_WHITE) if "r" in self.trims else value

    def text(self, record: bytes, where: str) -> str:
        """Decode a value. Raises UserError for a NUL character, which no argument can hold."""
        if b"\0" in record:
            raise UserError(f"{where}: a NUL character (if NULs separate the arguments, use -0)")
        if self.lines and record[-1:] == b"\r":
            record = record[:-1]
        return record.decode("utf-8", "surrogateescape")


def split_rules(null: bool, each: Each) -> SplitRules:
    """Build the rules from options as the user typed them. Raises UserError if the options are wrong."""
    delimiter, pattern = each.delimiter, each.colsep
    if null and delimiter is not None:
        raise UserError("-0 and -d both set the separator of arguments: give only one of them")
    separator = b"\0" if null else b"\n"
    if delimiter is not None:
        separator = os.fsencode(_ESCAPE.sub(_unescaped, delimiter))
    if not separator:
        raise UserError("-d needs a separator")
    trims = each.trim if each.trim is not None else "" if pattern is None else "lr"
    if each.by_words:
        others = (null, delimiter is not None, pattern is not None, each.csv, each.header, each.max_lines)
        if any(others):
            raise UserError(
                "--words splits at blanks: it can't be combined with -0, -d, -L, --colsep, --csv or --header"
            )
    by_lines = delimiter is None and not null
    rules = SplitRules(
        separator, None, each.header, trims.replace("n", ""), by_lines, each.eof, words=each.by_words
    )
    if each.csv:
        sign = "," if pattern is None else _ESCAPE.sub(_unescaped, pattern)
        if len(sign) != 1:
            raise UserError(f"--csv: the separator of columns is one character, not `{pattern}` (--colsep)")
        return rules._replace(csv=sign, trims=(each.trim or "").replace("n", ""))
    pattern = pattern if pattern is not None else "\t" if each.header else None
    try:
        columns = None if pattern is None else re.compile(pattern)
    except re.error as error:
        raise UserError(f"--colsep: invalid regular expression `{pattern}`: {error}") from None
    return rules._replace(columns=columns)


def _unescaped(found: re.Match[str]) -> str:
    sign = found[1]
    if sign[0] == "x" and len(sign) > 1:
        return os.fsdecode(bytes([int(sign[1:], 16)]))
    if sign[0] in "01234567":
        return os.fsdecode(bytes([int(sign, 8) & 0xFF]))
    return _ESCAPES.get(sign, sign)


def values_of(path: str, rules: SplitRules) -> list[str]:
    """Read a file to its end and return its values."""
    fd, name = open_source(path), shown_name(path)
    records = rules.records(name)
    try:
        while data := read_some_of(fd, _READ_CHUNK_BYTES, name):
            records.feed(data)
    finally:
        if fd:
            os.close(fd)
    records.end()
    found: list[str] = []
    while (record := next_of(records, name, len(found) + 1)) is not None:
        value = rules.text(record, f"{name}:{len(found) + 1}")
        if value == rules.end:
            break
        found.append(value)
    return found


def next_of(records: RecordSplitter, name: str, number: int) -> bytes | None:
    """Return the bytes of the next value, or None if its end has not been fed or no value is left.

    Raises UserError for a value over the limit.
    """
    try:
        return records.next()
    except LineTooLong:
        raise UserError(f"{name}:{number}: an argument over {MAX_LINE_BYTES // 1024 // 1024} MiB") from None
