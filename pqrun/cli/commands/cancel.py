# SPDX-License-Identifier: LGPL-3.0-or-later
"""The command `cancel`."""

from __future__ import annotations

from typing import Annotated

from pqrun.cli.commands.live_run import PANEL, SELECTORS, RunName, some
from pqrun.cli.declarations import ArgumentSpec, CommandSpec


def cancel(jobs: Annotated[list[str], ArgumentSpec("JOB...", SELECTORS)], run: RunName = None) -> int:
    """Cancel jobs: waiting jobs at once, running jobs with their signal and grace period."""
    from pqrun.control.client import request

    return some(request(run, "cancel", jobs=jobs)["count"])


EXAMPLES = ("pqrun cancel deploy", "pqrun cancel 'fetch-*' tag:nightly", "pqrun cancel state:queued")
COMMANDS = (CommandSpec("cancel", cancel, PANEL, examples=EXAMPLES),)
