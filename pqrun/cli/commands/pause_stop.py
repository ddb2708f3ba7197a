# SPDX-License-Identifier: LGPL-3.0-or-later
"""The commands `pause`, `unpause` and `stop`."""

from __future__ import annotations

from typing import Annotated

from pqrun.cli.commands.live_run import PANEL, RunName, note
from pqrun.cli.declarations import CommandSpec, switch


def pause(run: RunName = None) -> None:
    """Start no more jobs until `unpause`. Running jobs continue."""
    from pqrun.control.client import request

    request(run, "pause")


def unpause(run: RunName = None) -> None:
    """Start jobs again."""
    from pqrun.control.client import request

    request(run, "unpause")


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
    CommandSpec("pause", pause, PANEL, examples=("pqrun pause", "pqrun pause --run nightly")),
    CommandSpec("unpause", unpause, PANEL, examples=("pqrun unpause",)),
    CommandSpec("stop", stop, PANEL, examples=("pqrun stop", "pqrun stop --now --run nightly")),
)
