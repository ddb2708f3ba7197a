# SPDX-License-Identifier: LGPL-3.0-or-later
"""The time left of a run by the times of earlier runs. Loaded only when a part asks for it."""

from __future__ import annotations

from collections.abc import Sequence

from pqrun.core.job import JobSpec
from pqrun.core.job_table import JobTable
from pqrun.core.past import KnownDurations, expected_seconds
from pqrun.journal.past import BackgroundLook
from pqrun.journal.run_directory import RunDirectory


class TimeLeft:
    """The time until jobs of a run have ended, by the times that jobs took in earlier runs.

    `known`: times that were read for an option. Without them, the times of earlier runs of the same source as
    the run in `directory` are read, beginning with the first question.
    """

    def __init__(self, table: JobTable, known: KnownDurations | None, directory: RunDirectory | None) -> None:
        self._table = table
        self._known = known
        self._look = BackgroundLook(directory) if known is None and directory is not None else None

    def seconds(self, now: float, left: int, *, workers: int, average: float) -> float | None:
        """Return the seconds until `left` jobs have ended; None while that is unknown.

        `average`: the seconds of a job that earlier runs don't know; 0: as long as their usual job.
        """
        past = self._look.durations(self._specs) if self._look is not None else self._known
        if past is None:
            return None
        return expected_seconds(past, self._table.rows.values(), workers, now, left=left, average=average)

    def _specs(self) -> Sequence[JobSpec]:
        return [row.spec for row in self._table.rows.values()]
