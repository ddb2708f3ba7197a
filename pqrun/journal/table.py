# SPDX-License-Identifier: LGPL-3.0-or-later
"""A run as a table, folded straight from the lines of its journal: what history shows of it.

It tells what the ledger and the metrics of a live run tell (a test holds them together), but makes
no events of the lines: of a run of 100,000 jobs half a million are read while somebody waits.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

from pqrun.journal.entry import ATTEMPT, Entry, Line, storable
from pqrun.journal.tally import Tally


class Table:
    """Folds lines. `entries` may fetch what an earlier reader has stored; `metrics` go on from there.

    `dropped` and `earlier` collect what is to be taken out of a store, and attempts before the last.
    """

    def __init__(self, entries: MutableMapping[int, Entry], metrics: Tally, facts: dict[str, Any]) -> None:
        self.entries = entries
        self.metrics = metrics
        self.facts = facts
        self.dropped: list[int] = []
        self.earlier: list[tuple[Any, ...]] = []
        self._folds: dict[str, Callable[[Line], None]] = {
            "add": self._added, "queue": self._queued, "start": self._started, "end": self._attempt_ended,
            "done": self._ended, "wait": self._waiting, "refuse": self._refused, "remove": self._removed,
            "again": self._reopened, "drop": self._dropped, "change": self._changed, "input": self._input,
            "stop": self._stopping, "resume": self._process_began, "close": self._closed,
            "workers": self._resized,
        }  # fmt: skip

    def fold(self, lines: list[Line]) -> None:
        """Takes in what happened, in order. KeyError or TypeError for what is no line of ours."""
        folds = self._folds
        if lines and "pqrun" in lines[0]:
            self._run_began(lines[0])
        for line in lines:
            if fold := folds.get(line.get("e", "")):
                fold(line)
        if lines:
            last = lines[-1]
            self.facts["until"] = last["t"] if "t" in last else last["at"]

    def _run_began(self, line: Line) -> None:
        self.facts.update(run=line["run"], began=line["at"], listed=line["listed"], files=[], complete=True)
        self.metrics.began = self.metrics.last_end = line["at"]
        self._process_began(line)

    def _process_began(self, line: Line) -> None:
        self.facts.update(files=line.get("files") or self.facts["files"], workers=line.get("workers"))
        self.facts.update(input_ended=False, stopped="", closed=None, exit=None, guarded=None)

    def _resized(self, line: Line) -> None:
        self.facts["workers"] = line["workers"]

    def _added(self, line: Line) -> None:
        seq = line["s"]
        self.entries[seq] = entry = Entry(seq)
        entry.describe(line["job"])
        self.metrics.added += 1
        if "q" in line:
            entry.state = "queued"
            entry.queued = line["t"]
            self.metrics.entered(entry.priority)

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
            self._set_aside(entry)
        entry.last = line["n"]
        entry.ended = ended = line["f"]
        began = line["b"]
        entry.began = None if "not" in line else began
        get = line.get
        entry.code = get("x")
        entry.user = line["u"]
        entry.system = line["y"]
        entry.memory = get("m")
        if "out" in line:
            entry.out = line["out"]
            entry.err = line["err"]
        if "where" in line or entry.host:
            entry.host = storable(get("where", ""))
        asked = get("asked")
        if asked or "x" not in line or "message" in line or "not" in line:
            entry.signal = get("sig")
            entry.asked = asked
            entry.message = storable(get("message") or get("not") or get("lost") or "")
        entry.retries += line["as"] == "retried" and "gone" not in line
        self.metrics.attempt_ended(line["t"], line["as"], ended - began, asked)
        if "o" in line:
            self._ended(line)

    def _set_aside(self, entry: Entry) -> None:
        """Another attempt takes its place."""
        self.earlier.append(tuple([getattr(entry, name) for name in ATTEMPT]))
        entry.signal = entry.asked = None
        entry.message = ""
        entry.out = entry.err = 0

    def _waiting(self, line: Line) -> None:
        entry = self.entries[line["s"]]
        entry.state = "waiting"

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
        entry = self.entries[line["s"]]
        del self.entries[entry.seq]
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
        self.facts.update(closed=line["t"], exit=line.get("exit"), guarded=line.get("guarded"))
