# SPDX-License-Identifier: LGPL-3.0-or-later
"""The command `restart`."""

from __future__ import annotations

from typing import Annotated

from pqrun.cli.commands.live_run import PANEL, Jobs, RunName, note, some
from pqrun.cli.declarations import CommandSpec, WrongUsage, switch


def restart(
    jobs: Jobs = None,
    failed: Annotated[
        bool, switch("--failed", help="Only jobs that did not end ok; without JOB: all of these")
    ] = False,
    run: RunName = None,
) -> int:
    """Run ended jobs of a live run again, and the jobs that were skipped because of them."""
    from pqrun.control.client import request

    if not (jobs or failed):
        raise WrongUsage("name the jobs to run again, or give --failed")
    answer = request(run, "restart", jobs=jobs or [], failed=failed)
    if more := answer["dependents"]:
        note(f"also run again, because they had been skipped: {more} job{'s' if more > 1 else ''}")
    return some(answer["count"], "no job restarted: none of these jobs has ended")


COMMANDS = (
    CommandSpec("restart", restart, PANEL, examples=("pqrun restart build", "pqrun restart --failed")),
)
