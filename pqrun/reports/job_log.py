# SPDX-License-Identifier: LGPL-3.0-or-later
"""GNU parallel's job log: a line with nine columns for each job that has ended.

As in GNU parallel, an interrupted job is left out, because it will run again.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence

from pqrun.core import events as ev
from pqrun.core.job import ExitedWith, KilledBySignal, NotStarted, StopReason, format_command
from pqrun.core.job_table import JobRow
from pqrun.reports.cases import ReportedCase, ReportedCases
from pqrun.reports.run_info import Ending, RunInfo
from pqrun.reports.targets import StreamingFile

HEADER = b"Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"


class JobLog:
    """The job log of a run."""

    def __init__(self, target: StreamingFile, run: RunInfo) -> None:
        self.target = target
        self._run = run
        self._cases = ReportedCases(self._ended, lambda _seq: None, tail=0)
        self._lines = [HEADER]

    def on_events(self, events: Sequence[ev.Event]) -> None:
        """Write a line for each job that has ended."""
        self._cases.hear(events)
        if self._lines:
            self.target.write(b"".join(self._lines))
            self._lines.clear()

    def finish(self, ending: Ending) -> None:
        """Write the header if no job has ended, and close the file."""
        self.on_events(())
        self.target.close()

    def _ended(self, case: ReportedCase) -> None:
        row = case.row
        if row.exit is not None and row.asked is not StopReason.INTERRUPTED:
            self._lines.append(self._line(row))

    def _line(self, row: JobRow) -> bytes:
        began = row.ended if row.started is None or isinstance(row.exit, NotStarted) else row.started
        assert began is not None and row.ended is not None
        code, number = _how(row)
        facts = (
            str(row.seq), ":", f"{self._run.wall(began):10.3f}", f"{max(0.0, row.ended - began):10.3f}",
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
