# SPDX-License-Identifier: LGPL-3.0-or-later
"""The commands `pause`, `unpause` and `stop`."""

from __future__ import annotations

from typing import Annotated

from pqrun.cli.commands.live_run import PANEL, Jobs, RunName, note
from pqrun.cli.declarations import CommandSpec, switch


def pause(jobs: Jobs = None, run: RunName = None) -> int:
    """Start no more jobs until `unpause`; with JOB, hold these, as `hold` does. Running jobs continue."""
    from pqrun.cli.commands.hold import hold
    from pqrun.control.client import request

    if jobs:
        return hold(jobs, run)
    request(run, "pause")
    return 0


def unpause(jobs: Jobs = None, run: RunName = None) -> int:
    """Start jobs again; with JOB, release these, as `release` does."""
    from pqrun.cli.commands.hold import release
    from pqrun.control.client import request

    if jobs:
        return release(jobs, run)
    request(run, "unpause")
    return 0


def stop(
    now: Annotated[
        bool, switch("--now", help="Stop running jobs, too; given a second time, kill them")
    ] = False,
    run: RunName = None,
) -> None:
    """End a live run when its running jobs have ended. You can resume the rest later."""
    from pqrun.control.client import request

    answer = request(run, "stop", now=now)
    if answer["running"]:
        hint = (
            "stopping them (repeat the command to kill them)"
            if now
            else "waiting for them (`pqrun stop --now` stops them)"
        )
        note(f"running jobs: {answer['running']}; {hint}")


COMMANDS = (
    CommandSpec(
        "pause",
        pause,
        PANEL,
        examples=("pqrun pause", "pqrun pause tag:nightly", "pqrun pause --run nightly"),
    ),
    CommandSpec("unpause", unpause, PANEL, examples=("pqrun unpause", "pqrun unpause tag:nightly")),
    CommandSpec("stop", stop, PANEL, examples=("pqrun stop", "pqrun stop --now --run nightly")),
)
