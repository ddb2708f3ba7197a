# SPDX-License-Identifier: LGPL-3.0-or-later
"""The producer of jobs from arguments, one after another, for all combinations of all sources.

`Arguments` is fed bytes of the first source, only as far ahead as jobs are wanted. The other sources are held
in memory, because each of their values is needed again for every row of the first source.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, cycle, islice, pairwise, product
from math import prod
from typing import NamedTuple

from pqrun.core.errors import UserError
from pqrun.core.job import JobSpec
from pqrun.input.command_list import COUNTED, RecordSplitter
from pqrun.input.defaults import SpecBuilder, Values, stamp
from pqrun.input.each.split_rules import Columns, SplitRules, next_of
from pqrun.input.each.template import Template


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


class SourceRows(NamedTuple):
    """The rows of all sources that are held in memory.

    `first`: those of the first source; None if its bytes are fed. `beside`: rows linked with those of the first
    source. `others`: the sources whose rows are combined with every row of the first.
    """

    first: Sequence[Columns] | None = None
    beside: Sequence[Columns] | None = None
    others: Sequence[Sequence[Columns]] = ()

    @property
    def jobs_per_row(self) -> int:
        """The number of jobs for each row of the first source."""
        return prod(map(len, self.others))

    @property
    def job_count(self) -> int | None:
        """The number of all jobs; None if the first source is fed."""
        if self.first is None:
            return None
        rows = len(self.first) if self.beside is None else min(len(self.first), len(self.beside))
        return rows * self.jobs_per_row


class Arguments:
    """Producer of jobs: `feed` bytes of the first source, then `take` jobs until None.

    Call `end` after the last bytes. A header may have been read from `records` before; `names` are those of columns.
    Without a template, the arguments are commands; `tag` makes the labels of jobs. `files` names the files that are
    read; `warnings` are for the user; `skips_blank` makes no job of blank arguments.
    """

    def __init__(
        self,
        template: Template | None,
        rules: SplitRules,
        given: Values,
        *,
        name: str = "stdin",
        records: RecordSplitter | None = None,
        rows: SourceRows = SourceRows(),
        tag: Template | None = None,
        names: Columns = (),
    ) -> None:
        self.files: Sequence[str] = ()
        self.warnings: Sequence[str] = ()
        self.count = rows.job_count
        self.template = template
        self._rules = rules
        self._rows = rows
        self._first = None if rows.first is None else iter(rows.first)
        self._beside = None if rows.beside is None else iter(rows.beside)
        self._records = records or rules.records(name)
        self._name = name
        self._read = int(rules.header)
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

    def counter(self) -> ArgumentCounter | None:
        """Return a parser that only counts the jobs.

        None if a part of the file was read already, for its header, if columns may make an empty command, or if
        a rule leaves out arguments.
        """
        if (
            self._rules.header
            or self.skips_blank
            or self._rules.end is not None
            or (self.template is None and (self._rows.others or self._rules.columns))
        ):
            return None
        rows = None if self._rows.beside is None else len(self._rows.beside)
        return ArgumentCounter(self._rules, rows, self._rows.jobs_per_row, skips_blank=self.template is None)

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
            self._tails = product(*self._rows.others)

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
            value = self._rules.text(record, f"{self._name}:{self._read}")
            if value == self._rules.end:
                self._stopped = True
                return None
            row = self._rules.split(value)
        if row is None or self._beside is None:
            return row
        beside = next(self._beside, None)
        self._stopped = beside is None
        return None if beside is None else (*row, *beside)


class ArgumentCounter:
    """Parser that gives `COUNTED` for each job. A row of the file makes `jobs` of them; `rows` is the most rows."""

    def __init__(self, rules: SplitRules, rows: int | None, jobs: int, *, skips_blank: bool) -> None:
        self._rules = rules
        self._rows = rows
        self._jobs = jobs
        self._skips_blank = skips_blank
        self._left = 0
        self._records = rules.records("")

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
            value = self._rules.text(record, "")
            if self._rows is not None:
                self._rows -= 1
            self._left = 0 if self._skips_blank and not value.strip() else self._jobs
        self._left -= 1
        return COUNTED
