# SPDX-License-Identifier: LGPL-3.0-or-later
"""Arguments to jobs, one after the other, as they come: all combinations of all sources.

Reads nothing itself: of the first source it is fed bytes, as far ahead as somebody wants jobs; the
others are there as a whole, as each of their values is needed again and again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, product
from math import prod

from pqrun.errors import UserError
from pqrun.jobfile.records import Records
from pqrun.jobfile.specs import Specs, Values, stamp
from pqrun.model import JobSpec
from pqrun.templates.sources import Columns, Form, next_of
from pqrun.templates.template import Template


def side_by_side(sources: Sequence[Sequence[Columns]]) -> list[Columns]:
    """Linked sources as one: row by row, as many as the shortest has."""
    return [tuple(chain(*rows)) for rows in zip(*sources, strict=False)]


class Arguments:
    """`feed` bytes of the first source, then `take` jobs until None; `end` when there are no more bytes.

    `first`: its rows, if it is not fed. `beside`: rows linked with those of the first source.
    `others`: the sources whose rows go with every row of those. `records` may have been read from,
    for a header. Without a template the arguments are commands. `files` are those that are read.
    """

    def __init__(
        self,
        template: Template | None,
        form: Form,
        given: Values,
        *,
        name: str = "stdin",
        records: Records | None = None,
        first: Sequence[Columns] | None = None,
        beside: Sequence[Columns] | None = None,
        others: Sequence[Sequence[Columns]] = (),
    ) -> None:
        self.files: Sequence[str] = ()
        self.count = None if first is None else self._counted(first, beside, others)
        self._template = template
        self._form = form
        self._first = None if first is None else iter(first)
        self._beside = None if beside is None else iter(beside)
        self._others = others
        self._records = records or Records(form.separator)
        self._name = name
        self._read = int(form.header)
        self._number = 0
        self._head: Columns = ()
        self._tails: Iterator[tuple[Columns, ...]] = iter(())
        self._wrong: UserError | None = None
        plain = Specs(given).make("", {}, id="", named=False, file=name, line=0)
        self._command = stamp(plain.work, "run")
        self._plain = stamp(plain, "id", "work", "line")

    @staticmethod
    def _counted(
        first: Sequence[Columns], beside: Sequence[Columns] | None, others: Sequence[Sequence[Columns]]
    ) -> int:
        rows = len(first) if beside is None else min(len(first), len(beside))
        return rows * prod(map(len, others))

    def feed(self, data: bytes) -> None:
        """Takes in what was read."""
        self._records.feed(data)

    def end(self) -> None:
        """Says that nothing more will be fed."""
        self._records.end()

    def begin(self, file: str) -> None:
        """There is one file only that is fed."""

    def take(self) -> JobSpec | None:
        """The next job; None when more has to be fed, or after the last one."""
        if self._wrong:
            raise self._wrong
        while True:
            tail = next(self._tails, None)
            if tail is not None:
                values = (*self._head, *chain(*tail)) if tail else self._head
                if self._template is not None:
                    return self._job(self._template.command(values, self._number + 1))
                if command := " ".join(values).strip():
                    return self._job(command)
                continue
            try:
                row = self._next_row()
            except UserError as error:
                self._wrong = error
                raise
            if row is None:
                return None
            self._head = row
            self._tails = product(*self._others)

    def _job(self, command: str) -> JobSpec:
        self._number += 1
        job: JobSpec = self._plain(str(self._number), self._command(command), self._read)
        return job

    def _next_row(self) -> Columns | None:
        if self._first is not None:
            row = next(self._first, None)
        else:
            record = next_of(self._records, self._name, self._read + 1)
            if record is None:
                return None
            self._read += 1
            row = self._form.split(self._form.text(record, f"{self._name}:{self._read}"))
        if row is None or self._beside is None:
            return row
        beside = next(self._beside, None)
        return None if beside is None else (*row, *beside)
