# SPDX-License-Identifier: LGPL-3.0-or-later
"""`pause`, `unpause` and `stop`: stop starting jobs of a live run, start again, or end the run."""

from __future__ import annotations

from typing import Annotated

import typer

from pqrun.cli.commands.live_run import RunName, ask, live_commands


def pause(run: RunName = None) -> None:
    """Start no more jobs until `unpause`; what runs goes on."""
    ask(run, "pause")


def unpause(run: RunName = None) -> None:
    """Start jobs again."""
    ask(run, "unpause")


def stop(
    now: Annotated[bool, typer.Option("--now", help="Stop what runs; a second time: kill it")] = False,
    run: RunName = None,
) -> None:
    """Let a live run finish what runs, and end; the rest can be resumed."""
    answer = ask(run, "stop", now=now)
    if answer["running"]:
        hint = "stopping them; again: kill them" if now else "letting them end; `pqrun stop --now` stops them"
        typer.echo(f"pqrun: running jobs: {answer['running']}; {hint}", err=True)


app = live_commands(pause=pause, unpause=unpause, stop=stop)
