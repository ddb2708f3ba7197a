# SPDX-License-Identifier: LGPL-3.0-or-later
"""The fold of a journal's lines, into the rows of the job table and what is known of the run itself.

History, restart and compaction all read a journal with this fold. What an event undoes is known in the job
table alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from pqrun.core.errors import InternalFailure
from pqrun.core.events import Event
from pqrun.core.job import OutputPlace
from pqrun.core.job_table import JobRow, JobTable
from pqrun.core.metrics import MetricsCollector
from pqrun.core.text import run_source
from pqrun.core.throughput import Throughput
from pqrun.journal.decoder import CaptureOf, Decoder
from pqrun.journal.reader import JournalReader, gc_paused
from pqrun.output.store import PackPlace

Line = dict[str, Any]


class StreamSize(NamedTuple):
    """The bytes of a stream of an attempt's output, and their place if that is in a pack; the directory is not known."""

    size: int
    place: OutputPlace | None = None


class OutputSizes(NamedTuple):
    """The bytes that an attempt printed on stdout and stderr."""

    out: StreamSize
    err: StreamSize


def output_sizes(
    _seq: int, _attempt: int, out: int, err: int, out_at: PackPlace | None, err_at: PackPlace | None
) -> OutputSizes:
    """Return the output of an attempt by its size and its place in a pack alone."""
    return OutputSizes(StreamSize(out, _in_pack(out_at)), StreamSize(err, _in_pack(err_at)))


def _in_pack(at: PackPlace | None) -> OutputPlace | None:
    return None if at is None else OutputPlace("", at[1], at[0])


class RunProjection:
    """A run as the lines of its journal tell it so far; times are on the wall clock.

    `table` has the jobs, `facts` what an index keeps of the run itself, `metrics` its numbers, if asked for. `header` is the first line, and
    `tokens` mark the environment of the jobs of each process. `workers` (None: never set), `pools` and
    `paused` are what requests have set, in any process. `set_aside` gets a row whose last attempt is about to
    be replaced by the next one.
    """

    def __init__(
        self,
        rows: dict[int, JobRow] | None = None,
        facts: dict[str, Any] | None = None,
        metrics: MetricsCollector | None = None,
        output: CaptureOf = output_sizes,
        set_aside: Callable[[JobRow], None] = lambda _: None,
    ) -> None:
        self.table = JobTable(keeps_ended=True)
        if rows is not None:
            self.table.rows = rows
        self.facts: dict[str, Any] = {} if facts is None else facts
        self.metrics = metrics
        self.header: Line = {}
        self.tokens: list[str] = []
        self.input_ended = False
        self.workers: int | None = None
        self.pools: dict[str, int] = {}
        self.paused = False
        self._set_aside = set_aside
        self._decode = Decoder(output, lambda seq: self._row(seq).spec)
        self._events: list[Event] = []
        self._folded = 0

    def fold(self, lines: Sequence[Line]) -> list[Event]:
        """Fold lines in their order, and return their events.

        Raises KeyError, TypeError or ValueError for a malformed line.
        """
        events: list[Event] = []
        self._events, self._folded = events, 0
        decode = self._decode
        for line in lines:
            if "s" not in line:
                self._fold_run(line)
                if "t" not in line:
                    continue
            elif line["e"] == "end" and line["n"] > 1 and (row := self._row(line["s"])).last:
                self._set_aside(row)
            events += decode(line)
        self._fold_events()
        if self.metrics is not None:
            self.metrics.fold(events)
        if lines:
            last = lines[-1]
            self.facts["until"] = last["t"] if "t" in last else last["at"]
        return events

    def _fold_events(self) -> None:
        """Fold the events that were decoded since the last call."""
        self.table.fold_all(self._events[self._folded :] if self._folded else self._events)
        self._folded = len(self._events)

    def _row(self, seq: int) -> JobRow:
        """Return the row of a job, up to date."""
        self._fold_events()
        return self.table.rows[seq]

    def _process_began(self, line: Line) -> None:
        """Fold the first line of a process, which begins the run or resumes it."""
        facts = self.facts
        self._fold_events()  # the ends of an earlier process are no part of the new rate
        self.table.rate = Throughput(line["at"], self.table.rate.expected)
        if "pqrun" in line:
            self.header = line
            if self.metrics is not None:
                self.metrics.began = self.metrics.last_end = line["at"]
            facts.update(run=line["run"], began=line["at"], listed=line["listed"], files=[], complete=True)
        if "pqrun" in line or line.get("files"):
            facts.update(source=run_source(line))
        self.tokens.append(line["token"])
        facts.update(files=line.get("files") or facts["files"], workers=line.get("workers"))
        facts.update(
            process_began=line["at"], input_ended=False, stopped="", closed=None, exit=None, guarded=None
        )

    def _fold_run(self, line: Line) -> None:
        """Fold a line about the run itself."""
        facts = self.facts
        match line.get("e"):
            case None | "resume":
                self._process_began(line)
            case "input":
                self.input_ended = True
                facts.update(input_ended=True, complete=line["complete"])
            case "workers":
                self.workers = facts["workers"] = line["workers"]
            case "pool":
                self.pools[line["name"]] = line["size"]
            case "pause":
                self.paused = line["on"]
            case "stop":
                facts["stopped"] = facts.get("stopped") or line["cause"]
            case "close":
                facts.update(closed=line["t"], exit=line.get("exit"), guarded=line.get("guarded"))


def fold_journal(lines: JournalReader, run: RunProjection) -> Iterator[list[Event]]:
    """Fold the rest of a journal, and yield the events of each batch of lines.

    Raises InternalFailure if a line is not of this journal.
    """
    with gc_paused():
        for batch in lines.batches():
            try:
                events = run.fold(batch)
            except (KeyError, TypeError, ValueError) as error:
                where = f"before line {lines.position.line + 1}"
                raise InternalFailure(f"{lines.path} is damaged {where}; it was not changed") from error
            yield events
        if not run.facts:
            raise InternalFailure(f"{lines.path} is damaged at line 1; it was not changed")
