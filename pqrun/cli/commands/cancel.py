# SPDX-License-Identifier: LGPL-3.0-or-later
"""The command `cancel`."""

from __future__ import annotations

from typing import Annotated

from pqrun.cli.commands.live_run import PANEL, SELECTORS, RunName, option_value, some
from pqrun.cli.declarations import ArgumentSpec, CommandSpec
from pqrun.core.values import signal_name

SIGNAL_HELP = (
    "Only send SIG to running jobs, no KILL later; a job that it ends has failed, and may be retried"
)


def cancel(
    jobs: Annotated[list[str], ArgumentSpec("JOB...", SELECTORS, "jobs")],
    signal: Annotated[
        str | None, option_value(signal_name, "--signal", metavar="SIG", help=SIGNAL_HELP)
    ] = None,
    run: RunName = None,
) -> int:
    """Cancel jobs: waiting jobs at once, running jobs with their signal and grace period."""
    from pqrun.control.client import request

    if signal is not None:
        nothing = "no job signalled: none of these jobs runs as a process of this machine"
        return some(request(run, "signal", jobs=jobs, signal=signal)["count"], nothing)
    return some(request(run, "cancel", jobs=jobs)["count"])


EXAMPLES = (
    "pqrun cancel deploy", "pqrun cancel 'fetch-*' tag:nightly", "pqrun cancel state:queued",
    "pqrun cancel --signal USR1 server",
)  # fmt: skip
COMMANDS = (CommandSpec("cancel", cancel, PANEL, examples=EXAMPLES),)
