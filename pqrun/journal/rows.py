# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the index knows of jobs, as the ledger of a live run would have it."""

from __future__ import annotations

import json

from pqrun.capture import Logs
from pqrun.journal.entry import Entry
from pqrun.journal.index import Index
from pqrun.ledger import Row
from pqrun.metrics import Metrics
from pqrun.model import (
    Command,
    Count,
    Exit,
    Exited,
    JobSpec,
    Key,
    Lost,
    Priority,
    RetryPolicy,
    Signalled,
    StopReason,
    Usage,
)


def run_of(entry: Entry) -> str | tuple[str, ...]:
    """The job's command."""
    run = json.loads(entry.run)
    return tuple(run) if isinstance(run, list) else str(run)


def row_of(entry: Entry, logs: Logs, *, live: bool) -> Row:
    """The job as records and reports show it; what ran when its run died was interrupted."""
    spec = JobSpec(
        entry.id,
        Command(run_of(entry)),
        priority=Priority(entry.priority),
        timeout=entry.timeout,
        retry=RetryPolicy(max=entry.most_retries),
        tags=() if entry.tags == "[]" else tuple(json.loads(entry.tags)),
        named=bool(entry.named),
    )
    row = Row(entry.seq, spec, entry.state, entry.attempts, entry.retries, entry.queued)
    row.waited = entry.waited
    row.allowed = bool(entry.allowed)
    if entry.state == "running":
        row.state = "running" if live else "interrupted"
        row.started = entry.submitted
        return row
    row.started, row.ended = entry.began, entry.ended
    row.message = entry.message
    if entry.last:
        key = Key(entry.seq, entry.last)
        row.exit = exit_of(entry.code, entry.signal, entry.message)
        row.asked = StopReason(entry.asked) if entry.asked else None
        row.where = entry.host
        row.usage = Usage(entry.user, entry.system, entry.memory)
        row.stdout_bytes, row.stderr_bytes = entry.out, entry.err
        row.stdout = logs.path(key, 1) if entry.out else None
        row.stderr = logs.path(key, 2) if entry.err else None
    return row


def exit_of(code: int | None, signal: str | None, why: str) -> Exit:
    """How an attempt ended."""
    if signal is not None:
        return Signalled(signal)
    return Lost(why) if code is None else Exited(code)


def metrics_of(index: Index, *, now: float, live: bool) -> Metrics:
    """The run's numbers at that moment; attempts that ran when it died were stopped by that."""
    metrics = index.metrics
    if not live:
        metrics.counts[Count.STOPPED] += metrics.active
        metrics.active = 0
    return metrics.at(now, index.oldest_queued())
