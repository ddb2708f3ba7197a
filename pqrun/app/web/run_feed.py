# SPDX-License-Identifier: LGPL-3.0-or-later
"""The data of one run's page, which grows as the run's journal does.

Records are appended as events to a file without a name; a browser reads the file from where it is. So no browser
needs a queue, and a new one reads the same file from its beginning. Of a job that changes several times
between two polls only the last record is written.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, BinaryIO

from pqrun.app.web.event_stream import message
from pqrun.control.run_view import OutputPiece, RunView, ViewedRun, view_run
from pqrun.core import events as ev
from pqrun.core.errors import InternalFailure, UserError
from pqrun.core.job import TAG_POOL, AttemptId
from pqrun.core.metrics import MetricsCollector
from pqrun.core.text import escape_controls
from pqrun.core.unicode_json import as_json
from pqrun.journal.projection import RunProjection, fold_journal
from pqrun.journal.reader import JournalPosition, JournalReader
from pqrun.journal.run_directory import RunDirectory
from pqrun.output.store import Capture, Logs, PackPlace
from pqrun.reports import Ending, RunInfo
from pqrun.reports.cases import as_recorded
from pqrun.reports.json_document import facts_of
from pqrun.reports.page_data import (
    ROWS_PER_CHUNK,
    AttemptRecords,
    Record,
    chunk,
    job_record,
    logs_of,
    page_head,
)

READ_BYTES = 64 * 1024
MIN_REBUILD_BYTES = 64 << 20
MAX_REPEATS = 4
"""A feed is made anew when its file is this many times as large as its first reading was, to keep it short."""


class FoldedJournal(RunProjection):
    """A journal folded in memory, as `view_run` asks for it."""

    metrics: MetricsCollector

    def states(self) -> Mapping[str, int]:
        """Return the number of jobs in each state that occurs."""
        found = {**self.table.states, **{str(outcome): n for outcome, n in self.table.outcomes.items()}}
        return {state: count for state, count in found.items() if count}

    def failed(self) -> int:
        """Return the number of jobs that make the run's exit code 1."""
        return self.table.failed

    def cut_short_for_good(self) -> int:
        """Return the number of interrupted jobs that `resume` does not run again."""
        return sum(row.state == "interrupted" and not row.spec.rerun for row in self.table.rows.values())


@dataclass(slots=True)
class FeedFile:
    """The events of a feed so far. `size`: the bytes that may be read; `head`: the newest event of the run."""

    mark: str = field(default_factory=lambda: secrets.token_hex(4))
    file: BinaryIO = field(default_factory=tempfile.TemporaryFile)
    size: int = 0
    first_size: int = 0
    head: bytes = b""
    version: int = 0

    def read(self, offset: int) -> bytes:
        """Return the events from an offset, at most 64 KiB of them."""
        return os.pread(self.file.fileno(), min(READ_BYTES, self.size - offset), offset)

    def put(self, kind: str, data: str) -> None:
        """Append an event. Its mark says where to read on after it."""
        size = len(message(kind, data, mark=self._mark(0)))
        event = message(kind, data, mark=self._mark(self.size + size))
        os.pwrite(self.file.fileno(), event, self.size)
        self.size += size

    def _mark(self, offset: int) -> str:
        return f"{self.mark}-{offset:012x}"


class RunFeed:
    """The feed of one run. All but `file` belongs to one thread."""

    def __init__(self, run: RunDirectory, *, read_only: bool) -> None:
        self._view = RunView(run)
        self._read_only = read_only
        self._begin()

    def _begin(self) -> None:
        """Read the journal from its beginning into a new file."""
        run = self._view.run
        logs = Logs(run.logs, keep=True)

        def output(
            seq: int, attempt: int, out: int, err: int, out_at: PackPlace | None, err_at: PackPlace | None
        ) -> Capture:
            return Capture.stored(logs, AttemptId(seq, attempt), out, err, out_at, err_at)

        self.file = FeedFile()
        self._folded = FoldedJournal(metrics=MetricsCollector(), output=output)
        self._position = JournalPosition()
        self._info: RunInfo | None = None
        self._attempts = AttemptRecords(0.0)
        self._was_live = False
        self._dropped: list[int] = []
        self._touched: dict[int, None] = {}
        self._priorities: dict[int, int] = {}
        self._outputs: dict[tuple[int, int], Capture] = {}
        self._records: dict[str, list[Record]] = {"jobs": [], "attempts": [], "waits": []}

    def poll(self) -> None:
        """Read what is new in the journal, and look whether the run lives. Tell browsers of a failure."""
        try:
            self._poll()
        except (InternalFailure, UserError, OSError) as failure:
            self._view.live = False
            self._view.forget()
            self._tell(message("trouble", as_json({"error": escape_controls(str(failure))})))

    def _poll(self) -> None:
        has_news = self._view.has_news()
        if has_news:
            if not JournalReader(self._view.run.journal, self._position).still_fits() or self._is_long():
                self._begin()
            lines = JournalReader(self._view.run.journal, self._position)
            for events in fold_journal(lines, self._folded):
                self._take(events)
        live = self._view.live
        if self._was_live and not live:  # the running jobs count as interrupted from now on
            self._touched.update(dict.fromkeys(self._folded.table.running))
        if has_news or live or self._was_live:
            self._was_live = live
            self._flush()
            self._tell(message("head", as_json(self._head(), separators=(",", ":"))))
            self.file.first_size = self.file.first_size or self.file.size

    def _is_long(self) -> bool:
        return self.file.size > max(MIN_REBUILD_BYTES, MAX_REPEATS * self.file.first_size)

    def _tell(self, head: bytes) -> None:
        if head != self.file.head:
            self.file.head = head
            self.file.version += 1

    def _take(self, events: list[ev.Event]) -> None:
        """Collect the records of some events; those of jobs and of running attempts are made later."""
        if self._info is None:
            self._info = self._run_info()
            self._attempts = AttemptRecords(self._info.began)
        attempts, rows = self._attempts, self._folded.table.rows
        for event in events:
            match event:
                case ev.JobQueued():
                    self._priorities[event.seq] = int(event.priority)
                case ev.AttemptSubmitted():
                    attempts.submitted(event, self._priorities.get(event.seq, 1))
                case ev.AttemptRefused():
                    attempts.refused(event)
                case ev.AttemptEnded():
                    if event.output is not None:
                        self._outputs[event.seq, event.attempt] = event.output
                    if row := rows.get(event.seq):
                        self._put("attempts", attempts.ended(event, row))
                case ev.JobWaiting():
                    self._put("waits", attempts.waiting(event))
                case ev.JobDropped():
                    self._dropped.append(event.seq)
                    attempts.last.pop(event.seq, None)
                    continue
                case ev.JobAdded() | ev.JobHeld() | ev.JobRemoved() | ev.JobEnded():
                    pass
                case ev.JobReopened() | ev.JobChanged() | ev.AttemptRestarted():
                    pass
                case _:
                    continue
            self._touched[event.seq] = None
        if len(self._touched) > ROWS_PER_CHUNK:
            self._flush()

    def _put(self, kind: str, record: Record) -> None:
        self._records[kind].append(record)

    def _flush(self) -> None:
        """Write the collected records, and those of the jobs that have changed."""
        if self._info is None:
            return
        table, live, logs = self._folded.table, self._view.live, logs_of(self._info)
        for record in self._attempts.running(table.rows, live=live):
            if record.seq in self._touched:
                self._put("attempts", record)
        for seq in self._touched:
            if row := table.rows.get(seq):
                last = self._attempts.last.get(seq, "")
                self._put(
                    "jobs", job_record(as_recorded(row, live=live), self._info.began, last=last, logs=logs)
                )
                if row.outcome is not None:
                    self._priorities.pop(seq, None)
        self._touched.clear()
        for kind, records in self._records.items():
            rest = iter(records)
            while some := list(islice(rest, ROWS_PER_CHUNK)):
                self.file.put("chunk", as_json(chunk(kind, some), separators=(",", ":")))
            records.clear()

    def _run_info(self) -> RunInfo:
        facts, header = self._folded.facts, self._folded.header
        return RunInfo(
            facts["run"], tuple(facts["files"]), facts["workers"], facts["began"], lambda at: at,
            self._view.run.path, header["cwd"], header.get("command", ""),
        )  # fmt: skip

    def _head(self) -> dict[str, Any]:
        assert self._info is not None
        seen = view_run(self._view.run, self._folded, live=self._view.live)
        ending = Ending(seen.code, seen.metrics, facts_of(seen), seen.live)
        lanes, stopped = self._attempts.lanes.highest, self._folded.table.stopped
        # Read from the journal, too: a request at each poll would be a turn of the run, and a wait for its lock.
        paused = seen.live and self._folded.paused
        stopping = seen.live and bool(seen.facts["stopped"])
        head = page_head(self._info, ending, lanes=lanes, dropped=self._dropped, stopped=stopped)
        pools = self._folded.pools if seen.live else {}
        limits = {
            escape_controls(name.removeprefix(TAG_POOL)): size
            for name, size in pools.items()
            if name.startswith(TAG_POOL)
        }
        held = {"paused": paused, "stopping": stopping, "tagLimits": limits}
        left = None if paused or stopping else self._seconds_left(seen)
        return {**head, **held, "readOnly": self._read_only, "secondsLeft": left}

    def _seconds_left(self, seen: ViewedRun) -> float | None:
        """Return the estimated seconds until a live run ends, as the live table shows them; None if unknown."""
        table = self._folded.table
        if not seen.live or not seen.facts["input_ended"]:
            return None
        table.rate.expected = lambda _now, left: self._view.expected(seen, table.rows.values(), left)
        left = table.seconds_left(seen.now, average=seen.metrics.average_processing)
        return None if left is None else round(left, 1)

    def printed(self, seq: int, attempt: int, stream: int, offset: int | None) -> OutputPiece:
        """Return output of an attempt from byte `offset`; with None, its last part."""
        row = self._folded.table.rows.get(seq)
        if row is None:
            return OutputPiece(over=True)
        return self._view.read(row, attempt, self._outputs.get((seq, attempt)), stream, offset)

    def why(self, seq: int) -> str:
        """Return why an unfinished job does not run."""
        row = self._folded.table.rows.get(seq)
        return "" if row is None else self._view.why(row)

    def act(self, verb: str, facts: dict[str, Any]) -> dict[str, Any]:
        """Send a request to the run. Raises `InternalFailure` or `UserError` if it is refused."""
        self._view.live = self._view.run.in_use()
        return self._view.act(verb, **facts)

    def close(self) -> None:
        """Close the connection to the run. The file goes with its last reader."""
        self._view.close()
