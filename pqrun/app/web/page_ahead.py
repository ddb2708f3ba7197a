# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a page shows of a run while its feed is behind: the run's own numbers, and at once the rows of a few jobs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from pqrun.app.web.page_records import PageRecords
from pqrun.control.run_view import UNFINISHED, RunNumbers, ViewedRun
from pqrun.core.job_row import WAITING, JobRow
from pqrun.core.job_table import Throughput
from pqrun.journal.ahead import JournalAhead


class PageAhead:
    """The jobs of a `JournalAhead` as records, and the newest numbers that the run has told, None so far."""

    def __init__(self, journal: JournalAhead, records: PageRecords) -> None:
        self.journal = journal
        self.records = records
        self.numbers: RunNumbers | None = None
        self._rate = Throughput(time.time())

    @property
    def rows(self) -> Mapping[int, JobRow]:
        """The rows of the jobs that are shown at once."""
        return self.journal.run.table.rows

    def look(self, position: int, numbers: RunNumbers | None) -> None:
        """Write the records of what is new. `position`: the offset before which the journal is folded by now."""
        self.records.collect(self.journal.read(position))
        self.records.write_all(live=True)
        if numbers is None:
            return
        if self.numbers is not None and (ended := _ended(numbers) - _ended(self.numbers)) > 0:
            self._rate.count(time.time(), ended)
        self.numbers = numbers

    def seen(self, run: ViewedRun) -> ViewedRun:
        """Return the run with what is known by now."""
        facts = self.journal.run.facts
        return run if self.numbers is None else run.with_numbers(self.numbers, facts)

    def counts(self) -> dict[str, Any] | None:
        """Return the number of jobs in each state, for the head of the page."""
        return None if self.numbers is None else self.numbers.counts

    def seconds_left(self, seen: ViewedRun) -> float | None:
        """Return the estimated seconds until the run ends, None if unknown."""
        left = sum(seen.counts.get(state, 0) for state in UNFINISHED)
        retries = seen.counts.get(WAITING, 0)
        return self._rate.eta(seen.now, left, waiting=retries, last_retry=seen.metrics.average_processing)


def _ended(numbers: RunNumbers) -> int:
    return sum(count for state, count in numbers.counts.items() if state not in UNFINISHED)
