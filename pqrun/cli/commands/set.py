# SPDX-License-Identifier: LGPL-3.0-or-later
"""`set`: change jobs that have not started, or the workers and pools of a live run."""

from __future__ import annotations

from typing import Annotated, Any

from pqrun.cli.commands.live_run import PANEL, Jobs, RunName, option_value, some
from pqrun.cli.declarations import CommandSpec, WrongUsage, switch
from pqrun.cli.options import FieldOptions, fields_given
from pqrun.cli.options import pool as read_pool
from pqrun.core.option_spec import OptionSpec
from pqrun.core.values import workers


class SetOptions(FieldOptions):
    """Options of `set`: the fields of a job that can be changed before it starts."""

    command = "set"


def set_(
    jobs: Jobs = None,
    front: Annotated[
        bool, switch("--front", help="Move the jobs before all others of their priority")
    ] = False,
    at_once: Annotated[
        Any,
        option_value(workers, "-j", "--workers", "--jobs", metavar="N", help="Run up to N jobs at a time"),
    ] = None,
    pool: Annotated[
        list[str] | None, OptionSpec(("--pools", "--pool"), "Set the size of a pool", None, "NAME=N")
    ] = None,
    run: RunName = None,
    *,
    options: SetOptions,
) -> int:
    """Change jobs that have not started, or the run's workers and pools."""
    from pqrun.control.client import ControlClient
    from pqrun.engine.machine_load import count_workers
    from pqrun.input.defaults import start_time

    change = {field.flat_name: value for field, _, value in fields_given(options)}
    if "not_before" in change:
        change["not_before"] = start_time(change["not_before"])
    _check_words(bool(jobs), changes=bool(change or front), resizes=bool(at_once or pool))
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


def _check_words(named: bool, *, changes: bool, resizes: bool) -> None:
    """Raise `WrongUsage` unless the command line names jobs with their changes, or a new size."""
    if changes and not named:
        raise WrongUsage("name the jobs to change", "JOB")
    if named and resizes and not changes:
        raise WrongUsage(
            "-j and --pool are for the whole run; to limit some jobs, add them with --pool NAME", "JOB"
        )
    if named and not changes:
        raise WrongUsage("give an option that changes the jobs, such as --priority", "JOB")
    if not (named or resizes):
        raise WrongUsage("nothing to set: give jobs and an option, or -j, or --pool")


EXAMPLES = ("pqrun set -j 8", "pqrun set 'fetch-*' --priority high", "pqrun set tag:nightly --timeout 2h")
COMMANDS = (CommandSpec("set", set_, PANEL, examples=EXAMPLES),)
