# SPDX-License-Identifier: LGPL-3.0-or-later
"""`pause`, `unpause` and `stop`: stop starting jobs of a live run, start again, or end the run."""

from __future__ import annotations

from typing import Annotated

import typer

from pqrun.cli.commands.live_run import RunName, live_commands


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
        bool, typer.Option("--now", help="Stop running jobs, too; given a second time, kill them")
    ] = False,
    run: RunName = None,
) -> None:
    """End a live run after its running jobs. You can resume the rest later."""
    from pqrun.control.client import request

    answer = request(run, "stop", now=now)
    if answer["running"]:
        hint = (
            "stopping them (repeat the command to kill them)"
            if now
            else "waiting for them (`pqrun stop --now` stops them)"
        )
        typer.echo(f"pqrun: running jobs: {answer['running']}; {hint}", err=True)


app = live_commands(pause=pause, unpause=unpause, stop=stop)
