# SPDX-License-Identifier: LGPL-3.0-or-later
"""A past run as a table, folded directly from the lines of its journal.

The table equals the job table and the metrics of a live run; a test compares them. No events are made of the
lines, because a run of 100,000 jobs has half a million of them, and a user waits for the result.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from json.encoder import encode_basestring_ascii as quote
from math import log
from typing import Any

from pqrun.core.job import CountedAs, Outcome, Priority
from pqrun.core.metrics import Metrics, MetricsCollector

Line = dict[str, Any]
COLUMNS = (
    "seq", "id", "run", "named", "priority", "tags", "timeout", "most_retries", "state", "allowed",
    "attempts", "retries", "queued", "submitted", "waited",
    "last", "began", "ended", "code", "signal", "asked", "user", "system", "memory", "message", "out", "err",
    "host", "rerun",
)  # fmt: skip
ATTEMPT = ("seq", "last", "began", "ended", "code", "signal", "asked", "timeout", "message", "out", "err")


class StoredJob:
    """One job of the table. Times are seconds since the epoch; `run` and `tags` are JSON.

    The columns from `last` on describe the last attempt that ended. Default values are class attributes,
    which makes it fast to create 100,000 jobs.
    """

    id: str
    run: str
    named = True
    priority = 1
    tags = "[]"
    timeout: float | None = None
    most_retries = 0
    state = "pending"
    allowed = False
    attempts = retries = last = out = err = 0
    queued: float | None = None
    submitted: float | None = None
    waited: float | None = None
    began: float | None = None
    ended: float | None = None
    code: int | None = None
    signal: str | None = None
    asked: str | None = None
    user = system = 0.0
    memory: int | None = None
    message = ""
    host = ""
    rerun = True

    def __init__(self, seq: int) -> None:
        self.seq = seq

    @classmethod
    def stored(cls, values: Iterable[Any]) -> StoredJob:
        """Return the job from the values of its columns."""
        entry = cls.__new__(cls)
        entry.__dict__.update(zip(COLUMNS, values, strict=True))
        return entry

    def describe(self, job: Line) -> None:
        """Take over the description of the job from a journal line."""
        run = job.get("run")
        self.id = storable(job["id"])
        self.run = quote(run) if isinstance(run, str) else json.dumps(run)
        self.named = job.get("named", True)
        self.priority = job.get("priority", 1)
        self.timeout = job.get("timeout")
        self.rerun = job.get("rerun", True)
        if "tags" in job or self.tags != "[]":
            self.tags = json.dumps(job.get("tags", []))
        self.most_retries = job["retry"].get("max", 0) if "retry" in job else 0


class StoredJobs(dict[int, StoredJob]):
    """Jobs by number. A job that an earlier reader has stored is fetched when it is asked for."""

    def __init__(self, stored: Callable[[int], Iterator[StoredJob]]) -> None:
        super().__init__()
        self._stored = stored
        self._gone: set[int] = set()

    def __missing__(self, seq: int) -> StoredJob:
        for entry in self._stored(seq):
            if entry.seq not in self._gone:
                self.setdefault(entry.seq, entry)
        if seq in self:
            return self[seq]
        raise KeyError(seq)

    def __delitem__(self, seq: int) -> None:
        self._gone.add(seq)
        super().__delitem__(seq)


def storable(text: str) -> str:
    """Return the text with lone surrogates escaped, because UTF-8 can't encode them."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


_STEP = log(1.01)
_NUMBERS = (
    "began", "enqueued", "dequeued", "removed", "active", "attempts_timeout", "added", "ended", "waited",
    "processed", "last_end",
)  # fmt: skip


class StoredMetrics(MetricsCollector):
    """Metrics that are updated by method calls instead of events, and that can be stored as JSON."""

    def state(self) -> dict[str, Any]:
        """Return the complete state, for JSON."""
        return {
            **{name: getattr(self, name) for name in _NUMBERS},
            "counts": self.counts, "outcomes": self.outcomes, "priorities": list(self.by_priority.values()),
            "durations": list(self._durations.items()),
        }  # fmt: skip

    @classmethod
    def restored(cls, state: dict[str, Any]) -> StoredMetrics:
        """Return the metrics of a `state`."""
        tally = cls()
        for name in _NUMBERS:
            setattr(tally, name, state[name])
        tally.counts = Counter({CountedAs(name): count for name, count in state["counts"].items()})
        tally.outcomes = Counter({Outcome(name): count for name, count in state["outcomes"].items()})
        tally.by_priority = dict(zip(Priority, state["priorities"], strict=True))
        tally._durations = Counter(dict(state["durations"]))
        return tally

    def at(self, now: float | None, oldest: float | None) -> Metrics:
        """Return the metrics at `now`, or at the last end if `now` is None.

        `oldest` is the time since which the queue's first job has waited.
        """
        now = self.last_end if now is None else now
        waited = 0.0 if oldest is None else max(0.0, now - oldest)
        return self.snapshot(now)._replace(oldest_wait=waited)

    def entered(self, priority: int) -> None:
        """Count a job that entered the queue."""
        self.enqueued += 1
        self.by_priority[priority] += 1  # type: ignore[index]  # an IntEnum's number stands for it

    def left_queue(self, priority: int) -> None:
        """Count a job that left the queue without an attempt."""
        self.dequeued += 1
        self.removed += 1
        self.by_priority[priority] -= 1  # type: ignore[index]

    def submitted(self, priority: int, waited: float) -> None:
        """Count a job that left the queue for a slot."""
        self.dequeued += 1
        self.active += 1
        self.waited += waited
        self.by_priority[priority] -= 1  # type: ignore[index]

    def refused(self, priority: int, waited: float) -> None:
        """Undo `submitted` for an attempt that could not be started."""
        self.dequeued -= 1
        self.active -= 1
        self.waited -= waited
        self.by_priority[priority] += 1  # type: ignore[index]

    def attempt_ended(self, at: float, counted: str, seconds: float, asked: str | None) -> None:
        """Count an attempt that ended."""
        self.active -= 1
        self.counts[counted] += 1  # type: ignore[index]
        self.attempts_timeout += asked in ("timeout", "idle")
        self.last_end = at
        self.processed += seconds
        self._durations[round(log(max(seconds, 1e-6)) / _STEP)] += 1

    def job_ended(self, at: float, outcome: str) -> None:
        """Count a job that ended."""
        self.ended += 1
        self.outcomes[outcome] += 1  # type: ignore[index]
        self.last_end = at

    def taken_back(self, outcome: str) -> None:
        """Undo `job_ended` for a job that runs again, or is no longer part of the run."""
        self.ended -= 1
        self.outcomes[outcome] -= 1  # type: ignore[index]

    def moved(self, before: int, after: int) -> None:
        """Count a queued job under its new priority."""
        self.by_priority[before] -= 1  # type: ignore[index]
        self.by_priority[after] += 1  # type: ignore[index]


class RunProjection:
    """Fold of journal lines into `entries`, `metrics` and `facts`, which may continue an earlier fold.

    `dropped` collects the jobs to delete from a store, `earlier` the attempts before each job's last one.
    """

    def __init__(
        self, entries: MutableMapping[int, StoredJob], metrics: StoredMetrics, facts: dict[str, Any]
    ) -> None:
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
        """Fold lines in their order. Raises KeyError or TypeError for a malformed line."""
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
        self.entries[seq] = entry = StoredJob(seq)
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

    def _set_aside(self, entry: StoredJob) -> None:
        """Keep the values of the last attempt, because another attempt replaces them."""
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
