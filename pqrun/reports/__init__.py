# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a run tells other programs: one file a format, each loaded only when it is asked for."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pqrun.core import events as ev
from pqrun.output.ci_markers import ci_service

if TYPE_CHECKING:
    from pqrun.input import JobInput
    from pqrun.reports.report_set import ReportSet
    from pqrun.reports.run_info import Ending, RunInfo

OPTIONS = (
    "junit", "trace", "summary", "metrics", "metrics_listen", "joblog", "events", "on_finish", "on_failure",
    "hooks",
)  # fmt: skip


class NoReports:
    """What most runs ask for."""

    failures: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def begin(self, run: RunInfo) -> None:
        """Opens nothing."""

    def on_events(self, events: Sequence[ev.Event]) -> None:
        """Tells nobody."""

    def close(self) -> None:
        """Nothing is open."""

    def finish(self, ending: Ending, **_how: Any) -> int:
        """The run's exit code as it was."""
        return ending.code


def reports_of(settings: Any, source: JobInput | None = None) -> ReportSet | NoReports:
    """What those settings ask for; `UserError` for what can't be had, or would destroy what `source` reads."""
    if any(getattr(settings, name) for name in (*OPTIONS, "results")) or _into_files():
        from pqrun.reports.file_clashes import refuse_clashes

        refuse_clashes(settings, () if source is None else source.reads())
    on_github = ci_service(settings.ci, os.environ) == "github"
    if not (on_github or any(getattr(settings, name) is not None for name in OPTIONS)):
        return NoReports()
    from pqrun.reports.report_set import ReportSet

    return ReportSet(settings)


def _into_files() -> bool:
    """Whether what we print goes into a file, which may be one that is read."""
    try:
        return any(stat.S_ISREG(os.fstat(fd).st_mode) for fd in (1, 2))
    except OSError:
        return False


def write_after(settings: Any, events: Sequence[ev.Event], run: RunInfo, ending: Ending) -> list[str]:
    """The reports of a recorded run, made from its events; what could not be written.

    `settings` has an attribute for each report that is wanted (`junit`, `trace`, `summary`, `metrics`,
    `joblog`, `events`). Jobs of a run that is not `ending.live` count as interrupted where they ran.
    """
    from pqrun.reports.file_clashes import refuse_clashes
    from pqrun.reports.report_set import ReportSet

    refuse_clashes(settings, [os.path.join(run.cwd or "", name) for name in run.files if name != "-"])
    reports = ReportSet(settings, environment={})
    reports.begin(run)
    reports.on_events(events)
    reports.finish(ending)
    return reports.failures
