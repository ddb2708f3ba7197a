# SPDX-License-Identifier: LGPL-3.0-or-later
"""The rows of sources in CSV, whose columns may hold separators and newlines between double quotes."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence

from pqrun.core.errors import UserError
from pqrun.input.each.split_rules import Columns, SplitRules
from pqrun.input.sources import open_source, read_all_of, shown_name


def rows_of(values: Sequence[str], path: str | None, rules: SplitRules) -> list[Columns]:
    """Return the rows of a source: of literal values, or of the file `path`."""
    lines: Iterable[str] = values if path is None else io.StringIO(_text(path), newline="")
    found: list[Columns] = []
    reader = csv.reader(lines, delimiter=rules.csv, strict=True)
    try:
        for row in reader:
            if row == [rules.end]:
                break
            found.append(tuple(map(rules.trim, row)) or ("",))
    except csv.Error as error:
        name = ":::" if path is None else shown_name(path)
        raise UserError(f"{name}:{reader.line_num}: not CSV: {error}") from None
    return found


def _text(path: str) -> str:
    fd, name = open_source(path), shown_name(path)
    try:
        data = read_all_of(fd, name)
    finally:
        if fd:
            os.close(fd)
    if b"\0" in data:
        raise UserError(f"{name}: a NUL character, which no argument can hold")
    return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
