# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a run tells other programs: one file a format, each loaded only when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pqrun import events as ev
from pqrun.reports.facts import Ending, RunFacts
from pqrun.reports.together import Reports

__all__ = ["Ending", "Reports", "RunFacts", "write_after"]


def write_after(settings: Any, events: Sequence[ev.Event], run: RunFacts, ending: Ending) -> list[str]:
    """The reports of a recorded run, made from its events; what could not be written.

    `settings` has an attribute for each report that is wanted (`junit`, `trace`, `summary`, `metrics`,
    `joblog`, `events`). Jobs of a run that is not `ending.live` count as interrupted where they ran.
    """
    reports = Reports(settings, environment={})
    reports.begin(run)
    reports.hear(events)
    reports.finish(ending)
    return reports.failures
