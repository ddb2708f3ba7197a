# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a run tells other programs: one file a format, each loaded only when it is asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pqrun import events as ev
from pqrun.display.choose import ci_service

if TYPE_CHECKING:
    from pqrun.reports.facts import Ending, RunFacts
    from pqrun.reports.together import Reports

OPTIONS = (
    "junit", "trace", "summary", "metrics", "metrics_listen", "joblog", "events", "on_finish", "on_failure",
    "hooks",
)  # fmt: skip


class NoReports:
    """What most runs ask for."""

    failures: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def begin(self, run: RunFacts) -> None:
        """Opens nothing."""

    def hear(self, events: Sequence[ev.Event]) -> None:
        """Tells nobody."""

    def close(self) -> None:
        """Nothing is open."""

    def finish(self, ending: Ending, **_how: Any) -> int:
        """The run's exit code as it was."""
        return ending.code


def reports_of(settings: Any) -> Reports | NoReports:
    """What those settings ask for; `UserError` for what can't be had."""
    on_github = ci_service(settings.ci, os.environ) == "github"
    if not (on_github or any(getattr(settings, name) is not None for name in OPTIONS)):
        return NoReports()
    from pqrun.reports.together import Reports

    return Reports(settings)


def write_after(settings: Any, events: Sequence[ev.Event], run: RunFacts, ending: Ending) -> list[str]:
    """The reports of a recorded run, made from its events; what could not be written.

    `settings` has an attribute for each report that is wanted (`junit`, `trace`, `summary`, `metrics`,
    `joblog`, `events`). Jobs of a run that is not `ending.live` count as interrupted where they ran.
    """
    from pqrun.reports.together import Reports

    reports = Reports(settings, environment={})
    reports.begin(run)
    reports.hear(events)
    reports.finish(ending)
    return reports.failures
