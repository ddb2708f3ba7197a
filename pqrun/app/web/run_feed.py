# SPDX-License-Identifier: LGPL-3.0-or-later
"""The data of one run's page, which grows as the run's journal does.

While jobs end faster than anybody can read, the feed is behind: it folds as much of the journal as a small share of
a processor allows. Then the page gets the numbers of the run from the run itself, at once the jobs that failed or run
for long, and the rows of the others later: as soon as the run continues more slowly, and at the latest when it has
ended.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from pqrun.app.web.event_stream import FeedFile, message
from pqrun.app.web.page_records import PageAhead, PageRecords
from pqrun.control.run_view import OutputPiece, RunView, ViewedRun, view_run
from pqrun.core.errors import InternalFailure, UserError
from pqrun.core.job import TAG_POOL, Outcome
from pqrun.core.job_row import JobRow
from pqrun.core.metrics import MetricsCollector
from pqrun.core.text import escape_controls
from pqrun.core.unicode_json import as_json
from pqrun.journal.ahead import JournalAhead
from pqrun.journal.projection import RunProjection, fold_journal, kept_outputs
from pqrun.journal.reader import JournalPosition, JournalReader
from pqrun.journal.run_directory import RunDirectory
from pqrun.output.store import Logs
from pqrun.reports.json_document import facts_of
from pqrun.reports.page_data import page_head
from pqrun.reports.report import Ending, RunInfo

MIN_REBUILD_BYTES = 64 << 20
MAX_REPEATS = 4
"""A feed is made anew when its file is this many times as large as it was when it was first complete."""
FAST_BYTES_PER_SECOND = 64 * 1024
"""A journal that grows faster has more jobs than anybody can read: some 150 a second."""
POLL_SECONDS, FAST_POLL_SECONDS = 0.5, 1.0
FAST_CPU_SECONDS, SLICE_CPU_SECONDS = 0.005, 0.5
"""The CPU time for the fold of one poll, while the journal grows fast and otherwise."""
BATCH_BYTES = 16 * 1024


class FoldedJournal(RunProjection):
    """A journal folded in memory, as `view_run` asks for it."""

    metrics: MetricsCollector

    def states(self) -> Mapping[str, int]:
        """Return the number of jobs in each state that occurs."""
        return self.table.by_state()

    def failed(self) -> int:
        """Return the number of jobs that make the run's exit code 1."""
        return self.table.failed

    def cut_short_for_good(self) -> int:
        """Return the number of interrupted jobs that `resume` does not run again."""
        if not self.table.outcomes[Outcome.INTERRUPTED]:
            return 0
        return sum(row.state == "interrupted" and not row.spec.rerun for row in self.table.rows.values())


class RunFeed:
    """The feed of one run. All but `file` belongs to one thread."""

    def __init__(self, run: RunDirectory, *, read_only: bool) -> None:
        self._view = RunView(run)
        self._read_only = read_only
        self._measured: tuple[float, int] | None = None
        self._begin()

    def _begin(self) -> None:
        """Read the journal from its beginning into a new file."""
        self.file = FeedFile()
        self._output = kept_outputs(Logs(self._view.run.logs, keep=True))
        self._folded = FoldedJournal(metrics=MetricsCollector(), output=self._output)
        self._position = JournalPosition()
        self._behind = False
        self._ahead: PageAhead | None = None
        self._records: PageRecords | None = None
        self._was_live = False

    def poll(self) -> float:
        """Read what is new in the journal, and look whether the run lives. Tell browsers of a failure.

        Return the seconds until the next poll, 0 if there is more to read already.
        """
        try:
            return self._poll()
        except (InternalFailure, UserError, OSError) as failure:
            self._view.live = False
            self._view.forget()
            self._ahead = None
            self.file.tell(message("trouble", as_json({"error": escape_controls(str(failure))})))
            return POLL_SECONDS

    def _poll(self) -> float:
        has_news, was_behind, is_first = self._view.has_news(), self._behind, self._measured is None
        live, fast = self._view.live, self._view.live and self._grows_fast()
        if has_news and (not self._reader().still_fits() or self._is_long()):
            self._begin()
        if has_news or was_behind:
            self._behind = self._read_on(FAST_CPU_SECONDS if fast else SLICE_CPU_SECONDS)
        if self._was_live and not live:  # the running jobs count as interrupted from now on
            self._page_records().touch(self._folded.table.running)
        has_changed = has_news or was_behind or live or self._was_live
        self._was_live = live
        if self._behind and not live:
            return 0.0  # the page gets the end of the run as a whole
        if has_changed:
            self._write(asks=fast)
            self.file.tell(message("head", as_json(self._head(), separators=(",", ":"))))
        if not self._behind or is_first:  # at the second poll it is known whether the journal grows fast
            return POLL_SECONDS
        return FAST_POLL_SECONDS if fast else 0.0

    def _reader(self) -> JournalReader:
        return JournalReader(self._view.run.journal, self._position, BATCH_BYTES)

    def _grows_fast(self) -> bool:
        """Return whether the journal has grown fast since the last call, as is assumed at the first call."""
        now, size = time.monotonic(), self._view.journal_size
        before, self._measured = self._measured, (now, size)
        return before is None or size - before[1] > FAST_BYTES_PER_SECOND * (now - before[0])

    def _is_long(self) -> bool:
        first = self.file.complete_size
        return first > 0 and self.file.size > max(MIN_REBUILD_BYTES, MAX_REPEATS * first)

    def _read_on(self, cpu_seconds: float) -> bool:
        """Fold what is new for at most this time; return whether more is left."""
        until = time.thread_time() + cpu_seconds
        for events in fold_journal(self._reader(), self._folded):
            records = self._page_records()
            records.collect(events)
            if records.is_full:  # a feed that is behind writes records in large pieces, which is cheaper
                records.write_ended(but=() if self._ahead is None else self._ahead.rows)
            if time.thread_time() > until:
                return self._position.offset < self._view.journal_size
        return False

    def _page_records(self) -> PageRecords:
        if self._records is None:
            self._records = PageRecords(self._run_info(), self._folded.table.rows, self.file)
        return self._records

    def _all_records(self) -> list[PageRecords]:
        """Return the writers of all jobs, and while the feed is behind, of the jobs that are shown at once."""
        ahead = [] if self._ahead is None else [self._ahead.records]
        return ([] if self._records is None else [self._records]) + ahead

    def _new_ahead(self, records: PageRecords, now: float) -> PageAhead:
        records.write_ended()  # from here on, failures are found by looking ahead
        journal = JournalAhead(self._view.run.journal, self._position.offset, self._folded, self._output)
        rows, lanes = journal.run.table.rows, records.attempts.lanes
        return PageAhead(journal, PageRecords(records.run, rows, self.file, lanes), now)

    def _write(self, *, asks: bool) -> None:
        """Write the records of all jobs, or while the feed is behind those that are wanted at once.

        `asks`: ask the run for its numbers then. One that stands still may not answer, and they have hardly changed.
        """
        records, live = self._page_records(), self._view.live
        if self._behind:
            if self._ahead is None:
                self._ahead = self._new_ahead(records, time.time())
            numbers = self._view.numbers() if asks else None
            self._ahead.look(self._position.offset, numbers, time.time())
            return
        if self._ahead is not None:
            records.touch(self._ahead.rows)
            self._ahead = None
        records.write_all(live=live)
        self.file.complete_size = self.file.complete_size or self.file.size

    def _run_info(self) -> RunInfo:
        facts, header = self._folded.facts, self._folded.header
        return RunInfo(
            facts["run"], tuple(facts["files"]), facts["workers"], facts["began"], lambda at: at,
            self._view.run.path, header["cwd"], header.get("command", ""),
        )  # fmt: skip

    def _head(self) -> dict[str, Any]:
        records, ahead = self._page_records(), self._ahead
        seen = view_run(self._view.run, self._folded, live=self._view.live)
        seen = seen if ahead is None else ahead.seen(seen)
        known = self._folded if ahead is None else ahead.journal.run
        ending = Ending(seen.code, seen.metrics, facts_of(seen), seen.live, seen.now)
        lanes = max(one.attempts.lanes.highest for one in self._all_records())
        # Read from the journal: a request to the run would be a turn of it, and a wait for its lock.
        paused = seen.live and known.paused
        stopping = seen.live and bool(seen.facts["stopped"])
        head = page_head(
            records.run,
            ending,
            lanes=lanes,
            dropped=records.dropped,
            stopped=known.table.stopped,
        )
        pools = known.pools if seen.live else {}
        limits = {
            escape_controls(name.removeprefix(TAG_POOL)): size
            for name, size in pools.items()
            if name.startswith(TAG_POOL)
        }
        held = {"paused": paused, "stopping": stopping, "tagLimits": limits}
        left = None if paused or stopping else self._seconds_left(seen)
        counts = None if ahead is None else ahead.counts()
        return {**head, **held, "readOnly": self._read_only, "secondsLeft": left, "ahead": counts}

    def _seconds_left(self, seen: ViewedRun) -> float | None:
        """Return the estimated seconds until a live run ends, as the live table shows them; None if unknown."""
        if not seen.live or not seen.facts["input_ended"]:
            return None
        if self._ahead is not None:
            left = self._ahead.seconds_left(seen)
        else:
            table = self._folded.table
            table.rate.expected = lambda _now, left: self._view.expected(seen, table.rows.values(), left)
            left = table.seconds_left(seen.now, average=seen.metrics.average_processing)
        return None if left is None else round(left, 1)

    def _row(self, seq: int) -> JobRow | None:
        row = None if self._ahead is None else self._ahead.rows.get(seq)
        return self._folded.table.rows.get(seq) if row is None else row

    def printed(self, seq: int, attempt: int, stream: int, offset: int | None) -> OutputPiece:
        """Return output of an attempt from byte `offset`; with None, its last part."""
        row = self._row(seq)
        if row is None:
            return OutputPiece(over=True)
        outputs = (one.outputs for one in self._all_records())
        found = next((kept[seq, attempt] for kept in outputs if (seq, attempt) in kept), None)
        return self._view.read(row, attempt, found, stream, offset)

    def why(self, seq: int) -> str:
        """Return why an unfinished job does not run."""
        row = self._row(seq)
        return "" if row is None else self._view.why(row)

    def act(self, verb: str, facts: dict[str, Any]) -> dict[str, Any]:
        """Send a request to the run. Raises `InternalFailure` or `UserError` if it is refused."""
        self._view.live = self._view.run.in_use()
        return self._view.act(verb, **facts)

    def close(self) -> None:
        """Close the connection to the run. The file goes with its last reader."""
        self._view.close()
