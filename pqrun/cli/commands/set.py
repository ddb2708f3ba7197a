# SPDX-License-Identifier: LGPL-3.0-or-later
"""`set`: change jobs that have not started, or how many jobs of a live run, or of a tag, run at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pqrun.cli.commands.live_run import PANEL, Jobs, RunName, note, option_value, some
from pqrun.cli.declarations import CommandSpec, WrongUsage, switch
from pqrun.cli.options import FieldOptions, fields_given
from pqrun.cli.options import pool as read_pool
from pqrun.core.option_spec import OptionSpec
from pqrun.core.text import escape_controls, quoted
from pqrun.core.values import InvalidValue, workers

if TYPE_CHECKING:
    from pqrun.control.client import ControlClient

TAG, NO_LIMIT = "tag:", "none"


class SetOptions(FieldOptions):
    """Options of `set`: the fields of a job that can be changed before it starts."""

    command = "set"


def at_a_time(text: str) -> str:
    """Check a number of workers, or `none`. Return the text itself."""
    if text and not text.strip("0"):
        raise InvalidValue(
            f"out of range: {quoted(text)}",
            "write at least 1; `pqrun pause` and `pause tag:NAME` start no more jobs",
        )
    return text if text == NO_LIMIT else workers(text)


Front = Annotated[bool, switch("--front", help="Move the jobs before all others of their priority")]
AtOnce = Annotated[
    Any,
    option_value(
        at_a_time,
        "-j",
        "--workers",
        "--jobs",
        metavar="N",
        help="Run up to N jobs at a time; with tag:NAME, up to N jobs with this tag (none: no limit)",
    ),
]
Pools = Annotated[
    list[str] | None, OptionSpec(("--pools", "--pool"), "Set the size of a pool", None, "NAME=N")
]


def set_(
    jobs: Jobs = None,
    front: Front = False,
    at_once: AtOnce = None,
    pool: Pools = None,
    run: RunName = None,
    *,
    options: SetOptions,
) -> int:
    """Change jobs that have not started, or the run's workers and pools."""
    from pqrun.control.client import ControlClient
    from pqrun.input.defaults import start_time

    change = {field.flat_name: value for field, _, value in fields_given(options)}
    if "not_before" in change:
        change["not_before"] = start_time(change["not_before"])
    changes = bool(change or front)
    _check_words(jobs or (), at_once, changes=changes, pools=bool(pool))
    try:
        pools = [read_pool(text) for text in pool or ()]
    except ValueError as error:
        raise WrongUsage(f"--pool: {error}") from None
    with ControlClient(run) as client:
        if at_once is not None:
            _set_workers(client, jobs or (), at_once)
        for wanted in pools:
            client.request("pool", pool=wanted.name, size=wanted.size)
        if jobs and changes:
            answer = client.request("set", jobs=jobs, change=change, front=front)
            return some(answer["count"], "no job changed: none of these jobs waits to start")
    return 0


def _set_workers(client: ControlClient, selectors: Sequence[str], at_once: str) -> None:
    """Set how many jobs run at a time: of the whole run, or of each tag that is selected."""
    from pqrun.engine.machine_load import count_workers

    limit = None if at_once == NO_LIMIT else count_workers(at_once)
    if not selectors:
        client.request("workers", workers=limit)
    for selector in selectors:
        _limit(client, selector.removeprefix(TAG), limit)


def _limit(client: ControlClient, tag: str, limit: int | None) -> None:
    """Limit the jobs with a tag; tell if there are none, because the tag may be misspelt."""
    if not client.request("limit", tag=tag, workers=limit)["count"] and limit is not None:
        note(
            f"no unfinished job has the tag {escape_controls(tag)}: the limit is for jobs that are added later"
        )


def _check_words(jobs: Sequence[str], at_once: str | None, *, changes: bool, pools: bool) -> None:
    """Raise `WrongUsage` unless the command line names jobs with their changes, or a new size."""
    if changes and not jobs:
        raise WrongUsage("name the jobs to change")
    if at_once is not None and not all(selector.startswith(TAG) for selector in jobs):
        raise WrongUsage("-j is for the whole run, or for the jobs with a tag: `pqrun set tag:NAME -j N`")
    if at_once == NO_LIMIT and not jobs:
        raise WrongUsage("only the limit of a tag can be lifted: `pqrun set tag:NAME -j none`")
    if jobs and pools and not changes:
        raise WrongUsage(
            "--pool is for the whole run; to limit some jobs: `pqrun set tag:NAME -j N`, or add them with --pool NAME"
        )
    if jobs and not changes and at_once is None:
        raise WrongUsage("give an option that changes the jobs, such as --priority")
    if not (jobs or pools or at_once is not None):
        raise WrongUsage("nothing to set: give jobs and an option, or -j, or --pool")


EXAMPLES = (
    "pqrun set -j 8",
    "pqrun set tag:nightly -j 2",
    "pqrun set 'fetch-*' --priority high",
    "pqrun set tag:nightly --timeout 2h",
)
COMMANDS = (CommandSpec("set", set_, PANEL, examples=EXAMPLES),)
