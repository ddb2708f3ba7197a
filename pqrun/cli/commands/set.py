# SPDX-License-Identifier: LGPL-3.0-or-later
"""`set`: change jobs that have not started, or the workers and pools of a live run."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pqrun.cli.app import parser, with_options
from pqrun.cli.commands.live_run import Jobs, RunName, expect_some, live_commands, option_value
from pqrun.cli.options import OptionGroup, fields_given, with_fields
from pqrun.cli.options import pool as read_pool
from pqrun.core.values import workers


@with_fields("set")
class SetOptions(OptionGroup):
    """Options of `set`: the fields of a job that can be changed before it starts."""


@with_options(SetOptions)
def set_(
    jobs: Jobs = None,
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
    *,
    options: SetOptions,
) -> None:
    """Change jobs that have not started, or the run's workers and pools."""
    from pqrun.control.client import ControlClient
    from pqrun.engine.machine_load import count_workers

    change = {field.flat_name: value for field, _, value in fields_given(options, "set")}
    _check_words(bool(jobs), changes=bool(change or front), resizes=bool(at_once or pool))
    pools = [parser(read_pool)(text) for text in pool or ()]
    with ControlClient(run) as talk:
        if at_once is not None:
            talk.ask("workers", workers=count_workers(at_once))
        for wanted in pools:
            talk.ask("pool", pool=wanted.name, size=wanted.size)
        if jobs:
            expect_some(talk.ask("set", jobs=jobs, change=change, front=front)["count"])


def _check_words(named: bool, *, changes: bool, resizes: bool) -> None:
    """Raise a typer error unless the command line names jobs with their changes, or a new size."""
    if changes and not named:
        raise typer.BadParameter("name the jobs to change", param_hint="JOB")
    if named and not changes:
        raise typer.BadParameter("give an option that changes the jobs, such as --priority", param_hint="JOB")
    if not (named or resizes):
        raise typer.BadParameter("nothing to set: give jobs and an option, or -j, or --pool")


app = live_commands(set=set_)
