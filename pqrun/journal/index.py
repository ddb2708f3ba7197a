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
from typing import TYPE_CHECKING, Any, TypeVar

from pqrun.core.errors import InternalFailure
from pqrun.core.job import CountedAs, Outcome
from pqrun.core.job_row import UNFINISHED, FullRow, JobRow
from pqrun.core.metrics import Metrics, MetricsCollector
from pqrun.journal.projection import RunProjection, fold_journal
from pqrun.journal.reader import JournalPosition, JournalReader
from pqrun.journal.run_directory import RunDirectory
from pqrun.journal.stored_rows import (
    COLUMNS,
    MARKS,
    StoredMetrics,
    StoredRows,
    row_of,
    values_of,
)
from pqrun.output.store import Logs

if TYPE_CHECKING:
    from sqlite3 import Connection


T = TypeVar("T")
LAYOUT = 8
"""The version of the tables. An index of another version is rebuilt."""
APPLICATION = 0x70717275
"""The number by which `file` and other programs recognize an index."""
LOCK_TIMEOUT_SECONDS = 10.0
MAX_ENDED_ROWS = 20_000
MAX_ROWS = 200_000
"""The number of rows that are kept in memory while a journal is read: of ended jobs, and of all."""
_UNFINISHED = f"state IN ({', '.join(map(repr, UNFINISHED))})"
# SQLite's errors for a place that can't be written. Any other error means that the index is damaged.
_NO_PLACE = (
    "SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_FULL", "SQLITE_IOERR",
    "SQLITE_PERM", "SQLITE_AUTH",
)  # fmt: skip


class Queries:
    """Queries on the tables. A `where` is SQL from our own code, with `?` marks for the values."""

    def __init__(self, database: Connection, logs: Logs) -> None:
        self.facts: dict[str, Any] = {}
        self.metrics = StoredMetrics()
        self._database = database
        self._logs = logs

    def jobs(self, where: str = "1", *values: Any, order: str = "seq") -> list[JobRow]:
        """Return the rows of the jobs for which the SQL condition holds."""
        found = self._database.execute(f"SELECT * FROM job WHERE {where} ORDER BY {order}", values)
        return [row_of(row, self._logs) for row in found]

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

    def attempts(self, seq: int) -> list[JobRow]:
        """Return rows of a job, each as one of its ended attempts left it."""
        earlier = self._database.execute("SELECT * FROM attempt WHERE seq = ? ORDER BY rowid", (seq,))
        rows = [row_of(values, self._logs) for values in earlier.fetchall()]
        return rows + [row for row in self.jobs("seq = ?", seq) if row.last]

    def ids(self, prefix: str, *, most: int) -> list[str]:
        """Return at most `most` ids that begin with `prefix`."""
        wanted = "substr(id, 1, ?) = ? ORDER BY seq LIMIT ?"
        found = self._database.execute(f"SELECT id FROM job WHERE {wanted}", (len(prefix), prefix, most))
        return [row[0] for row in found]

    def ended_since(self, at: float, *, most: int) -> list[float]:
        """Return the times of the first ends after a time, at most `most`, of jobs that were started."""
        wanted = f"attempts AND ended >= ? AND NOT {_UNFINISHED}"
        return [ended for (ended,) in self.rows("ended", wanted, at, order=f"ended LIMIT {most}")]

    def failed(self) -> int:
        """Return the number of jobs that make the run's exit code 1."""
        if self.metrics.ended == self.metrics.outcomes[Outcome.OK]:
            return 0
        ended_badly = "state IN ('failed', 'timeout', 'cancelled', 'skipped') AND NOT allowed"
        return self.count(ended_badly) + self.cut_short_for_good()

    def cut_short_for_good(self) -> int:
        """Return the number of interrupted jobs that `resume` does not run again (`rerun: never`)."""
        return self.count("state = 'interrupted' AND NOT rerun")

    def unfinished(self) -> set[int]:
        """Return the numbers of the jobs that have not ended."""
        return {seq for (seq,) in self.rows("seq", _UNFINISHED)}


def query_index(
    run: RunDirectory, question: Callable[[Index], T], *, lock_timeout: float = LOCK_TIMEOUT_SECONDS
) -> T:
    """Return the answer to a question about a run.

    `question` must change and print nothing, because it is called again if the index has to be rebuilt. After
    `lock_timeout` seconds, an index that another process updates is built in memory.
    """
    for _ in range(2):
        try:
            path = _private(run.index)
        except OSError:
            break
        try:
            return _ask(path, run, question, lock_timeout)
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


def _ask(
    path: str, run: RunDirectory, question: Callable[[Index], T], timeout: float = LOCK_TIMEOUT_SECONDS
) -> T:
    with contextlib.closing(sqlite3.connect(path, timeout=timeout, isolation_level=None)) as database:
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
        super().__init__(database, Logs(run.logs, keep=True))
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
            position = JournalPosition(*state["position"])
            if position != self._position or not self.facts:
                self._position, self.facts = position, state["facts"]
                self._restore_metrics(state["metrics"])
            size, changed = state["journal"]
            boot = state["boot"]
        except (KeyError, TypeError, ValueError):
            raise StaleIndex from None
        fits = boot == _boot() and self.metrics.added == self.count("1")
        if not fits or not JournalReader(self.run.journal, self._position).still_fits():
            raise StaleIndex
        return size, changed

    def _restore_metrics(self, state: dict[str, Any]) -> None:
        self.metrics = metrics = StoredMetrics.restored(state)
        if metrics.active or metrics.enqueued > metrics.dequeued:
            columns = "seq, state, queued, waited, priority"
            metrics.restore_queue(self.rows(columns, "state IN ('queued', 'running')", order="queued, seq"))

    def _create(self) -> None:
        self._database.execute(f"PRAGMA application_id = {APPLICATION}")
        self._database.execute(f"PRAGMA user_version = {LAYOUT}")
        self._database.execute("CREATE TABLE progress (state TEXT NOT NULL)")
        self._database.execute(f"CREATE TABLE job (seq INTEGER PRIMARY KEY, {', '.join(COLUMNS[1:])})")
        self._database.execute(f"CREATE TABLE attempt ({', '.join(COLUMNS)})")
        self._database.execute("CREATE INDEX attempt_of ON attempt (seq)")

    def _fold(self, size: int, changed: int) -> None:
        goes_on = self._position.offset > 0
        lines = JournalReader(self.run.journal, self._position)
        rows, metrics = StoredRows(self._stored), self.metrics
        earlier: list[tuple[Any, ...]] = []
        past = RunProjection(rows, self.facts, metrics, set_aside=lambda row: earlier.append(values_of(row)))
        stored = metrics.ended
        try:
            for _ in fold_journal(lines, past):
                if metrics.ended - stored > MAX_ENDED_ROWS:
                    self._store([row for row in rows.values() if row.outcome], rows, earlier)
                    stored = metrics.ended
                if len(rows) > MAX_ROWS:
                    self._store(list(rows.values()), rows, earlier)
        except InternalFailure:
            if goes_on:
                raise StaleIndex from None  # a rebuild tells whether the index or the journal is wrong
            raise
        self._store(list(rows.values()), rows, earlier)
        position = (lines.position.offset, lines.position.crc, lines.position.line)
        state = {"position": position, "journal": (size, changed), "boot": _boot(),
                 "facts": self.facts, "metrics": metrics.state()}  # fmt: skip
        self._database.execute("DELETE FROM progress")
        self._database.execute("INSERT INTO progress VALUES (?)", (json.dumps(state),))

    def _store(self, leaving: list[JobRow], rows: StoredRows, earlier: list[tuple[Any, ...]]) -> None:
        """Write rows, and forget them. Attempts before the last one of a job, and dropped jobs, go first."""
        execute, many = self._database.execute, self._database.executemany
        many(f"INSERT OR REPLACE INTO job VALUES ({MARKS})", map(values_of, leaving))
        many(f"INSERT INTO attempt VALUES ({MARKS})", earlier)
        for seq in rows.dropped:
            execute("DELETE FROM job WHERE seq = ?", (seq,))
            execute("DELETE FROM attempt WHERE seq = ?", (seq,))
        for row in leaving:
            self._touched.add(row.seq)
            rows.pop(row.seq)
        earlier.clear()
        rows.dropped.clear()

    def _stored(self, seq: int) -> Iterator[JobRow]:
        """Return the job and the jobs after it, which will be needed next."""
        found = self._database.execute("SELECT * FROM job WHERE seq BETWEEN ? AND ?", (seq, seq + 255))
        return (row_of(values, self._logs) for values in found.fetchall())

    def _pragma(self, name: str) -> int:
        return int(self._database.execute(f"PRAGMA {name}").fetchone()[0])


def as_seen(row: JobRow, *, live: bool) -> JobRow:
    """Return a row as `show` and `top` show it. A job that ran when its run died is interrupted."""
    if row.state != "running":
        return row
    state = "running" if live else "interrupted"
    seen = FullRow(JobRow(row.seq, row.spec))
    seen.state, seen.attempts, seen.retries, seen.queued = state, row.attempts, row.retries, row.queued
    seen.started, seen.waited, seen.allowed = row.submitted, row.waited, row.allowed
    return seen


def metrics_of(metrics: MetricsCollector, *, now: float | None, live: bool) -> Metrics:
    """Return the run's numbers at `now`. Attempts that ran when the run died count as stopped."""
    cut_short = 0 if live else metrics.active
    metrics.counts[CountedAs.STOPPED] += cut_short
    metrics.active -= cut_short
    numbers = metrics.snapshot(now)
    metrics.counts[CountedAs.STOPPED] -= cut_short
    metrics.active += cut_short
    return numbers
