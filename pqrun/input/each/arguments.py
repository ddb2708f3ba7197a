# SPDX-License-Identifier: LGPL-3.0-or-later
"""The producer of jobs from arguments, one after another, for all combinations of all sources.

`Arguments` is fed bytes of the first source, only as far ahead as jobs are wanted. The other sources are held
in memory, because each of their values is needed again for every row of the first source.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, cycle, islice, pairwise, product
from math import prod
from typing import Final, NamedTuple

from pqrun.core.errors import UserError
from pqrun.core.job import JobSpec
from pqrun.core.settings import Each
from pqrun.core.text import EMPTY_NAME
from pqrun.input.command_list import COUNTED, MAX_LINE_BYTES, LineTooLong, RecordSplitter
from pqrun.input.defaults import SpecBuilder, Values, stamp
from pqrun.input.each.template import Template
from pqrun.input.sources import read_some

Columns = tuple[str, ...]
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b"}
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_WHITE: Final = " \t\n\r\f\v"
_READ_CHUNK_BYTES: Final = 1 << 20


class SplitRules(NamedTuple):
    """The rules by which a source is split into values, and a value into columns.

    With `header`, the first value of a source names its columns. `trims` names the sides at which blanks are
    removed: `l`, `r`, both or none. Where values are `lines`, the CR of a line end CRLF is removed, as in a list
    of commands. A value that equals `end` ends its source. `csv` is the delimiter of columns in CSV. With `words`, values end at
    blanks, as for xargs.
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


def opened(path: str) -> int:
    """Open a file of arguments and return its descriptor; `-` is stdin."""
    if path == "-":
        return 0
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot read {path or EMPTY_NAME}: {getattr(error, 'strerror', None) or error}"
        ) from None
    if os.path.isdir(path):
        os.close(fd)
        raise UserError(f"cannot read {path}: it is a directory")
    return fd


def called(path: str) -> str:
    """Return the file's name for messages."""
    return "stdin" if path == "-" else path


def values_of(path: str, form: SplitRules) -> list[str]:
    """Read a file to its end and return its values."""
    fd = opened(path)
    records = form.records(called(path))
    try:
        while data := read_some(fd, _READ_CHUNK_BYTES):
            records.feed(data)
    except OSError as error:
        raise UserError(f"cannot read {called(path)}: {error.strerror}") from None
    finally:
        if fd:
            os.close(fd)
    records.end()
    found: list[str] = []
    while (record := next_of(records, called(path), len(found) + 1)) is not None:
        value = form.text(record, f"{called(path)}:{len(found) + 1}")
        if value == form.end:
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


def side_by_side(sources: Sequence[Sequence[Columns]]) -> list[Columns]:
    """Join linked sources row by row; the result has as many rows as the shortest source."""
    return [tuple(chain(*rows)) for rows in zip(*sources, strict=False)]


def linked(sources: Sequence[Sequence[Columns]]) -> list[Columns]:
    """Join sources row by row; shorter sources begin again, so the result has as many rows as the longest."""
    longest = max(map(len, sources))
    return [tuple(chain(*rows)) for rows in islice(zip(*map(cycle, sources), strict=False), longest)]


def shuffled(sources: Sequence[Sequence[Columns]]) -> list[Columns]:
    """Return all combinations of rows in random order."""
    import random

    rows = [tuple(chain(*combination)) for combination in product(*sources)]
    random.shuffle(rows)
    return rows


class Arguments:
    """Producer of jobs: `feed` bytes of the first source, then `take` jobs until None.

    Call `end` after the last bytes. `first` holds the rows of the first source if they are known and nothing
    is fed. `beside` holds rows linked with those of the first source, `others` the sources whose rows are
    combined with every row. A header may have been read from `records` before; `names` are those of columns.
    Without a template, the arguments are commands; `tag` makes the labels of jobs. `files` names the files that are
    read; `warnings` are for the user; `skips_blank` makes no job of blank arguments.
    """

    def __init__(
        self,
        template: Template | None,
        form: SplitRules,
        given: Values,
        *,
        name: str = "stdin",
        records: RecordSplitter | None = None,
        first: Sequence[Columns] | None = None,
        beside: Sequence[Columns] | None = None,
        others: Sequence[Sequence[Columns]] = (),
        tag: Template | None = None,
        names: Columns = (),
    ) -> None:
        self.files: Sequence[str] = ()
        self.warnings: Sequence[str] = ()
        self.count = None if first is None else self._counted(first, beside, others)
        self.template = template
        self._form = form
        self._first = None if first is None else iter(first)
        self._beside = None if beside is None else iter(beside)
        self._others = others
        self._most_rows_and_jobs = (None if beside is None else len(beside), prod(map(len, others)))
        self._records = records or form.records(name)
        self._name = name
        self._read = int(form.header)
        self._number = 0
        self._head: Columns = ()
        self._tails: Iterator[tuple[Columns, ...]] = iter(())
        self._wrong: UserError | None = None
        self._stopped = False
        self.skips_blank = False
        self._tag = tag
        plain = SpecBuilder(given).make("", {}, id="", named=False, file=name, line=0)
        self._command = stamp(plain.work, "run")
        self._plain = stamp(plain._replace(arg_names=names), "id", "work", "line", "label", "args")

    @staticmethod
    def _counted(
        first: Sequence[Columns], beside: Sequence[Columns] | None, others: Sequence[Sequence[Columns]]
    ) -> int:
        rows = len(first) if beside is None else min(len(first), len(beside))
        return rows * prod(map(len, others))

    def counter(self) -> ArgumentCounter | None:
        """Return a parser that only counts the jobs.

        None if a part of the file was read already, for its header, if columns may make an empty command, or if
        a rule leaves out arguments.
        """
        if (
            self._form.header
            or self.skips_blank
            or self._form.end is not None
            or (self.template is None and (self._others or self._form.columns))
        ):
            return None
        rows, jobs = self._most_rows_and_jobs
        return ArgumentCounter(self._form, rows, jobs, skips_blank=self.template is None)

    def feed(self, data: bytes) -> None:
        """Take in bytes that were read."""
        self._records.feed(data)

    def end(self) -> None:
        """Mark the end of the bytes."""
        self._records.end()

    def begin(self, file: str) -> None:
        """Do nothing: at most one file is fed."""

    def take(self) -> JobSpec | None:
        """Return the next job, or None if more bytes are needed or no job is left."""
        if self._wrong:
            raise self._wrong
        while True:
            try:
                values = self.next_values()
            except UserError as error:
                self._wrong = error
                raise
            if values is None:
                return None
            if self.template is None:
                if command := " ".join(values).strip():
                    return self._job(command, values, ())
            elif not (self.template.conditions or self.skips_blank) or self._wanted(values):
                return self._job(self.template.command(values, self._number + 1), values, values)

    def next_values(self) -> Columns | None:
        """Return the arguments of the next job, or None if more bytes are needed or no job is left."""
        while True:
            tail = next(self._tails, None)
            if tail is not None:
                return (*self._head, *chain(*tail)) if tail else self._head
            row = self._next_row()
            if row is None:
                return None
            self._head = row
            self._tails = product(*self._others)

    @property
    def at_end(self) -> bool:
        """Whether no row can follow, if `next_values` returned None."""
        return self._first is not None or self._stopped or self._records.finished

    @property
    def needs_total(self) -> bool:
        """Whether the number of all jobs must be known before the first one is taken."""
        return any(one is not None and one.needs_total for one in (self.template, self._tag))

    def count_jobs(self) -> None:
        """Tell the templates the number of all jobs. All arguments must have been fed."""
        everything = list(iter(self.next_values, None))
        self.next_values = partial(next, iter(everything), None)  # type: ignore[method-assign]
        for template in (self.template, self._tag):
            if template is not None:
                template.total = len(everything)

    def _wanted(self, values: Columns) -> bool:
        """Return whether these arguments make a job: some make none if the template or the user says so."""
        assert self.template is not None
        conditions = self.template.conditions
        if self.skips_blank and not "".join(values).strip():
            return False
        if "uniq" in conditions and len(set(values)) < len(values):
            return False
        return "choose_k" not in conditions or all(one < other for one, other in pairwise(values))

    def _job(self, command: str, values: Columns, args: Columns) -> JobSpec:
        self._number += 1
        label = None if self._tag is None else self._tag.command(values, self._number)
        job: JobSpec = self._plain(str(self._number), self._command(command), self._read, label, args)
        return job

    def _next_row(self) -> Columns | None:
        if self._first is not None:
            row = next(self._first, None)
        else:
            record = None if self._stopped else next_of(self._records, self._name, self._read + 1)
            if record is None:
                return None
            self._read += 1
            value = self._form.text(record, f"{self._name}:{self._read}")
            if value == self._form.end:
                self._stopped = True
                return None
            row = self._form.split(value)
        if row is None or self._beside is None:
            return row
        beside = next(self._beside, None)
        self._stopped = beside is None
        return None if beside is None else (*row, *beside)


class ArgumentCounter:
    """Parser that gives `COUNTED` for each job. A row of the file makes `jobs` of them; `rows` is the most rows."""

    def __init__(self, form: SplitRules, rows: int | None, jobs: int, *, skips_blank: bool) -> None:
        self._form = form
        self._rows = rows
        self._jobs = jobs
        self._skips_blank = skips_blank
        self._left = 0
        self._records = form.records("")

    def begin(self, file: str) -> None:
        """Do nothing: at most one file is fed."""

    def feed(self, data: bytes) -> None:
        """Take in bytes that were read."""
        self._records.feed(data)

    def end(self) -> None:
        """Mark the end of the bytes."""
        self._records.end()

    def take(self) -> JobSpec | None:
        """Return `COUNTED` for the next job, or None if more bytes are needed or no job is left."""
        while not self._left:
            record = next_of(self._records, "", 0)
            if record is None or self._rows == 0:
                return None
            value = self._form.text(record, "")
            if self._rows is not None:
                self._rows -= 1
            self._left = 0 if self._skips_blank and not value.strip() else self._jobs
        self._left -= 1
        return COUNTED
