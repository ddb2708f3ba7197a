# SPDX-License-Identifier: LGPL-3.0-or-later
"""The recovery of a run: its journal folded to its end, from which the next process continues."""

from __future__ import annotations

from collections.abc import Sequence

from pqrun.core.errors import InternalFailure
from pqrun.core.events import Event, JobAdded
from pqrun.core.job import AttemptId
from pqrun.core.job_table import JobRow
from pqrun.journal.projection import CaptureOf, Line, RunProjection, fold_journal, output_sizes
from pqrun.journal.reader import JournalPosition, JournalReader
from pqrun.journal.run_directory import RunDirectory
from pqrun.output.store import Capture, Logs


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

    def fold(self, lines: Sequence[Line]) -> list[Event]:
        """Fold lines in their order, and keep their events."""
        events = super().fold(lines)
        self.events += events
        self.highest = max((event.seq for event in events if type(event) is JobAdded), default=self.highest)
        self.last = max(self.last, max((event.at for event in events), default=0.0))
        return events


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
    logs = Logs(run.logs, keep=True)

    def output(seq: int, attempt: int, out: int, err: int) -> Capture:
        return Capture.stored(logs, AttemptId(seq, attempt), out, err)

    found = RecoveredRun(output)
    lines = JournalReader(run.journal, found.position)
    for _ in fold_journal(lines, found):
        pass
    if max(len(found.jobs), found.highest) < found.header["listed"]:
        raise InternalFailure(
            f"{run.journal}: its list of jobs is incomplete; no job ran, and nothing was changed"
        )
    return found
