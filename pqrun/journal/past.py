# SPDX-License-Identifier: LGPL-3.0-or-later
"""How jobs went in the latest runs of the state directory, read from the indexes of these runs.

`read_past` is for options that need the past before a run begins: it reads all jobs of the latest runs. `look_back`
is for people: it looks for some jobs in the latest runs of the same source, for a limited time, and leaves out a run
that can't be read quickly. `BackgroundLook` does so on a thread of its own, beside a live run.

SQLite is loaded only here. A run whose index has to be built first costs about a second for each 100,000 jobs, once.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from statistics import median
from threading import Thread
from typing import Final, NamedTuple

from pqrun.core.errors import InternalFailure, UserError
from pqrun.core.job import JobSpec
from pqrun.core.job_row import JobRow
from pqrun.core.past import (
    EarlierRuns,
    FlakyRate,
    KnownDurations,
    RunResult,
    key_of,
    past_key,
    result_of,
    run_result,
)
from pqrun.core.text import run_source
from pqrun.engine.threads import NoThread, start_thread
from pqrun.journal.index import Index, query_index
from pqrun.journal.reader import JournalReader
from pqrun.journal.run_directory import RunDirectory, run_directories
from pqrun.journal.stored_rows import run_column, run_of_column

MAX_RUNS: Final = 20
MAX_DURATIONS: Final = 5
"""Of each job, the times in that number of the latest runs count."""
MAX_RUNS_OF_SOURCE: Final = 10
MAX_HEADERS: Final = 100
"""How many of the latest runs are looked at to find those of one source."""
MAX_JOURNAL_BYTES: Final = 64 << 20
JOURNAL_BYTES_PER_SECOND: Final = 8 << 20
"""How fast the index of a journal is built, at least. A run is left out if the time is too short for that."""
MAX_JOBS: Final = 20_000
MAX_CHOSEN_COMMANDS: Final = 200
"""Up to this number of commands, SQLite chooses the jobs."""
LOOK_SECONDS: Final = 1.0
BACKGROUND_SECONDS: Final = 2.0
FIRST_WAIT_SECONDS: Final = 0.2
INDEX_TIMEOUT_SECONDS: Final = 0.1
_UNREADABLE = (InternalFailure, UserError, OSError, sqlite3.Error, ValueError)


class PastJob(NamedTuple):
    """A job in an earlier run. `seconds`: how long it ran, None unless it ended `ok`."""

    key: str
    result: RunResult
    seconds: float | None


def read_past() -> KnownDurations:
    """Return the past of all jobs that succeeded in the latest runs that have ended."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for run in _unused(islice(_latest(), MAX_RUNS)):
        try:
            found = query_index(run, _jobs)
        except _UNREADABLE:
            continue  # a damaged run must not keep a new one from starting
        _add_seconds(seconds, found)
    return _medians(seconds)


def look_back(run: RunDirectory, specs: Iterable[JobSpec], *, seconds: float = LOOK_SECONDS) -> EarlierRuns:
    """Return what the latest runs of the same source as `run` that ended before it tell of its jobs.

    Takes about that number of seconds at most. Left out are runs that are damaged, in use, or too large for the time.
    """
    until = time.monotonic() + seconds
    wanted = {key_of(spec): spec for spec in islice(specs, MAX_JOBS)}
    times: dict[str, list[float]] = defaultdict(list)
    results: dict[str, list[RunResult]] = defaultdict(list)
    for earlier in islice(_of_source(run, until), MAX_RUNS_OF_SOURCE):
        try:
            found = query_index(
                earlier, lambda index: _jobs(index, wanted), lock_timeout=INDEX_TIMEOUT_SECONDS
            )
        except _UNREADABLE:
            continue
        _add_seconds(times, found)
        for key, result in _joined(found).items():
            results[key].append(result)
    return EarlierRuns(_medians(times), results)


def flaky_rates(
    run: RunDirectory, rows: Iterable[JobRow], *, seconds: float = LOOK_SECONDS
) -> dict[int, FlakyRate]:
    """Return in how many of its last runs each of these jobs failed, by number, if it failed in `run`, too."""
    failed = [row for row in rows if (result := result_of(row)) is not None and result.failed]
    if not failed:
        return {}
    return look_back(run, (row.spec for row in failed), seconds=seconds).rates(failed)


class BackgroundLook:
    """A look back for the jobs of a live run, on a thread of its own: a slow disk holds up no output."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._thread: Thread | None = None
        self._found: KnownDurations | None = None

    def durations(self, specs: Callable[[], Sequence[JobSpec]]) -> KnownDurations | None:
        """Return the usual times of jobs; None while they are not known. The first call waits for them a moment.

        `specs` returns the jobs. It is called at the first call only.
        """
        if self._thread is None:
            self._thread = Thread(target=self._look, args=(specs(),), name="pqrun-past", daemon=True)
            try:
                start_thread(self._thread)
            except NoThread:  # an estimate is not worth a thread that a job needs
                return None
            self._thread.join(FIRST_WAIT_SECONDS)
        return self._found

    def _look(self, specs: Sequence[JobSpec]) -> None:
        self._found = look_back(self._run, specs, seconds=BACKGROUND_SECONDS).durations


def _latest() -> Iterator[RunDirectory]:
    """Yield the runs whose journals were written last, the newest first."""
    dated = []
    try:
        for run in run_directories():
            with suppress(FileNotFoundError):  # it is being pruned
                dated.append((os.stat(run.journal).st_mtime_ns, run.path, run))
    except (OSError, UserError):
        return
    dated.sort(key=lambda one: one[:2], reverse=True)
    yield from (run for _, _, run in dated)


def _unused(runs: Iterable[RunDirectory]) -> Iterator[RunDirectory]:
    """Yield the runs that no process uses."""
    return (run for run in runs if not run.in_use())


def _of_source(run: RunDirectory, until: float) -> Iterator[RunDirectory]:
    """Yield the runs with the files and the directory of `run` that ended before it, the newest first.

    Ends at the time `until`, and leaves out runs that could not be read by then.
    """
    try:
        source = _source(run)
        ended = None if run.in_use() else os.stat(run.journal).st_mtime_ns
    except _UNREADABLE:
        return
    for other in islice(_latest(), MAX_HEADERS):
        left = until - time.monotonic()
        if left <= 0:
            return
        try:
            found = os.stat(other.journal)
            if (
                other.path != run.path
                and (ended is None or found.st_mtime_ns <= ended)
                and _is_readable(other, found, left)
                and _source(other) == source
                and not other.in_use()
            ):
                yield other
        except _UNREADABLE:
            continue


def _is_readable(run: RunDirectory, journal: os.stat_result, seconds: float) -> bool:
    """Return whether the run can be read in that time: its index is up to date, or its journal is small."""
    if journal.st_size > MAX_JOURNAL_BYTES:
        return False
    if journal.st_size <= seconds * JOURNAL_BYTES_PER_SECOND:
        return True
    try:
        return os.stat(run.index).st_mtime_ns >= journal.st_mtime_ns
    except FileNotFoundError:
        return False


def _source(run: RunDirectory) -> tuple[str, str]:
    """Return what a run was made from, and where: a command means the same only in the same directory."""
    header = JournalReader(run.journal).first()
    try:
        return "each" if header.get("each") else run_source(header), str(header.get("cwd"))
    except (TypeError, AttributeError):
        raise InternalFailure(f"{run.journal} is damaged at line 1; it was not changed") from None


def _jobs(index: Index, wanted: dict[str, JobSpec] | None = None) -> list[PastJob]:
    """Return the jobs of a run about which it says something; only the `wanted` ones, if given."""
    columns = "id, named, run, state, retries, gone, ended - began"
    where, values = "run != 'null' AND attempts > 0", []
    if wanted is not None and len(wanted) <= MAX_CHOSEN_COMMANDS:
        values = [run_column(spec) for spec in wanted.values()]
        where += f" AND run IN ({', '.join('?' * len(values))})"
    found = []
    for job_id, named, run, state, retries, gone, took in index.rows(columns, where, *values):
        result = run_result(state, retries, gone=bool(gone))
        if result is None:
            continue
        key = past_key(job_id, run_of_column(run), named=bool(named))
        if wanted is None or key in wanted:
            found.append(PastJob(key, result, max(0.0, took) if state == "ok" and took is not None else None))
    return found


def _joined(jobs: Collection[PastJob]) -> dict[str, RunResult]:
    """Return one result for each key. Jobs of a run that are the same, such as equal lines, count together."""
    found: dict[str, RunResult] = {}
    for key, result, _ in jobs:
        before = found.get(key)
        if before is not None:
            result = RunResult(before.failed or result.failed, before.passed or result.passed)
        found[key] = result
    return found


def _add_seconds(seconds: dict[str, list[float]], jobs: Iterable[PastJob]) -> None:
    """Add the times of jobs that were `ok`, of each job those of the latest runs."""
    for key, _, took in jobs:
        if took is not None and len(seconds[key]) < MAX_DURATIONS:
            seconds[key].append(took)


def _medians(seconds: dict[str, list[float]]) -> KnownDurations:
    return KnownDurations({key: median(values) for key, values in seconds.items() if values})
