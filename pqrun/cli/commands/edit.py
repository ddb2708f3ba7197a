# SPDX-License-Identifier: LGPL-3.0-or-later
"""The command `edit`: a job that has not started, as a small YAML file in the user's editor."""

from __future__ import annotations

from typing import Annotated

from pqrun.cli.commands.live_run import PANEL, RunName
from pqrun.cli.declarations import ArgumentSpec, CommandSpec


def edit(
    job: Annotated[str, ArgumentSpec("JOB", "The id of a job that has not started", "jobs")],
    run: RunName = None,
) -> int:
    """Change a job that has not started in $VISUAL or $EDITOR: its command, priority, needs, limits."""
    from pqrun.cli.job_editor import edit_job
    from pqrun.control.client import ControlClient

    with ControlClient(run) as client:
        return edit_job(client, job)


COMMANDS = (CommandSpec("edit", edit, PANEL, examples=("pqrun edit build", "pqrun edit 3 --run nightly")),)
