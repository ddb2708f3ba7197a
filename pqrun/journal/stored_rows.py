# SPDX-License-Identifier: LGPL-3.0-or-later
"""The rows and the metrics of a run as the index stores them, and back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from json.encoder import encode_basestring_ascii as quote
from typing import Any

from pqrun.core.job import (
    NO_RETRIES,
    AttemptId,
    Command,
    CountedAs,
    Exit,
    ExitedWith,
    InputBlock,
    JobSpec,
    KilledBySignal,
    LostExit,
    NotStarted,
    Outcome,
    OutputPlace,
    Priority,
    RetryPolicy,
    StopReason,
    Usage,
    block_of,
    is_gone,
    run_of,
)
from pqrun.core.job_row import WAITING, FullRow, JobRow
from pqrun.core.metrics import MetricsCollector
from pqrun.output.store import Capture, Logs, PackPlace

COLUMNS = (
    "seq", "id", "run", "named", "priority", "tags", "timeout", "most_retries", "state", "allowed",
    "attempts", "retries", "queued", "submitted", "waited",
    "last", "began", "ended", "code", "signal", "gone", "asked", "user", "system", "memory", "message",
    "out", "err", "out_at", "err_at", "host", "rerun", "until", "not_before", "args",
)  # fmt: skip
_NULLABLE = {
    "timeout", "queued", "submitted", "waited", "began", "ended", "code", "signal", "asked", "memory", "until",
    "not_before",
}  # fmt: skip
# The `sqlite3` module takes five times as long for None, or a bool, as for a text or a number.
MARKS = ",".join("nullif(?, '')" if name in _NULLABLE else "?" for name in COLUMNS)

_NOWHERE = Logs("", keep=True)
_WITH_CODE = (ExitedWith, NotStarted)
_NUMBERS = (
    "began", "enqueued", "dequeued", "removed", "active", "attempts_timeout", "added", "ended", "waited",
    "processed", "last_end",
)  # fmt: skip


def run_column(spec: JobSpec) -> str:
    """Return the command of a job as its column holds it: JSON, `null` for what is no command."""
    run = run_of(spec)
    return quote(run) if type(run) is str else json.dumps(run)


def run_of_column(column: str) -> str | tuple[str, ...]:
    """Return the command that `run_column` described; the text `None` for what is no command."""
    found = json.loads(column)
    return tuple(found) if isinstance(found, list) else str(found)


def values_of(row: JobRow) -> tuple[Any, ...]:
    """Return the values of the columns, with an empty text for None. `run`, `tags` and `args` are JSON."""
    spec, exit, usage = row.spec, row.exit, row.usage
    return (
        row.seq, _storable(spec.id), run_column(spec), +spec.named,
        spec.priority._value_, json.dumps(spec.tags) if spec.tags else "[]",
        "" if spec.timeout is None else spec.timeout, spec.retry.max, row.state, +row.allowed,
        row.attempts, row.retries,
        "" if row.queued is None else row.queued, "" if row.submitted is None else row.submitted,
        "" if row.waited is None else row.waited, row.last,
        "" if row.started is None else row.started, "" if row.ended is None else row.ended,
        exit.code if isinstance(exit, _WITH_CODE) else "", exit.name if isinstance(exit, KilledBySignal) else "",
        +is_gone(exit), "" if row.asked is None else row.asked._value_,
        usage.user, usage.system, "" if usage.memory is None else usage.memory, _storable(row.message),
        row.stdout_bytes, row.stderr_bytes, _pack_place(row.stdout_at), _pack_place(row.stderr_at),
        _storable(row.where), +spec.rerun,
        row.until if row.state == WAITING else "", spec.not_before if row.is_delayed else "", _args_column(spec),
    )  # fmt: skip


def row_of(values: Sequence[Any], logs: Logs) -> JobRow:
    """Return a row from the values of its columns. Of the spec, only what the columns hold is there."""
    (
        seq, job_id, run, named, priority, tags, timeout, most_retries, state, allowed, attempts, retries, queued,
        submitted, waited, last, began, ended, code, signal, gone, asked, user, system, memory, message, out, err,
        out_at, err_at, host, rerun, until, not_before, args,
    ) = values  # fmt: skip
    names, arguments, block = json.loads(args) if args else ((), (), None)
    spec = JobSpec(
        job_id,
        Command(run_of_column(run), stdin=None if block is None else InputBlock(*block)),
        Priority(priority),
        timeout,
        retry=RetryPolicy(max=most_retries) if most_retries else NO_RETRIES,
        tags=() if tags == "[]" else tuple(json.loads(tags)),
        not_before=not_before,
        rerun=bool(rerun),
        arg_names=tuple(names),
        named=bool(named),
        args=tuple(arguments),
    )
    key = AttemptId(seq, last)
    row = FullRow(JobRow(seq, spec))
    row.state, row.attempts, row.retries, row.queued = state, attempts, retries, queued
    row.started, row.ended, row.waited, row.submitted = began, ended, waited, submitted
    row.last, row.allowed, row.where, row.message = last, bool(allowed), host, message
    row.exit = _exit_of(code, signal, message, gone=bool(gone)) if last else None
    row.asked = StopReason(asked) if asked else None
    if until is not None:
        row.until = until
        row.counted = CountedAs.RETRIED if not_before is None else None
    row.usage = Usage(user, system, memory)
    row.stdout_bytes, row.stderr_bytes = out, err
    row.stdout_at = logs.place(key, 1, _pack_and_offset(out_at)) if out else None
    row.stderr_at = logs.place(key, 2, _pack_and_offset(err_at)) if err else None
    return row


def recorded_output(row: JobRow) -> Capture:
    """Return the output of the ended attempt that a row describes. All readers of recorded output come through here."""
    capture = Capture(_NOWHERE, AttemptId(row.seq, row.last))
    capture.out.size, capture.out.place = row.stdout_bytes, row.stdout_at
    capture.err.size, capture.err.place = row.stderr_bytes, row.stderr_at
    return capture


def _args_column(spec: JobSpec) -> str:
    """Return the column for arguments, their names, and the block of the input; empty for most jobs."""
    block = block_of(spec)
    return json.dumps((spec.arg_names, spec.args, block)) if spec.args or block is not None else ""


def _pack_place(place: OutputPlace | None) -> str:
    """Return the column for a place in a pack; empty for output in a file of its own, or none."""
    return f"{place.pack}:{place.offset}" if place is not None and place.pack else ""


def _pack_and_offset(column: str) -> PackPlace | None:
    pack, _, offset = column.partition(":")
    return (int(pack), int(offset)) if pack else None


def _exit_of(code: int | None, signal: str | None, why: str, *, gone: bool) -> Exit:
    if signal is not None:
        return KilledBySignal(signal)
    return LostExit(why, gone) if code is None else ExitedWith(code)


def _storable(text: str) -> str:
    """Return the text with lone surrogates escaped, because UTF-8 can't encode them."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


class StoredRows(dict[int, JobRow]):
    """Rows by number. A row that is stored already is fetched when it is asked for."""

    def __init__(self, stored: Callable[[int], Iterable[JobRow]]) -> None:
        super().__init__()
        self.dropped: set[int] = set()
        self._stored = stored

    def __missing__(self, seq: int) -> JobRow:
        for row in self._stored(seq):
            if row.seq not in self.dropped:
                self.setdefault(row.seq, row)
        if seq in self:
            return self[seq]
        raise KeyError(seq)

    def get(self, seq: int, default: Any = None) -> Any:
        """Return a row, or the default if there is no such job."""
        try:
            return self[seq]
        except KeyError:
            return default

    def __delitem__(self, seq: int) -> None:
        self.dropped.add(seq)
        self.pop(seq, None)


class StoredMetrics(MetricsCollector):
    """Metrics that can be stored as JSON. The queue is not stored with them, because the rows have it."""

    def state(self) -> dict[str, Any]:
        """Return the state, for JSON."""
        return {
            **{name: getattr(self, name) for name in _NUMBERS},
            "counts": self.counts, "outcomes": self.outcomes, "priorities": list(self.by_priority.values()),
            "durations": list(self._durations.items()),
        }  # fmt: skip

    @classmethod
    def restored(cls, state: dict[str, Any]) -> StoredMetrics:
        """Return the metrics of a `state`."""
        metrics = cls()
        for name in _NUMBERS:
            setattr(metrics, name, state[name])
        metrics.counts = Counter({CountedAs(name): count for name, count in state["counts"].items()})
        metrics.outcomes = Counter({Outcome(name): count for name, count in state["outcomes"].items()})
        metrics.by_priority = dict(zip(Priority, state["priorities"], strict=True))
        metrics._durations = Counter(dict(state["durations"]))
        return metrics

    def restore_queue(self, rows: Iterable[tuple[int, str, float, float, int]]) -> None:
        """Take over the queued and the running jobs: number, state, since when queued, waited, priority."""
        for seq, state, queued, waited, priority in rows:
            if state == "queued":
                self._queued[seq] = (queued, Priority(priority))
            else:
                self._submitted[seq] = ((queued, Priority(priority)), waited)
