# SPDX-License-Identifier: LGPL-3.0-or-later
"""The base class of all reports, the facts of a run that they show, and the list of reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from pqrun.core.events import Observer
from pqrun.core.job_table import JobTable
from pqrun.core.metrics import Metrics

Wall = Callable[[float], float]


def wall_start(wall: Wall, began: float, ended: float) -> float:
    """Return the start of an attempt, in seconds since the epoch.

    The attempt is as long on the wall clock as on that of the engine, from which time in which pqrun was suspended
    is missing. The journal has this start, too.
    """
    return began + (wall(ended) - ended)


class ReportKind(NamedTuple):
    """A report that is written to a file: the setting with the file's name, and the report's class.

    `grows`: the file is written during the run, so that a pipe can be read meanwhile.
    """

    name: str
    module: str
    class_name: str
    grows: bool = False


REPORTS = (
    ReportKind("junit", "pqrun.reports.junit", "JUnitReport"),
    ReportKind("html", "pqrun.reports.html", "HtmlReport"),
    ReportKind("trace", "pqrun.reports.chrome_trace", "ChromeTrace"),
    ReportKind("summary", "pqrun.reports.markdown", "MarkdownSummary"),
    ReportKind("metrics", "pqrun.reports.prometheus", "PromFile"),
    ReportKind("joblog", "pqrun.reports.job_log", "JobLog", grows=True),
    ReportKind("events", "pqrun.reports.event_log", "EventLog", grows=True),
)


class RunInfo(NamedTuple):
    """The facts that are known when a run begins.

    `began`: seconds on the clock of the events. `wall` turns such a time into seconds since the epoch.
    `directory`: the run directory, if any. `cwd`: the directory where jobs and hooks start.
    `command`: the command line of the run, empty if it is unknown. `endless`: whether the run is a queue.
    """

    run_id: str
    files: tuple[str, ...]
    workers: int | None
    began: float
    wall: Wall
    directory: str | None = None
    cwd: str | None = None
    command: str = ""
    endless: bool = False

    def seconds_in(self, at: float) -> float:
        """Return the seconds of the wall clock from the beginning of the run to `at`, a time of the events."""
        return self.wall(at) - self.wall(self.began)

    def seconds_to_start(self, began: float, ended: float) -> float:
        """Return the seconds of the wall clock from the beginning of the run to the start of an attempt."""
        return wall_start(self.wall, began, ended) - self.wall(self.began)


class Ending(NamedTuple):
    """The facts that are known when a run has ended, or so far if it is `live`.

    `code`: the exit code. `run` and `metrics` are those of the final document. `now`: the wall clock of the facts
    of a live run.
    """

    code: int
    metrics: Metrics
    run: dict[str, Any]
    live: bool = False
    now: float | None = None


class Report(Observer):
    """A report, complete after `finish`. `option`: the option that asked for it, as messages name it."""

    option = ""

    def finish(self, ending: Ending) -> None:
        """Complete the report."""
        raise NotImplementedError


class NoReports(Observer):
    """The stand-in for a `ReportSet` in a run without reports, which saves the loading of that module."""

    failures: tuple[str, ...] = ()

    def begin(self, run: RunInfo, table: JobTable) -> None:
        """Do nothing: no report is open."""

    def finish(self, ending: Ending, **_how: Any) -> int:
        """Return the run's exit code unchanged."""
        return ending.code
