# SPDX-License-Identifier: LGPL-3.0-or-later
"""The fold of a journal's lines: into events, the way back from `format`, and the rows of the job table.

What is known of the run itself is folded, too. History, restart and compaction all read a journal with this
fold. What an event undoes is known in the job table alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from pqrun.core import events as ev
from pqrun.core.errors import InternalFailure
from pqrun.core.job import (
    NO_REPORT,
    AttemptId,
    Command,
    CountedAs,
    Exit,
    ExitedWith,
    JobSpec,
    KilledBySignal,
    LostExit,
    NotStarted,
    Outcome,
    OutputPlace,
    Priority,
    SelfReport,
    StopReason,
    Usage,
)
from pqrun.core.job_row import JobRow
from pqrun.core.job_table import JobTable
from pqrun.core.metrics import MetricsCollector, Throughput
from pqrun.core.text import run_source
from pqrun.journal.format import UNKNOWN, spec_of
from pqrun.journal.reader import JournalReader, Line, gc_paused
from pqrun.output.store import Capture, Logs, PackPlace

CaptureOf = Callable[[int, int, int, int, PackPlace | None, PackPlace | None], Any]
_new = tuple.__new__
"""The constructor of a tuple's class, without the check of its arguments: each job needs eight of them."""
_EXIT_OK = ExitedWith(0)
_COUNTED = {str(counted): counted for counted in CountedAs}
_OUTCOMES = {str(outcome): outcome for outcome in Outcome}


class StreamSize(NamedTuple):
    """The bytes of one stream of an attempt, and their place if that is in a pack, whose directory is not known."""

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


def kept_outputs(logs: Logs) -> CaptureOf:
    """Return the function for a decoder that returns the output of an attempt as it is kept in `logs`."""

    def output(
        seq: int, attempt: int, out: int, err: int, out_at: PackPlace | None, err_at: PackPlace | None
    ) -> Capture:
        return Capture.stored(logs, AttemptId(seq, attempt), out, err, out_at, err_at)

    return output


def _in_pack(at: PackPlace | None) -> OutputPlace | None:
    return None if at is None else OutputPlace("", at[1], at[0])


class RunProjection:
    """A run as the lines of its journal tell it so far; times are on the wall clock.

    `table` has the jobs, `facts` what an index keeps of the run itself, `metrics` its numbers, if asked for.
    `header` is the first line, and `tokens` mark the environment of the jobs of each process. `workers` (None:
    never set), `pools` and `paused` are what requests have set, in any process. `set_aside` gets a row whose last
    attempt is about to be replaced by the next one.
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
        self._events: list[ev.Event] = []
        self._folded = 0

    def fold(self, lines: Sequence[Line]) -> list[ev.Event]:
        """Fold lines in their order, and return their events.

        Raises KeyError, TypeError or ValueError for a malformed line.
        """
        events: list[ev.Event] = []
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
                if not line["size"]:  # the limit of a tag was lifted
                    del self.pools[line["name"]]
            case "pause":
                self.paused = line["on"]
            case "stop":
                facts["stopped"] = facts.get("stopped") or line["cause"]
            case "close":
                facts.update(closed=line["t"], exit=line.get("exit"), guarded=line.get("guarded"))


def fold_journal(lines: JournalReader, run: RunProjection) -> Iterator[list[ev.Event]]:
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


class Decoder:
    """Decoder of journal lines to events.

    `output(seq, attempt, out, err, out_at, err_at)` returns the captured output of an attempt, by its bytes and
    their places in packs; `spec(seq)` returns the present description of a job.
    """

    def __init__(self, output: CaptureOf, spec: Callable[[int], JobSpec] = lambda _: UNKNOWN) -> None:
        self._output = output
        self._nothing = output(0, 0, 0, 0, None, None)
        self._like = UNKNOWN
        self._rest: Line | None = None
        self._several: dict[str, Callable[[Line, float], Sequence[ev.Event]]] = {
            "add": self._added,
            "end": self._ended,
        }
        self._single: dict[str, Callable[[Line, float], ev.Event]] = {
            **_SINGLE,
            "again": lambda line, at: ev.JobReopened(
                at, line["s"], _OUTCOMES[line["o"]], spec(line["s"]), line.get("by", "")
            ),
            "change": lambda line, at: ev.JobChanged(
                at, line["s"], self._spec(line["job"]), line["by"], line.get("front", False)
            ),
        }

    def __call__(self, line: Line) -> Sequence[ev.Event]:
        """Return the events of a line.

        A line of an unknown kind gives no events: within a version, only kinds that may be skipped are
        added. Raises KeyError, TypeError or ValueError for a malformed line.
        """
        kind, at = line["e"], line["t"]
        if several := self._several.get(kind):
            return several(line, at)
        single = self._single.get(kind)
        return () if single is None else (single(line, at),)

    def _added(self, line: Line, at: float) -> Sequence[ev.Event]:
        seq, spec = line["s"], self._spec(line["job"])
        added = _new(ev.JobAdded, (at, seq, spec, line.get("by", "")))
        return (added, _new(ev.JobQueued, (at, seq, 1, spec.priority))) if "q" in line else (added,)

    def _output_of(self, line: Line) -> Any:
        out_at, err_at = _place(line.get("out_at")), _place(line.get("err_at"))
        return self._output(line["s"], line["n"], line["out"], line["err"], out_at, err_at)

    def _spec(self, facts: Line) -> JobSpec:
        """Return a job. The fields that it shares with the previous job are not decoded again."""
        run, like = facts.get("run"), self._like
        rest = facts.copy()
        job_id, args, line = rest.pop("id"), rest.pop("args", ()), rest.pop("line", 0)
        if rest.pop("run", None).__class__ is str and rest == self._rest:
            work = _new(Command, (run, *like.work[1:]))
            return _new(JobSpec, (job_id, work, *like[2:-2], tuple(args), line))
        spec = spec_of(facts)
        if isinstance(run, str):
            self._like, self._rest = spec, rest
        return spec

    def _ended(self, line: Line, at: float) -> Sequence[ev.Event]:
        get, seq, attempt = line.get, line["s"], line["n"]
        asked, message = get("asked"), get("message")
        out = self._output_of(line) if "out" in line else self._nothing
        ended = _new(ev.AttemptEnded, (
            at, seq, attempt, _COUNTED[line["as"]], _exit(line), None if asked is None else StopReason(asked),
            line["b"], line["f"], _new(Usage, (line["u"], line["y"], get("m"))),
            NO_REPORT if message is None else SelfReport(message=message), out, get("where", ""),
        ))  # fmt: skip
        return (ended, _job_ended(line, at)) if "o" in line else (ended,)


def _place(at: list[int] | None) -> PackPlace | None:
    """Return a place in a pack. Raises ValueError for a malformed one."""
    if at is None:
        return None
    pack, offset = map(int, at)
    return pack, offset


def _job_ended(line: Line, at: float) -> ev.JobEnded:
    get = line.get
    outcome = _OUTCOMES[line["o"]]
    return ev.JobEnded(at, line["s"], outcome, line["n"], get("ok", False), get("because", ""), get("by", ""))


def _exit(line: Line) -> Exit:
    if "lost" in line:
        return LostExit(line["lost"], line.get("gone", False))
    if "sig" in line:
        return KilledBySignal(line["sig"])
    if "not" in line:
        return NotStarted(line["x"], line["not"])
    code = line["x"]
    return ExitedWith(code) if code else _EXIT_OK


_SINGLE: dict[str, Callable[[Line, float], ev.Event]] = {
    "start": lambda line, at: _new(ev.AttemptSubmitted, (at, line["s"], line["n"], line["w"])),
    "done": _job_ended,
    "queue": lambda line, at: ev.JobQueued(at, line["s"], line["n"], Priority(line["p"])),
    "wait": lambda line, at: ev.JobWaiting(at, line["s"], line["n"], line["until"]),
    "delay": lambda line, at: ev.JobDelayed(at, line["s"], line["n"], line["until"]),
    "refuse": lambda line, at: ev.AttemptRefused(at, line["s"], line["n"], line["why"]),
    "twice": lambda line, at: ev.AttemptRestarted(at, line["s"], line["n"], line["where"]),
    "remove": lambda line, at: ev.JobRemoved(at, line["s"]),
    "drop": lambda line, at: ev.JobDropped(at, line["s"], _OUTCOMES[line["o"]] if line["o"] else None),
    "hold": lambda line, at: ev.JobHeld(at, line["s"], line["on"], line["by"]),
    "input": lambda line, at: ev.InputEnded(at, line["jobs"], line["complete"], line["why"]),
    "workers": lambda line, at: ev.WorkersChanged(at, line["workers"], line["by"]),
    "pool": lambda line, at: ev.PoolChanged(at, line["name"], line["size"], line["by"]),
    "pause": lambda line, at: ev.RunPaused(at, line["on"], line["by"]),
    "stop": lambda line, at: ev.RunStopping(
        at, line["cause"], line["drain"], line["force"], line.get("by", "")
    ),
    "slots": lambda line, at: ev.SlotsChanged(at, line["slots"], line["why"]),
}
"""For each kind of line that describes one event on its own: the function that makes the event."""
