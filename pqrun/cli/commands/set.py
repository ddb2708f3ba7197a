# SPDX-License-Identifier: LGPL-3.0-or-later
"""`set`: change jobs that have not started, or the workers and pools of a live run."""

from __future__ import annotations

from typing import Annotated, Any

from pqrun.cli.commands.add import needed
from pqrun.cli.commands.live_run import PANEL, Jobs, RunName, option_value, some
from pqrun.cli.declarations import CommandSpec, WrongUsage, switch
from pqrun.core import values
from pqrun.core.option_spec import OptionSpec
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
        bool, switch("--front", help="Move the jobs before all others of their priority")
    ] = False,
    at_once: Annotated[
        Any,
        option_value(workers, "-j", "--jobs", "--workers", metavar="N", help="Run up to N jobs at a time"),
    ] = None,
    pool: Annotated[
        list[str] | None, OptionSpec(("--pool",), "Set the size of a pool", None, "NAME=N")
    ] = None,
    run: RunName = None,
) -> int:
    """Change jobs that have not started, or the run's workers and pools."""
    from pqrun.cli.options import pool as read_pool
    from pqrun.control.client import ControlClient
    from pqrun.engine.machine_load import count_workers

    given = {"priority": priority, "timeout": timeout, "retries": tries, "needs": needs}
    change = {name: value for name, value in given.items() if value is not None}
    if not jobs and (change or front):
        raise WrongUsage("name the jobs to change", "JOB")
    if jobs and not (change or front):
        raise WrongUsage("give an option that changes the jobs, such as --priority", "JOB")
    if not (jobs or at_once or pool):
        raise WrongUsage("nothing to set: give jobs and an option, or -j, or --pool")
    try:
        pools = [read_pool(text) for text in pool or ()]
    except ValueError as error:
        raise WrongUsage(str(error)) from None
    with ControlClient(run) as client:
        if at_once is not None:
            client.request("workers", workers=count_workers(at_once))
        for wanted in pools:
            client.request("pool", pool=wanted.name, size=wanted.size)
        if jobs:
            return some(client.request("set", jobs=jobs, change=change, front=front)["count"])
    return 0


COMMANDS = (CommandSpec("set", set_, PANEL),)
