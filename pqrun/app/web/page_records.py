# SPDX-License-Identifier: LGPL-3.0-or-later
"""The records of a page, made of the events of a run and written to the file of its feed.

Of a job that changes several times before its record is written only the last one is made.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from itertools import islice
from typing import Any

from pqrun.app.web.event_stream import FeedFile
from pqrun.control.run_view import LEFT, RunNumbers, ViewedRun
from pqrun.core import events as ev
from pqrun.core.job_row import WAITING, JobRow
from pqrun.core.metrics import Throughput
from pqrun.core.unicode_json import as_json
from pqrun.journal.ahead import JournalAhead
from pqrun.output.store import Capture
from pqrun.reports.cases import as_recorded
from pqrun.reports.page_data import ROWS_PER_CHUNK, AttemptRecords, Record, chunk, job_record, logs_of
from pqrun.reports.report import RunInfo
from pqrun.reports.trace_lanes import TraceLanes


class PageRecords:
    """Writer of the records of jobs. `rows`: the rows of these jobs, into which their events were folded.

    `lanes`: the lanes of attempts that began elsewhere, which they keep. `outputs`: what each attempt has printed, by
    the numbers of job and attempt. `dropped`: the jobs that left the run.
    """

    def __init__(
        self, run: RunInfo, rows: Mapping[int, JobRow], file: FeedFile, lanes: TraceLanes | None = None
    ) -> None:
        self.attempts = AttemptRecords(run)
        self.outputs: dict[tuple[int, int], Capture] = {}
        self.dropped: list[int] = []
        self.run = run
        self._logs = logs_of(run)
        self._rows = rows
        self._file = file
        self._lanes = lanes
        self._touched: dict[int, None] = {}
        self._ended: dict[int, None] = {}
        self._priorities: dict[int, int] = {}
        self._records: dict[str, list[Record]] = {"attempts": [], "waits": []}

    def collect(self, events: Iterable[ev.Event]) -> None:
        """Collect the records of events; those of jobs and of running attempts are made when they are written."""
        attempts, records = self.attempts, self._records
        for event in events:
            touched = self._touched
            match event:
                case ev.JobQueued():
                    self._priorities[event.seq] = int(event.priority)
                case ev.AttemptSubmitted():
                    self._submitted(event)
                case ev.AttemptRefused():
                    attempts.refused(event)
                case ev.AttemptEnded():
                    if event.output is not None:
                        self.outputs[event.seq, event.attempt] = event.output
                    if row := self._rows.get(event.seq):
                        records["attempts"].append(attempts.ended(event, row))
                case ev.JobWaiting():
                    records["waits"].append(attempts.waiting(event))
                case ev.JobDropped():
                    self.dropped.append(event.seq)
                    attempts.last.pop(event.seq, None)
                    continue
                case ev.JobEnded():
                    touched = self._ended
                case (
                    ev.JobAdded() | ev.JobHeld() | ev.JobRemoved() | ev.JobReopened() | ev.JobChanged()
                    | ev.AttemptRestarted()
                ):  # fmt: skip
                    pass  # only the row of the job tells more
                case _:
                    continue
            touched[event.seq] = None

    def _submitted(self, event: ev.AttemptSubmitted) -> None:
        priority = self._priorities.get(event.seq)
        if priority is None:
            row = self._rows.get(event.seq)
            priority = 1 if row is None else int(row.priority)
        self.attempts.submitted(event, priority)
        if self._lanes is not None and (lane := self._lanes.of(event.seq)):
            self.attempts.lanes.move(event.seq, f"slot {lane}")

    def touch(self, seqs: Iterable[int]) -> None:
        """Have the records of these jobs written again."""
        self._touched.update(dict.fromkeys(seqs))

    def write_ended(self, but: Container[int] = ()) -> None:
        """Write the records of the jobs that have ended, except those in `but`. The others are left for later."""
        later = [seq for seq in self._ended if seq in but]
        ended = [seq for seq in self._ended if seq not in but and self._has_ended(seq)]
        self._ended.clear()
        self.touch(later)
        for seq in ended:
            self._touched.pop(seq, None)
        self._write(ended, live=True)

    def write_all(self, *, live: bool) -> None:
        """Write all records that are new. Unless the run is live, what ran was interrupted."""
        self._touched.update(self._ended)
        for record in self.attempts.running(self._rows, live=live):
            if record.seq in self._touched:
                self._records["attempts"].append(record)
        self._write(self._touched, live=live)
        self._ended.clear()
        self._touched.clear()

    @property
    def is_full(self) -> bool:
        """Whether so much is collected that `write_ended` should be called."""
        return len(self._ended) >= ROWS_PER_CHUNK

    def _has_ended(self, seq: int) -> bool:
        row = self._rows.get(seq)
        return row is not None and row.outcome is not None

    def _write(self, seqs: Iterable[int], *, live: bool) -> None:
        self._put("jobs", (self._job(row, live=live) for seq in seqs if (row := self._rows.get(seq))))
        for kind, records in self._records.items():
            self._put(kind, records)
            records.clear()

    def _job(self, row: JobRow, *, live: bool) -> Record:
        if row.outcome is not None:
            self._priorities.pop(row.seq, None)
        last = self.attempts.last.get(row.seq, "")
        return job_record(as_recorded(row, live=live), self.run, last=last, logs=self._logs)

    def _put(self, kind: str, records: Iterable[Record]) -> None:
        rest = iter(records)
        while some := list(islice(rest, ROWS_PER_CHUNK)):
            self._file.put("chunk", as_json(chunk(kind, some), separators=(",", ":")))


class PageAhead:
    """The content of a page while its feed is behind: the run's own numbers, and at once the rows of some jobs.

    `numbers`: the newest that the run has told, None so far. Times are seconds of the wall clock.
    """

    def __init__(self, journal: JournalAhead, records: PageRecords, now: float) -> None:
        self.journal = journal
        self.records = records
        self.numbers: RunNumbers | None = None
        self._rate = Throughput(now)

    @property
    def rows(self) -> Mapping[int, JobRow]:
        """The rows of the jobs that are shown at once."""
        return self.journal.run.table.rows

    def look(self, position: int, numbers: RunNumbers | None, now: float) -> None:
        """Write the records of what is new. `position`: the offset before which the journal is folded by now.

        `now` is on the wall clock.
        """
        self.records.collect(self.journal.read(position))
        self.records.write_all(live=True)
        if numbers is None:
            return
        if self.numbers is not None and (ended := _ended(numbers) - _ended(self.numbers)) > 0:
            self._rate.count(now, ended)
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
        left = sum(seen.counts.get(state, 0) for state in LEFT)
        retries = seen.counts.get(WAITING, 0)
        return self._rate.eta(seen.now, left, waiting=retries, last_retry=seen.metrics.average_processing)


def _ended(numbers: RunNumbers) -> int:
    return sum(count for state, count in numbers.counts.items() if state not in LEFT)
