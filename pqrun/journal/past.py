# SPDX-License-Identifier: LGPL-3.0-or-later
"""How long jobs took in the latest runs of the state directory, read from the indexes of these runs.

SQLite is loaded only if an option asks for the past. A run whose index has to be built first costs about a
second for each 100,000 jobs, once.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from statistics import median
from typing import TYPE_CHECKING, Final

from pqrun.core.errors import InternalFailure, UserError
from pqrun.core.past import KnownDurations, past_key
from pqrun.journal.run_directory import RunDirectory, run_directories

if TYPE_CHECKING:
    from pqrun.journal.index import Index

MAX_RUNS: Final = 20
MAX_DURATIONS: Final = 5
"""Of each job, the times in that number of the latest runs count."""


def read_past() -> KnownDurations:
    """Return the past of all jobs that succeeded in the latest runs that have ended."""
    from pqrun.journal.index import query_index

    seconds: dict[str, list[float]] = defaultdict(list)
    for run in _latest():
        try:
            found = query_index(run, _durations)
        except (InternalFailure, UserError):
            continue  # a damaged run must not keep a new one from starting
        for key, took in found:
            if len(seconds[key]) < MAX_DURATIONS:
                seconds[key].append(took)
    return KnownDurations({key: median(values) for key, values in seconds.items()})


def _latest() -> list[RunDirectory]:
    """Return the latest runs that no process uses, the newest first."""
    dated = []
    try:
        for run in run_directories():
            dated.append((os.stat(run.journal).st_mtime_ns, run.path, run))
    except (OSError, UserError):
        return []
    dated.sort(key=lambda one: one[:2], reverse=True)
    return [run for _, _, run in dated[:MAX_RUNS] if not run.in_use()]


def _durations(index: Index) -> list[tuple[str, float]]:
    columns = "id, named, run, ended - began"
    where = "state = 'ok' AND began IS NOT NULL AND ended IS NOT NULL AND run != 'null'"
    return [
        (past_key(job_id, _run_of(run), named=bool(named)), max(0.0, took))
        for job_id, named, run, took in index.rows(columns, where)
    ]


def _run_of(text: str) -> str | tuple[str, ...]:
    run = json.loads(text)
    return run if isinstance(run, str) else tuple(run)
