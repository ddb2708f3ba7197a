# SPDX-License-Identifier: LGPL-3.0-or-later
"""`set`: change jobs that have not started, or the workers and pools of a live run."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pqrun.cli.app import parser
from pqrun.cli.commands.add import needed
from pqrun.cli.commands.live_run import Jobs, RunName, expect_some, live_commands, option_value
from pqrun.core import values
from pqrun.core.values import retries, workers


def set_(
    jobs: Jobs = None,
    priority: Annotated[
        Any,
        option_value(
            values.priority,
            "-p",
            "--priority",
            metavar="LEVEL",
            help="New priority: critical, high, normal or low",
        ),
    ] = None,
    timeout: Annotated[
        Any,
        option_value(values.duration, "-t", "--timeout", metavar="DUR", help="New time limit; 0: none"),
    ] = None,
    tries: Annotated[
        Any, option_value(retries, "-r", "--retries", metavar="N", help="Retry up to N times")
    ] = None,
    needs: Annotated[
        Any,
        option_value(needed, "--needs", metavar="ID,…", help="Replace the needs of the jobs; '': no needs"),
    ] = None,
    front: Annotated[
        bool, typer.Option("--front", help="Move the jobs before all others of their priority")
    ] = False,
    at_once: Annotated[
        Any,
        option_value(workers, "-j", "--jobs", "--workers", metavar="N", help="Run up to N jobs at a time"),
    ] = None,
    pool: Annotated[
        list[str] | None, typer.Option("--pool", metavar="NAME=N", help="Set the size of a pool")
    ] = None,
    run: RunName = None,
) -> None:
    """Change jobs that have not started, or the run's workers and pools."""
    from pqrun.cli.options import pool as read_pool
    from pqrun.control.client import ControlClient
    from pqrun.engine.machine_load import count_workers

    given = {"priority": priority, "timeout": timeout, "retries": tries, "needs": needs}
    change = {name: value for name, value in given.items() if value is not None}
    if not jobs and (change or front):
        raise typer.BadParameter("name the jobs to change", param_hint="JOB")
    if jobs and not (change or front):
        raise typer.BadParameter("give an option that changes the jobs, such as --priority", param_hint="JOB")
    if not (jobs or at_once or pool):
        raise typer.BadParameter("nothing to set: give jobs and an option, or -j, or --pool")
    pools = [parser(read_pool)(text) for text in pool or ()]
    with ControlClient(run) as client:
        if at_once is not None:
            client.request("workers", workers=count_workers(at_once))
        for wanted in pools:
            client.request("pool", pool=wanted.name, size=wanted.size)
        if jobs:
            expect_some(client.request("set", jobs=jobs, change=change, front=front)["count"])


app = live_commands(set=set_)
