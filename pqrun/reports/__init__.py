# SPDX-License-Identifier: LGPL-3.0-or-later
"""Reports of a run for other programs. `reports_of` is for a new run, `write_after` for a recorded one.

`REPORTS` has an entry for each report. Its module is loaded only if a setting asks for that report.

report_set      All reports of a run as one observer; the exit code after them.
targets         The file, pipe or descriptor of a report, and its failure; text that waits on the disk.
file_clashes    Refusal of reports that would overwrite an input or a run's files.
cases           Jobs as they end, each with the end of its output; shared text helpers.
digest          A run's failures, flaky and slowest jobs, in bounded memory.
junit           JUnit XML.
html            A page for a browser, in one file.
page_data       The data of the page: its head, and records as columns of JSON.
page_files      The page's own files (in `page/`), joined into one.
json_document   The final JSON document, shared by `run --json` and `show --json`.
event_log       Events as JSON lines.
job_log         GNU parallel's job log.
chrome_trace    A timeline for ui.perfetto.dev.
markdown        A page of Markdown.
github          Annotations and the step summary of GitHub Actions.
prometheus      Metrics as a file or over HTTP.
hooks           Commands that run at the end.
desktop         Notifications on the desktop.
results_dir     A directory for each job.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pqrun.core import events as ev
from pqrun.core.events import Observer
from pqrun.core.job_table import JobTable
from pqrun.core.metrics import Metrics
from pqrun.core.settings import OutputSettings, RecordSettings, ReportSettings, Settings
from pqrun.output.ci_markers import ci_service

if TYPE_CHECKING:
    from pqrun.reports.report_set import ReportSet


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
    wall: Callable[[float], float]
    directory: str | None = None
    cwd: str | None = None
    command: str = ""
    endless: bool = False


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


def reports_of(settings: Settings, reads: Iterable[str] = ()) -> ReportSet | NoReports:
    """Return the reports that the settings ask for.

    Raises `UserError` if a report cannot be written, or would overwrite one of the files `reads`.
    """
    reports, output = settings.reports, settings.output
    if any(reports) or _into_files():
        from pqrun.reports.file_clashes import refuse_clashes

        refuse_clashes(reports, settings.record, reads)
    on_github = ci_service(output.ci, os.environ) == "github"
    if not on_github and reports._replace(results=None) == ReportSettings():
        return NoReports()
    from pqrun.reports.report_set import ReportSet

    return ReportSet(reports, output)


def _into_files() -> bool:
    """Return whether stdout or stderr is a regular file, which may be a file that the run reads."""
    try:
        return any(stat.S_ISREG(os.fstat(fd).st_mode) for fd in (1, 2))
    except OSError:
        return False


def write_after(
    settings: ReportSettings, events: Sequence[ev.Event], run: RunInfo, ending: Ending, *, json: bool = False
) -> list[str]:
    """Write the reports of a recorded run from its events; return what could not be written.

    `json`: whether a JSON document goes to stdout as well. Unless `ending.live`, jobs that were still running
    count as interrupted.
    """
    from pqrun.reports.file_clashes import refuse_clashes
    from pqrun.reports.report_set import ReportSet

    record = RecordSettings(run_dir=run.directory)
    refuse_clashes(settings, record, [os.path.join(run.cwd or "", name) for name in run.files if name != "-"])
    reports = ReportSet(settings, OutputSettings(json=json), environment={})
    reports.begin(run, JobTable(run.began, keeps_ended=True))
    reports.finish(ending, untold=events)
    return reports.failures
