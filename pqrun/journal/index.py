# SPDX-License-Identifier: LGPL-3.0-or-later
"""The index of a run: a table of its jobs in SQLite, derived from the journal to make queries fast.

Each reader updates the index, both the rows and the position in the journal, in one transaction. An index
that is missing or damaged is rebuilt; where no file can be written, it is built in memory. Nothing here
writes to a journal or waits for a run.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

from pqrun.core.errors import InternalFailure
from pqrun.core.job import (
    AttemptId,
    Command,
    CountedAs,
    Exit,
    ExitedWith,
    JobSpec,
    KilledBySignal,
    LostExit,
    Outcome,
    Priority,
    RetryPolicy,
    StopReason,
    Usage,
)
from pqrun.core.job_table import JobRow
from pqrun.core.metrics import Metrics
from pqrun.journal.projection import ATTEMPT, COLUMNS, RunProjection, StoredJob, StoredJobs, StoredMetrics
from pqrun.journal.reader import JournalPosition, JournalReader, gc_paused
from pqrun.journal.run_directory import RunDirectory
from pqrun.output.store import Logs

if TYPE_CHECKING:
    from sqlite3 import Connection


class Queries:
    """Queries on the tables. A `where` is SQL from our own code, with `?` marks for the values."""

    def __init__(self, database: Connection) -> None:
        self.facts: dict[str, Any] = {}
        self.metrics = StoredMetrics()
        self._database = database

    def entries(self, where: str = "1", *values: Any, order: str = "seq") -> list[StoredJob]:
        """Return the jobs for which the SQL condition holds."""
        found = self._database.execute(f"SELECT * FROM job WHERE {where} ORDER BY {order}", values)
        return [StoredJob.stored(row) for row in found]

    def rows(self, columns: str, where: str = "1", *values: Any, order: str = "seq") -> list[tuple[Any, ...]]:
        """Return some columns of the jobs for which the SQL condition holds."""
        return self._database.execute(
            f"SELECT {columns} FROM job WHERE {where} ORDER BY {order}", values
        ).fetchall()

    def count(self, where: str) -> int:
        """Return the number of jobs for which the SQL condition holds."""
        return int(self._database.execute(f"SELECT count(*) FROM job WHERE {where}").fetchone()[0])

    def states(self) -> dict[str, int]:
        """Return the number of jobs in each state that occurs."""
        return dict(self._database.execute("SELECT state, count(*) FROM job GROUP BY state").fetchall())

    def earlier_attempts(self, seq: int) -> list[dict[str, Any]]:
        """Return a job's ended attempts, without the last one."""
        found = self._database.execute("SELECT * FROM attempt WHERE seq = ? ORDER BY rowid", (seq,))
        return [dict(zip(ATTEMPT, row, strict=True)) for row in found]

    def ids(self, prefix: str, *, most: int) -> list[str]:
        """Return at most `most` ids that begin with `prefix`."""
        wanted = "substr(id, 1, ?) = ? ORDER BY seq LIMIT ?"
        found = self._database.execute(f"SELECT id FROM job WHERE {wanted}", (len(prefix), prefix, most))
        return [row[0] for row in found]

    def failed(self) -> int:
        """Return the number of jobs that make the run's exit code 1."""
        if self.metrics.ended == self.metrics.outcomes[Outcome.OK]:
            return 0
        ended_badly = "state IN ('failed', 'timeout', 'cancelled', 'skipped') AND NOT allowed"
        return self.count(ended_badly) + self.cut_short_for_good()

    def cut_short_for_good(self) -> int:
        """Return the number of interrupted jobs that `resume` does not run again (`rerun: never`)."""
        return self.count("state = 'interrupted' AND NOT rerun")

    def oldest_queued(self) -> float | None:
        """Return the time since which the first job of the queue has waited; None for an empty queue."""
        if self.metrics.enqueued == self.metrics.dequeued:
            return None
        found: float | None = self._database.execute(
            "SELECT min(queued) FROM job WHERE state = 'queued'"
        ).fetchone()[0]
        return found

    def unfinished(self) -> set[int]:
        """Return the numbers of the jobs that have not ended."""
        return {seq for (seq,) in self.rows("seq", "state IN ('pending', 'queued', 'running', 'waiting')")}

    def ended_attempts(self, seq: int) -> list[int]:
        """Return the numbers of a job's ended attempts."""
        last = [row[0] for row in self.rows("last", "seq = ?", seq)]
        return [number for number in [a["last"] for a in self.earlier_attempts(seq)] + last if number]


T = TypeVar("T")
LAYOUT = 4
APPLICATION = 0x70717275
LOCK_TIMEOUT_SECONDS = 10.0
BATCH_LINES = 200_000
_MARKS = ",".join("?" * len(COLUMNS))
_values = attrgetter(*COLUMNS)
# SQLite's errors for a place that can't be written. Any other error means that the index is damaged.
_NO_PLACE = (
    "SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_FULL", "SQLITE_IOERR",
    "SQLITE_PERM", "SQLITE_AUTH",
)  # fmt: skip


def query_index(run: RunDirectory, question: Callable[[Index], T]) -> T:
    """Return the answer to a question about a run.

    `question` must change and print nothing, because it is called again if the index has to be rebuilt.
    """
    for _ in range(2):
        try:
            path = _private(run.index)
        except OSError:
            break
        try:
            return _ask(path, run, question)
        except StaleIndex:
            _remove(path)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorname", "").startswith(_NO_PLACE):
                break
            _remove(path)
    return _ask(":memory:", run, question)


@contextlib.contextmanager
def watch(run: RunDirectory) -> Iterator[Index]:
    """Open an index in memory that can be updated again and again, without writing to the disk."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        query_index(run, lambda index: index.copy_to(database))
        yield Index(run, database, careful=False)


class StaleIndex(Exception):
    """Error for an index of another journal than the present one, which was replaced or compacted."""


def _ask(path: str, run: RunDirectory, question: Callable[[Index], T]) -> T:
    with contextlib.closing(
        sqlite3.connect(path, timeout=LOCK_TIMEOUT_SECONDS, isolation_level=None)
    ) as database:
        # No need to wait for the disk: an index from before the last boot is rebuilt anyway.
        database.execute(f"PRAGMA synchronous = {'OFF' if _boot() else 'NORMAL'}")
        index = Index(run, database)
        database.execute("BEGIN")
        if not index.is_up_to_date():
            database.execute("ROLLBACK")
            index.catch_up()
            database.execute("BEGIN")
            index.is_up_to_date()
        return question(index)


def _private(path: str) -> str:
    """Return the path, after making sure that the file is ours and that no other user can read it.

    A link or a file of another user at the path is removed.
    """
    with contextlib.suppress(FileNotFoundError):
        found = os.lstat(path)
        if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
            if found.st_mode & 0o077:
                os.chmod(path, 0o600)
            return path
        os.unlink(path)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    return path


def _boot() -> str:
    """Return the kernel's identifier of the current boot; empty on a system without one."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _remove(path: str) -> None:
    for name in (path, f"{path}-journal"):
        with contextlib.suppress(OSError):
            os.unlink(name)


class Index(Queries):
    """An open index, as of its last update: the run's `facts`, its `metrics`, and its jobs.

    With `careful`, a journal that was modified without growing counts as another journal.
    """

    def __init__(self, run: RunDirectory, database: sqlite3.Connection, *, careful: bool = True) -> None:
        super().__init__(database)
        self.run = run
        self._careful = careful
        self._position = JournalPosition()
        self._touched: set[int] = set()

    def is_up_to_date(self) -> bool:
        """Load the state of the last update, and return whether the journal has not changed since."""
        return self._recall() == self._journal()

    def copy_to(self, database: sqlite3.Connection) -> None:
        """Copy the index into another database."""
        self._database.backup(database)

    def catch_up(self) -> set[int]:
        """Fold the new lines of the journal; return the numbers of the jobs that they concern.

        Raises StaleIndex if the journal is not the one that was read before.
        """
        self._touched = set()
        if self.is_up_to_date():
            return self._touched
        self._database.execute("BEGIN IMMEDIATE")
        try:
            size, changed = self._journal()
            last = self._recall()
            if last is None:
                self._create()
            elif size < self._position.offset or (self._careful and size == last[0] and changed != last[1]):
                raise StaleIndex
            with gc_paused():
                self._fold(size, changed)
            self._database.execute("COMMIT")
            return self._touched
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            raise

    def _journal(self) -> tuple[int, int]:
        """Return the size of the journal in bytes, and its modification time in nanoseconds."""
        try:
            found = os.stat(self.run.journal, follow_symlinks=False)
        except OSError as error:
            raise InternalFailure(f"cannot read the journal {self.run.journal}: {error.strerror}") from error
        return found.st_size, found.st_mtime_ns

    def _recall(self) -> tuple[int, int] | None:
        """Load the state of the last update; return the journal's size and time then.

        Returns None for a new index. Raises StaleIndex if the state does not fit the journal.
        """
        if self._pragma("user_version") != LAYOUT:
            if self._database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise StaleIndex
            return None
        try:
            state = json.loads(self._database.execute("SELECT state FROM progress").fetchone()[0])
            self._position = JournalPosition(*state["position"])
            self.facts, self.metrics = state["facts"], StoredMetrics.restored(state["metrics"])
            size, changed = state["journal"]
            boot = state["boot"]
        except (KeyError, TypeError, ValueError):
            raise StaleIndex from None
        fits = boot == _boot() and self.metrics.added == self.count("1")
        if not fits or not JournalReader(self.run.journal, self._position).still_fits():
            raise StaleIndex
        return size, changed

    def _create(self) -> None:
        self._database.execute(f"PRAGMA application_id = {APPLICATION}")
        self._database.execute(f"PRAGMA user_version = {LAYOUT}")
        self._database.execute("CREATE TABLE progress (state TEXT NOT NULL)")
        self._database.execute(f"CREATE TABLE job (seq INTEGER PRIMARY KEY, {', '.join(COLUMNS[1:])})")
        self._database.execute(f"CREATE TABLE attempt ({', '.join(ATTEMPT)})")
        self._database.execute("CREATE INDEX attempt_of ON attempt (seq)")

    def _fold(self, size: int, changed: int) -> None:
        goes_on = self._position.offset > 0
        lines = JournalReader(self.run.journal, self._position)
        entries = StoredJobs(self._stored)
        table = RunProjection(entries, self.metrics, self.facts)
        try:
            for batch in lines.batches():
                table.fold(batch)
                if len(entries) > BATCH_LINES:
                    self._store(table, entries)
        except (KeyError, TypeError, ValueError, InternalFailure) as error:
            if goes_on:
                raise StaleIndex from None  # a rebuild tells whether the index or the journal is wrong
            if isinstance(error, InternalFailure):
                raise
            where = f"before line {lines.position.line + 1}"
            raise InternalFailure(f"{self.run.journal} is damaged {where}; it was not changed") from error
        if not self.facts:
            raise InternalFailure(f"{self.run.journal} is damaged at line 1; it was not changed")
        self._store(table, entries)
        position = (lines.position.offset, lines.position.crc, lines.position.line)
        state = {"position": position, "journal": (size, changed), "boot": _boot(),
                 "facts": self.facts, "metrics": self.metrics.state()}  # fmt: skip
        self._database.execute("DELETE FROM progress")
        self._database.execute("INSERT INTO progress VALUES (?)", (json.dumps(state),))

    def _store(self, table: RunProjection, entries: StoredJobs) -> None:
        self._database.executemany(
            f"INSERT OR REPLACE INTO job VALUES ({_MARKS})", map(_values, entries.values())
        )
        self._database.executemany(
            f"INSERT INTO attempt VALUES ({','.join('?' * len(ATTEMPT))})", table.earlier
        )
        for seq in table.dropped:
            self._database.execute("DELETE FROM job WHERE seq = ?", (seq,))
            self._database.execute("DELETE FROM attempt WHERE seq = ?", (seq,))
        self._touched.update(entries)
        entries.clear()
        table.earlier.clear()
        table.dropped.clear()

    def _stored(self, seq: int) -> Iterator[StoredJob]:
        """Return the job and the jobs after it, which will be needed next."""
        found = self._database.execute("SELECT * FROM job WHERE seq BETWEEN ? AND ?", (seq, seq + 255))
        return map(StoredJob.stored, found.fetchall())

    def _pragma(self, name: str) -> int:
        return int(self._database.execute(f"PRAGMA {name}").fetchone()[0])


def run_of(entry: StoredJob) -> str | tuple[str, ...]:
    """Return the job's command."""
    run = json.loads(entry.run)
    return tuple(run) if isinstance(run, list) else str(run)


def row_of(entry: StoredJob, logs: Logs, *, live: bool) -> JobRow:
    """Return a job as records and reports show it. A job that ran when its run died is interrupted."""
    spec = JobSpec(
        entry.id,
        Command(run_of(entry)),
        priority=Priority(entry.priority),
        timeout=entry.timeout,
        retry=RetryPolicy(max=entry.most_retries),
        tags=() if entry.tags == "[]" else tuple(json.loads(entry.tags)),
        named=bool(entry.named),
    )
    row = JobRow(entry.seq, spec, entry.state, entry.attempts, entry.retries, entry.queued)
    row.waited = entry.waited
    row.allowed = bool(entry.allowed)
    if entry.state == "running":
        row.state = "running" if live else "interrupted"
        row.started = entry.submitted
        return row
    row.started, row.ended = entry.began, entry.ended
    row.message = entry.message
    if entry.last:
        key = AttemptId(entry.seq, entry.last)
        row.exit = exit_of(entry.code, entry.signal, entry.message)
        row.asked = StopReason(entry.asked) if entry.asked else None
        row.where = entry.host
        row.usage = Usage(entry.user, entry.system, entry.memory)
        row.stdout_bytes, row.stderr_bytes = entry.out, entry.err
        row.stdout = logs.path(key, 1) if entry.out else None
        row.stderr = logs.path(key, 2) if entry.err else None
    return row


def exit_of(code: int | None, signal: str | None, why: str) -> Exit:
    """Return how an attempt ended, from the columns of the attempt."""
    if signal is not None:
        return KilledBySignal(signal)
    return LostExit(why) if code is None else ExitedWith(code)


def metrics_of(index: Index, *, now: float, live: bool) -> Metrics:
    """Return the run's metrics at `now`. Attempts that ran when the run died count as stopped."""
    metrics = index.metrics
    if not live:
        metrics.counts[CountedAs.STOPPED] += metrics.active
        metrics.active = 0
    return metrics.at(now, index.oldest_queued())
