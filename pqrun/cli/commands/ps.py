# SPDX-License-Identifier: LGPL-3.0-or-later
"""The commands that talk to a live run."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from pqrun.cli.app import commands, parser, with_options
from pqrun.cli.commands.add import AddOptions, needed
from pqrun.cli.completion import job_ids, run_ids
from pqrun.cli.options import RECORD
from pqrun.core import values
from pqrun.core.errors import InternalFailure, UserError
from pqrun.core.text import escape_controls, format_duration
from pqrun.core.unicode_json import as_json
from pqrun.core.values import retries, workers

PANEL = "Live runs"
NOT_YET = 3
SELECTORS = "Ids, globs, all, state:x, priority:x, tag:x"
RunName = Annotated[
    str | None,
    typer.Option(
        "--run",
        help="Which run, if several are live",
        metavar="RUN",
        rich_help_panel=RECORD,
        autocompletion=run_ids,
    ),
]
Jobs = Annotated[list[str] | None, typer.Argument(metavar="[JOB]...", help=SELECTORS, autocompletion=job_ids)]


def _value(read: Any, *names: str, metavar: str, help: str) -> Any:
    return typer.Option(*names, metavar=metavar, parser=parser(read), help=help)


@with_options(AddOptions)
def add(
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="CMD", help="A command; options end at its first word; several are quoted"),
    ] = None,
    file: Annotated[
        str | None, typer.Option("-f", "--file", help="Add the jobs of this file; - is stdin", metavar="FILE")
    ] = None,
    if_absent: Annotated[
        bool, typer.Option("--if-absent", help="Leave out jobs of whose id one is unfinished")
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", help="Leave out jobs of whose id there ever was one")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="If the queue is full, wait for room (else exit 75)")
    ] = False,
    run: RunName = None,
    *,
    options: AddOptions,
) -> None:
    """Add a job (or a file of jobs) to a live run; prints the ids."""
    from pqrun.cli.commands.add import jobs_of_command, jobs_of_file, send_jobs
    from pqrun.control.client import ControlClient

    if (file is None) == (not command):
        raise typer.BadParameter("give a command, or a file with -f", param_hint="CMD")
    if command and not command[0].strip():
        from pqrun.control.commands.add import EMPTY

        raise UserError(EMPTY)
    with ControlClient(run) as talk:
        jobs = jobs_of_command(command or [], options) if file is None else jobs_of_file(file, options)
        for ids in send_jobs(talk, jobs, wait=wait, if_absent=if_absent, once=once):
            _print_ids(ids)


def ps(
    jobs: Jobs = None,
    json: Annotated[bool, typer.Option("--json", help="As a JSON document")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again every second, until the run ends")] = False,
    why: Annotated[str | None, typer.Option("--why", help="What that job waits for", metavar="JOB")] = None,
    run: RunName = None,
) -> None:
    """List the jobs of a live run that have not ended."""
    pass
    from pqrun.control.client import NO_LIVE_RUN, ControlClient

    with ControlClient(run) as talk:
        if why is not None:
            answer = talk.ask("ps", jobs=[why], why=True)
            _expect_some(len(answer["why"]), f"no unfinished job `{why}`")
            typer.echo(reasons(answer))
            return
        first = True
        while True:
            try:
                answer = talk.ask("ps", jobs=jobs or [])
                text = document(answer, talk.ask("info"), a_line=watch) if json else shown(answer, fits=watch)
            except InternalFailure as failure:
                if first or failure.code != NO_LIVE_RUN:
                    raise
                return  # it has ended while it was watched
            if watch and not json and sys.stdout.isatty():
                typer.echo("\x1b[H\x1b[2J", nl=False)
            typer.echo(text)
            if not watch:
                break
            first = False
            time.sleep(1.0)
    if jobs:
        _expect_some(len(answer["jobs"]), "no such unfinished job")


def set_(
    jobs: Jobs = None,
    priority: Annotated[
        Any,
        _value(values.priority, "-p", "--priority", metavar="LEVEL", help="critical, high, normal or low"),
    ] = None,
    timeout: Annotated[
        Any, _value(values.duration, "-t", "--timeout", metavar="DUR", help="Another time limit; 0: none")
    ] = None,
    tries: Annotated[
        Any, _value(retries, "-r", "--retries", metavar="N", help="Up to N attempts after the first")
    ] = None,
    needs: Annotated[
        Any, _value(needed, "--needs", metavar="ID,…", help="It needs these instead; '': nothing")
    ] = None,
    front: Annotated[bool, typer.Option("--front", help="Before all of the same priority")] = False,
    at_once: Annotated[
        Any, _value(workers, "-j", "--jobs", "--workers", metavar="N", help="The run: so many at a time")
    ] = None,
    pool: Annotated[
        list[str] | None, typer.Option("--pool", metavar="NAME=N", help="The run: a pool's size")
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
        raise typer.BadParameter("which jobs?", param_hint="JOB")
    if jobs and not (change or front):
        raise typer.BadParameter("what is to be changed?", param_hint="JOB")
    if not (jobs or at_once or pool):
        raise typer.BadParameter("nothing to set")
    pools = [parser(read_pool)(text) for text in pool or ()]
    with ControlClient(run) as talk:
        if at_once is not None:
            talk.ask("workers", workers=count_workers(at_once))
        for wanted in pools:
            talk.ask("pool", pool=wanted.name, size=wanted.size)
        if jobs:
            _expect_some(talk.ask("set", jobs=jobs, change=change, front=front)["count"])


def pause(run: RunName = None) -> None:
    """Start no more jobs until `unpause`; what runs goes on."""
    _ask(run, "pause")


def unpause(run: RunName = None) -> None:
    """Start jobs again."""
    _ask(run, "unpause")


def cancel(
    jobs: Annotated[list[str], typer.Argument(metavar="JOB...", help=SELECTORS)], run: RunName = None
) -> None:
    """End jobs: at once if they don't run, else after their grace."""
    _expect_some(_ask(run, "cancel", jobs=jobs)["count"])


def wait(
    jobs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[JOB]...", help="Ids, globs; without: until none is left", autocompletion=job_ids
        ),
    ] = None,
    any_: Annotated[bool, typer.Option("--any", help="Until one of them has ended; prints its id")] = False,
    timeout: Annotated[
        Any,
        _value(values.duration, "-t", "--timeout", metavar="DUR", help="No longer than this (then exit 3)"),
    ] = None,
    run: RunName = None,
) -> None:
    """Wait until jobs have ended; exit 0 if all of them went well, else 1."""
    from pqrun.control.client import ControlClient

    with ControlClient(run) as talk:
        try:
            answer = talk.ask("wait", timeout=timeout, jobs=jobs or [], any=any_)
        except TimeoutError:
            typer.echo("pqrun: they have not ended yet", err=True)
            raise typer.Exit(NOT_YET) from None
    if any_:
        _print_ids(answer["ids"])
    raise typer.Exit(1 if answer["failed"] else 0)


def stop(
    now: Annotated[bool, typer.Option("--now", help="Stop what runs; a second time: kill it")] = False,
    run: RunName = None,
) -> None:
    """Let a live run finish what runs, and end; the rest can be resumed."""
    answer = _ask(run, "stop", now=now)
    if answer["running"]:
        hint = "stopping them; again: kill them" if now else "letting them end; `pqrun stop --now` stops them"
        typer.echo(f"pqrun: running jobs: {answer['running']}; {hint}", err=True)


def _ask(run: str | None, verb: str, **facts: Any) -> dict[str, Any]:
    from pqrun.control.client import ControlClient

    with ControlClient(run) as talk:
        return talk.ask(verb, **facts)


def _print_ids(ids: Iterable[str]) -> None:
    """As they are for another program; on a terminal nothing in them steers it."""
    screen = sys.stdout.isatty()
    sys.stdout.write("".join(f"{escape_controls(job_id) if screen else job_id}\n" for job_id in ids))
    sys.stdout.flush()


def _expect_some(count: int, otherwise: str = "no such job that could still change") -> None:
    if not count:
        typer.echo(f"pqrun: {escape_controls(otherwise)}", err=True)
        raise typer.Exit(1)


app = commands()
for _name, _command in (
    ("add", add), ("ps", ps), ("set", set_), ("pause", pause), ("unpause", unpause), ("cancel", cancel),
    ("wait", wait), ("stop", stop),
):  # fmt: skip
    # A command has options of its own: as with `env` and `timeout`, what follows its first word is not ours.
    _words = {"allow_interspersed_args": _command is not add}
    app.command(_name, rich_help_panel=PANEL, context_settings=_words)(_command)


SCHEMA = 1
MAX_COMMAND_LENGTH = 60
TITLES = ("id", "state", "priority", "try", "time", "command")
STATES = ("running", "queued", "waiting", "pending")


def shown(answer: dict[str, Any], *, fits: bool = False) -> str:
    """A line a job under one of titles, then how many there are; not more than fits on the screen."""
    jobs = answer["jobs"]
    most = max(1, shutil.get_terminal_size((80, 1000)).lines - 4) if fits else len(jobs)
    rows = [TITLES, *map(_row, jobs[:most])]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = []
    for row in rows if jobs else ():
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[5]]).rstrip())
    if len(jobs) > most:
        lines.append(f"… and {len(jobs) - most} more")
    counts = Counter(job["state"] for job in jobs)
    lines.append(
        ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state]) or "no unfinished jobs"
    )
    if answer["stopping"]:
        lines.append("stopping: nothing starts any more")
    elif answer["paused"]:
        lines.append("paused: nothing starts until `pqrun unpause`")
    return "\n".join(lines)


def document(answer: dict[str, Any], info: dict[str, Any], *, a_line: bool = False) -> str:
    """The same for programs."""
    facts = {"schema": SCHEMA, "run": info["run"], "metrics": info["metrics"], "paused": answer["paused"]}
    return as_json({**facts, "jobs": answer["jobs"]}, indent=None if a_line else 1)


def reasons(answer: dict[str, Any]) -> str:
    """What each job waits for."""
    return "\n".join(
        f"{escape_controls(job_id)}: {escape_controls(reason)}" for job_id, reason in answer["why"].items()
    )


def _row(job: dict[str, Any]) -> tuple[str, ...]:
    seconds = "" if job["seconds"] is None else format_duration(max(0.0, job["seconds"]))
    run = shlex.join(job["run"]) if isinstance(job["run"], list) else str(job["run"])
    command = escape_controls(" ".join(run[: MAX_COMMAND_LENGTH * 8].split()))
    command = command if len(command) <= MAX_COMMAND_LENGTH else command[: MAX_COMMAND_LENGTH - 1] + "…"
    tries = f"{job['attempts']}/{job['max_attempts']}"
    return escape_controls(job["id"]), job["state"], job["priority"], tries, seconds, command
