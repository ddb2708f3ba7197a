# SPDX-License-Identifier: LGPL-3.0-or-later
"""`cancel`: end jobs of a live run."""

from __future__ import annotations

from typing import Annotated

import typer

from pqrun.cli.commands.live_run import SELECTORS, RunName, expect_some, live_commands


def cancel(
    jobs: Annotated[list[str], typer.Argument(metavar="JOB...", help=SELECTORS)], run: RunName = None
) -> None:
    """Cancel jobs: waiting jobs at once, running jobs with their signal and grace period."""
    from pqrun.control.client import request

    expect_some(request(run, "cancel", jobs=jobs)["count"])


app = live_commands(cancel=cancel)
