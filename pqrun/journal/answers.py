# SPDX-License-Identifier: LGPL-3.0-or-later
"""What can be asked of the index of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pqrun.journal.entry import ATTEMPT, Entry
from pqrun.journal.tally import Tally
from pqrun.model import Outcome

if TYPE_CHECKING:
    from sqlite3 import Connection


class Answers:
    """Asks the tables. A `where` is SQL of ours, with marks for values."""

    def __init__(self, database: Connection) -> None:
        self.facts: dict[str, Any] = {}
        self.metrics = Tally()
        self._database = database

    def entries(self, where: str = "1", *values: Any, order: str = "seq") -> list[Entry]:
        """The jobs for which that SQL holds."""
        found = self._database.execute(f"SELECT * FROM job WHERE {where} ORDER BY {order}", values)
        return [Entry.stored(row) for row in found]

    def rows(self, columns: str, where: str = "1", *values: Any, order: str = "seq") -> list[tuple[Any, ...]]:
        """Some columns of them."""
        return self._database.execute(
            f"SELECT {columns} FROM job WHERE {where} ORDER BY {order}", values
        ).fetchall()

    def count(self, where: str) -> int:
        """For how many of them that SQL holds."""
        return int(self._database.execute(f"SELECT count(*) FROM job WHERE {where}").fetchone()[0])

    def states(self) -> dict[str, int]:
        """How many jobs are in which state, as far as there are any."""
        return dict(self._database.execute("SELECT state, count(*) FROM job GROUP BY state").fetchall())

    def earlier_attempts(self, seq: int) -> list[dict[str, Any]]:
        """A job's attempts before its last one that ended."""
        found = self._database.execute("SELECT * FROM attempt WHERE seq = ? ORDER BY rowid", (seq,))
        return [dict(zip(ATTEMPT, row, strict=True)) for row in found]

    def ids(self, prefix: str, *, most: int) -> list[str]:
        """Ids that begin so."""
        wanted = "substr(id, 1, ?) = ? ORDER BY seq LIMIT ?"
        found = self._database.execute(f"SELECT id FROM job WHERE {wanted}", (len(prefix), prefix, most))
        return [row[0] for row in found]

    def failed(self) -> int:
        """How many jobs make the run's exit code 1."""
        if self.metrics.ended == self.metrics.outcomes[Outcome.OK]:
            return 0
        ended_badly = "state IN ('failed', 'timeout', 'cancelled', 'skipped') AND NOT allowed"
        return self.count(ended_badly) + self.cut_short_for_good()

    def cut_short_for_good(self) -> int:
        """How many interrupted jobs `resume` won't run again by itself (`rerun: never`)."""
        return self.count("state = 'interrupted' AND NOT rerun")

    def oldest_queued(self) -> float | None:
        """Since when the first of the queue waits."""
        if self.metrics.enqueued == self.metrics.dequeued:
            return None
        found: float | None = self._database.execute(
            "SELECT min(queued) FROM job WHERE state = 'queued'"
        ).fetchone()[0]
        return found

    def unfinished(self) -> set[int]:
        """The jobs that have not ended."""
        return {seq for (seq,) in self.rows("seq", "state IN ('pending', 'queued', 'running', 'waiting')")}

    def ended_attempts(self, seq: int) -> list[int]:
        """Which of a job's attempts have ended."""
        last = [row[0] for row in self.rows("last", "seq = ?", seq)]
        return [number for number in [a["last"] for a in self.earlier_attempts(seq)] + last if number]
