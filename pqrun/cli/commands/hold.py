# SPDX-License-Identifier: LGPL-3.0-or-later
"""The commands `hold` and `release`."""

from __future__ import annotations

from typing import Annotated

from pqrun.cli.commands.live_run import PANEL, SELECTORS, RunName, some
from pqrun.cli.declarations import ArgumentSpec, CommandSpec

HeldJobs = Annotated[list[str], ArgumentSpec("JOB...", SELECTORS, "jobs")]


def hold(jobs: HeldJobs, run: RunName = None) -> int:
    """Keep jobs from starting until `release`. Running jobs continue."""
    from pqrun.control.client import request

    return some(request(run, "hold", jobs=jobs)["count"], "no job held: none of these jobs waits to start")


def release(jobs: HeldJobs, run: RunName = None) -> int:
    """Let held jobs start."""
    from pqrun.control.client import request

    return some(request(run, "release", jobs=jobs)["count"], "no job released: none of these jobs is held")


COMMANDS = (
    CommandSpec("hold", hold, PANEL, examples=("pqrun hold 'upload-*'",)),
    CommandSpec("release", release, PANEL, examples=("pqrun release state:held",)),
)
