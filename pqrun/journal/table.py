# SPDX-License-Identifier: LGPL-3.0-or-later
"""A run as a table, folded straight from the lines of its journal: what history shows of it.

It tells what the ledger and the metrics of a live run tell (a test holds them together), but makes
no events of the lines: of a run of 100,000 jobs half a million are read while somebody waits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from json.encoder import encode_basestring_ascii as quote
from typing import Any

from pqrun.journal.tally import Tally

Line = dict[str, Any]
COLUMNS = (
    "seq", "id", "run", "named", "priority", "tags", "timeout", "most_retries", "state", "allowed",
    "attempts", "retries", "queued", "submitted", "waited",
    "last", "began", "ended", "code", "signal", "asked", "user", "system", "message", "out", "err",
)  # fmt: skip
ATTEMPT = ("seq", "last", "began", "ended", "code", "signal", "asked", "message", "out", "err")


class Entry:
    """One job. From `last` on: of its last attempt that ended. Times are seconds of the wall clock."""

    __slots__ = COLUMNS

    def __init__(self, seq: int, job: Line) -> None:
        self.seq: int = seq
        self.state = "pending"
        self.allowed = False
        self.attempts = self.retries = self.last = self.out = self.err = 0
        self.queued: float | None = None
        self.submitted: float | None = None
        self.waited: float | None = None
        self.began: float | None = None
        self.ended: float | None = None
        self.code: int | None = None
        self.signal: str | None = None
        self.asked: str | None = None
        self.user = self.system = 0.0
        self.message = ""
        self.describe(job)

    def describe(self, job: Line) -> None:
        """What the job is, as the journal has it; `run` and `tags` as JSON."""
        run = job.get("run")
        self.id: str = job["id"]
        self.run: str = quote(run) if isinstance(run, str) else json.dumps(run)
        self.named: bool = job.get("named", True)
        self.priority: int = job.get("priority", 1)
        self.tags: str = json.dumps(job["tags"]) if "tags" in job else "[]"
        self.timeout: float | None = job.get("timeout")
        self.most_retries: int = job["retry"].get("max", 0) if "retry" in job else 0

    @classmethod
    def stored(cls, values: Iterable[Any]) -> Entry:
        """The entry again, from the values of its columns."""
        entry = cls.__new__(cls)
        for name, value in zip(COLUMNS, values, strict=True):
            setattr(entry, name, value)
        return entry


class Table:
    """Folds lines. `entries` may fetch what an earlier reader has stored; `metrics` goes on from there."""

    def __init__(self, entries: dict[int, Entry], metrics: Tally) -> None:
        self.entries = entries
        self.metrics = metrics
        self.dropped: list[int] = []
        self.earlier: list[tuple[Any, ...]] = []
        self.facts: dict[str, Any] = {}
        self._folds: dict[str, Callable[[Line], None]] = {
            "add": self._added, "queue": self._queued, "start": self._started, "end": self._attempt_ended,
            "done": self._ended, "wait": self._waiting, "refuse": self._refused, "remove": self._removed,
            "again": self._reopened, "drop": self._dropped, "change": self._changed, "input": self._input,
            "stop": self._stopping, "resume": self._began, "close": self._closed,
            "pause": _nothing, "slots": _nothing,
        }  # fmt: skip

    def fold(self, lines: Iterable[Line]) -> None:
        """Takes in what happened, in order. KeyError or TypeError for what is no line of ours."""
        folds = self._folds
        for line in lines:
            if "e" in line:
                folds[line["e"]](line)
            else:
                self._began(line)

    def _began(self, line: Line) -> None:
        facts = self.facts
        if "pqrun" in line:
            facts.update(run=line["run"], began=line["at"], listed=line["listed"], files=[], complete=True)
            self.metrics.began = self.metrics.last_end = line["at"]
        facts.update(files=line.get("files") or facts["files"], workers=line.get("workers"))
        facts.update(input_ended=False, stopped="", closed=None, until=line["at"])

    def _added(self, line: Line) -> None:
        self.entries[line["s"]] = Entry(line["s"], line["job"])
        self.metrics.added += 1

    def _queued(self, line: Line) -> None:
        entry = self.entries[line["s"]]
        entry.state = "queued"
        entry.queued = line["t"]
        self.metrics.entered(entry.priority)

    def _started(self, line: Line) -> None:
        entry = self.entries[line["s"]]
        entry.state = "running"
        entry.attempts = line["n"]
        entry.submitted = line["t"]
        entry.waited = waited = line["w"]
        self.metrics.submitted(entry.priority, waited)

    def _refused(self, line: Line) -> None:
        entry = self.entries[line["s"]]
        entry.state = "queued"
        entry.attempts = line["n"] - 1
        self.metrics.refused(entry.priority, entry.waited or 0.0)

    def _attempt_ended(self, line: Line) -> None:
        entry = self.entries[line["s"]]
        if entry.last:
            self.earlier.append(tuple(getattr(entry, name) for name in ATTEMPT))
        get = line.get
        entry.last = line["n"]
        entry.ended = ended = line["f"]
        began = line["b"]
        if "not" not in line:
            entry.began = began
        entry.code = get("x")
        entry.signal = get("sig")
        entry.asked = asked = get("asked")
        entry.user = line["u"]
        entry.system = line["y"]
        entry.message = get("message") or get("not") or get("lost") or ""
        entry.out = get("out", 0)
        entry.err = get("err", 0)
        self.metrics.attempt_ended(line["t"], line["as"], ended - began, asked)

    def _waiting(self, line: Line) -> None:
        entry = self.entries[line["s"]]
        entry.state = "waiting"
        entry.retries += 1

    def _ended(self, line: Line) -> None:
        entry = self.entries[line["s"]]
        entry.state = outcome = line["o"]
        entry.attempts = line["n"]
        entry.allowed = "ok" in line
        if entry.ended is None or outcome == "skipped":
            entry.ended = line["t"]
        if "because" in line and not entry.message:
            entry.message = f"needs {line['because']}"
        self.metrics.job_ended(line["t"], outcome)

    def _removed(self, line: Line) -> None:
        self.metrics.left_queue(self.entries[line["s"]].priority)

    def _reopened(self, line: Line) -> None:
        entry = self.entries[line["s"]]
        entry.state, entry.message = "pending", ""
        if line["o"] != "interrupted":
            entry.retries = 0
        self.metrics.taken_back(line["o"])

    def _dropped(self, line: Line) -> None:
        entry = self.entries.pop(line["s"])
        self.dropped.append(entry.seq)
        self.metrics.added -= 1
        if line["o"]:
            self.metrics.taken_back(line["o"])
        elif entry.state == "queued":
            self.metrics.left_queue(entry.priority)

    def _changed(self, line: Line) -> None:
        entry = self.entries[line["s"]]
        before = entry.priority
        entry.describe(line["job"])
        if entry.state == "queued":
            self.metrics.moved(before, entry.priority)

    def _input(self, line: Line) -> None:
        self.facts.update(input_ended=True, complete=line["complete"])

    def _stopping(self, line: Line) -> None:
        self.facts["stopped"] = self.facts["stopped"] or line["cause"]

    def _closed(self, line: Line) -> None:
        self.facts["closed"] = line["t"]


def _nothing(_line: Line) -> None:
    """History shows nothing of it."""
