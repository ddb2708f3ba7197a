# SPDX-License-Identifier: LGPL-3.0-or-later
"""GNU parallel's job log: a line with nine columns for each job that has ended.

As in GNU parallel, an interrupted job is left out, because it will run again.
"""

from __future__ import annotations

import signal

from pqrun.core import events as ev
from pqrun.core.job import ExitedWith, KilledBySignal, NotStarted, StopReason, format_command
from pqrun.core.job_row import JobRow
from pqrun.core.job_table import JobTable
from pqrun.reports.report import Ending, Report, RunInfo, wall_start
from pqrun.reports.targets import StreamingFile

HEADER = b"Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"


class JobLog(Report):
    """The job log of a run."""

    def __init__(self, target: StreamingFile, run: RunInfo, _: JobTable) -> None:
        self.option = target.option
        self._target = target
        self._run = run
        self.handlers = {ev.JobEnded: self._ended}
        target.write(HEADER)

    def tick(self) -> float:
        """Write what a slow reader has left; return the seconds until the next try."""
        return self._target.flush()

    def finish(self, ending: Ending) -> None:
        """Close the file."""
        self._target.close()

    def _ended(self, _: ev.JobEnded, row: JobRow) -> None:
        if row.seconds is not None and row.asked is not StopReason.INTERRUPTED:
            self._target.write(self._line(row))

    def _line(self, row: JobRow) -> bytes:
        began = row.ended if row.started is None or isinstance(row.exit, NotStarted) else row.started
        assert began is not None and row.ended is not None
        code, number = _how(row)
        start = wall_start(self._run.wall, began, row.ended)
        facts = (
            str(row.seq), ":", f"{start:10.3f}", f"{max(0.0, row.ended - began):10.3f}",
            "0", str(row.stdout_bytes), str(code), str(number),
        )  # fmt: skip
        command = format_command(row.spec.work).replace("\n", "\0")  # as GNU parallel does: a line is a job
        return "\t".join(facts).encode() + b"\t" + _as_it_was(command) + b"\n"


def _as_it_was(command: str) -> bytes:
    """Return the bytes from which the command was read."""
    try:
        return command.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte, as JSON can have
        return command.encode("utf-8", "replace")


def _how(row: JobRow) -> tuple[int, int]:
    """Return Exitval and Signal. A job that we stopped gets SIGTERM, which GNU parallel would have sent."""
    match row.exit, row.asked:
        case _, StopReason():
            return -1, int(signal.SIGTERM)
        case ((ExitedWith(code) | NotStarted(code)), _):
            return code, 0
        case KilledBySignal(name), _:
            return 0, _number_of(name)
    return -1, 0


def _number_of(name: str) -> int:
    """Return a signal's number. Real-time signals have a name made of their number, as in `SIG40`."""
    number = name.removeprefix("SIG")
    return int(number) if number.isdigit() else int(getattr(signal, name, 0))
