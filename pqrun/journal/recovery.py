# SPDX-License-Identifier: LGPL-3.0-or-later
"""The recovery of a run: its journal folded to its end, from which the next process continues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pqrun.core.errors import InternalFailure, Rejected
from pqrun.core.events import Event, JobAdded
from pqrun.core.job import Outcome
from pqrun.core.job_row import JobRow
from pqrun.journal.projection import CaptureOf, RunProjection, fold_journal, kept_outputs, output_sizes
from pqrun.journal.reader import JournalPosition, JournalReader, Line
from pqrun.journal.run_directory import RunDirectory
from pqrun.output.store import Logs


class RecoveredRun(RunProjection):
    """A run as its journal leaves it, with all its events. Times are on the wall clock.

    `position` is the end of the journal, `highest` the highest job number, `last` the time of the latest
    event.
    """

    def __init__(self, output: CaptureOf = output_sizes) -> None:
        super().__init__(output=output)
        self.events: list[Event] = []
        self.position = JournalPosition()
        self.highest = 0
        self.last = 0.0

    @property
    def jobs(self) -> dict[int, JobRow]:
        """The rows of the jobs, by number."""
        return self.table.rows

    def durations(self) -> list[float]:
        """Return the seconds that each job that succeeded took in its last attempt."""
        return [
            row.ended - row.started
            for row in self.jobs.values()
            if row.outcome is Outcome.OK and row.started is not None and row.ended is not None
        ]

    def fold(self, lines: Sequence[Line]) -> list[Event]:
        """Fold lines in their order, and keep their events."""
        events = super().fold(lines)
        self.events += events
        self.highest = max((event.seq for event in events if type(event) is JobAdded), default=self.highest)
        self.last = max(self.last, max((event.at for event in events), default=0.0))
        return events


class RecordedHistory:
    """The rows of a live run's jobs, read from its journal in parts, from within turns of the engine.

    A turn can't wait until a long journal has been read. So each call reads a part, and the part that
    was written meanwhile is read last.
    """

    def __init__(self, journal: str) -> None:
        self._lines = JournalReader(journal)
        self._run = RunProjection()

    @property
    def rows(self) -> Mapping[int, JobRow]:
        """The rows of the jobs, by number, as far as the journal has been read."""
        return self._run.table.rows

    def read(self) -> bool:
        """Read the next part of the journal; return whether that was all. Raises `Rejected` for a damaged one.

        Begins anew if the journal was compacted since the last call.
        """
        try:
            if not self._lines.still_fits():
                self._lines, self._run = JournalReader(self._lines.path), RunProjection()
            lines = next(self._lines.batches(), None)
            if lines is None:
                return True
            self._run.fold(lines)
        except (InternalFailure, KeyError, TypeError, ValueError) as error:
            why = str(error) if isinstance(error, InternalFailure) else f"{self._lines.path} is damaged"
            raise Rejected(f"ended jobs can't be looked up: {why}") from None
        return False


def has_jobs(run: RunDirectory) -> bool:
    """Return whether the journal holds the complete list of jobs.

    A run that died before its list was recorded has started no job, so there is nothing to resume.
    """
    if not run.has_journal():
        return False
    listed, added = 0, 0
    for line in JournalReader(run.journal):
        if "pqrun" in line:
            listed = line.get("listed", 0)
        added += line.get("e") == "add"
        if added and added >= listed:
            return True
    return False


def recover(run: RunDirectory) -> RecoveredRun:
    """Read a run's journal to its end. Raises InternalFailure if the run can't continue from it."""
    found = RecoveredRun(kept_outputs(Logs(run.logs, keep=True)))
    lines = JournalReader(run.journal, found.position)
    for _ in fold_journal(lines, found):
        pass
    if max(len(found.jobs), found.highest) < found.header["listed"]:
        raise InternalFailure(
            f"{run.journal}: its list of jobs is incomplete; no job ran, and nothing was changed"
        )
    return found
