# SPDX-License-Identifier: LGPL-3.0-or-later
"""The commands that talk to a live run."""

from __future__ import annotations

import json as json_
import sys
import time
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from pqrun.cli.declare import FAILURE, INPUT, RECORD, SCHEDULING, option, reads, takes
from pqrun.cli.options import JobOptions
from pqrun.jobfile import values
from pqrun.jobfile.kinds import retries, workers

PANEL = "Live runs"
BATCH = 400
RunName = Annotated[
    str | None,
    typer.Option("--run", help="Which run, if several are live", metavar="RUN", rich_help_panel=RECORD),
]


@dataclass(kw_only=True)
class AddOptions(JobOptions):
    """A job's own fields."""

    id: Annotated[
        str | None,
        option("--id", help="What to call it [its number]", panel=INPUT, metavar="ID", read=values.job_id),
    ] = None
    needs: Annotated[
        str | None, option("--needs", help="Jobs that have to end ok first", panel=SCHEDULING, metavar="ID,…")
    ] = None
    slots: Annotated[
        int, option("--slots", help="So many slots at a time", panel=SCHEDULING, metavar="N", read=lambda t: values.whole_number(t, 1, 10**6))
    ] = 1  # fmt: skip
    pools: Annotated[
        str | None,
        option("--pools", help="Shares of pools that it takes", panel=SCHEDULING, metavar="NAME=N,…"),
    ] = None
    tags: Annotated[
        str | None, option("--tags", help="Words to select it by", panel=INPUT, metavar="WORD,…")
    ] = None
    allow_failure: Annotated[
        bool, option("--allow-failure", help="Its failure is none of the run's", panel=FAILURE)
    ] = False
    success_codes: Annotated[
        str | None,
        option("--success-codes", help="Exit codes that count as ok", panel=FAILURE, metavar="N,…"),
    ] = None
    no_rerun: Annotated[
        bool, option("--no-rerun", help="Never run it again if pqrun dies while it runs", panel=FAILURE)
    ] = False
    stdin: Annotated[
        str | None, option("--stdin", help="A file to read from", panel=INPUT, metavar="FILE")
    ] = None
    cwd: Annotated[
        str | None,
        option("-C", "--cwd", help="Start it in this directory [here]", panel=INPUT, metavar="DIR"),
    ] = None


@takes(AddOptions)
def add(
    command: Annotated[
        list[str] | None, typer.Argument(metavar="CMD", help="A command; several words are quoted")
    ] = None,
    file: Annotated[
        str | None, typer.Option("-f", "--file", help="Add the jobs of this file; - is stdin", metavar="FILE")
    ] = None,
    if_absent: Annotated[bool, typer.Option("--if-absent", help="Leave out jobs whose id is known")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="If the queue is full, wait for room (else exit 75)")
    ] = False,
    run: RunName = None,
    *,
    options: AddOptions,
) -> None:
    """Add a job (or a file of jobs) to a live run; prints the ids."""
    from pqrun.cli.adding import jobs_of_command, jobs_of_file
    from pqrun.control.talk import Talk, find_socket

    if (file is None) == (not command):
        raise typer.BadParameter("give a command, or a file with -f", param_hint="CMD")
    jobs = jobs_of_file(file, options) if file is not None else jobs_of_command(command or [], options)
    with Talk(find_socket(run)) as talk:
        for start in range(0, len(jobs), BATCH):
            answer = talk.ask("add", add=jobs[start : start + BATCH], if_absent=if_absent, wait=wait)
            for job_id in answer["ids"]:
                typer.echo(job_id)


def ps(
    jobs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[JOB]...", help="Ids, globs, all, state:x, priority:x, tag:x"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="As one JSON document")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again every second, until the run ends")] = False,
    why: Annotated[str | None, typer.Option("--why", help="What that job waits for", metavar="JOB")] = None,
    run: RunName = None,
) -> None:
    """List the jobs of a live run that have not ended."""
    from pqrun.cli.pstable import shown
    from pqrun.control.talk import Talk, find_socket

    with Talk(find_socket(run)) as talk:
        while True:
            facts: dict[str, Any] = {"jobs": [why], "why": True} if why else {"jobs": jobs} if jobs else {}
            answer = talk.ask("ps", **facts)
            if why:
                _say_why(answer, why)
                return
            if json:
                document = {"schema": 1, "run": talk.ask("info")["run"], "jobs": answer["jobs"]}
                typer.echo(json_.dumps({**document, "paused": answer["paused"]}, indent=1))
            else:
                if watch and sys.stdout.isatty():
                    typer.echo("\x1b[H\x1b[2J", nl=False)
                typer.echo(shown(answer))
            if not watch:
                break
            time.sleep(1.0)
    if jobs and not answer["jobs"]:
        raise typer.Exit(1)


def _say_why(answer: dict[str, Any], selector: str) -> None:
    if not answer["why"]:
        typer.echo(f"pqrun: no unfinished job `{selector}`", err=True)
        raise typer.Exit(1)
    for job_id, reason in answer["why"].items():
        typer.echo(f"{job_id}: {reason}")


def set_(
    jobs: Annotated[
        list[str] | None, typer.Argument(metavar="[JOB]...", help="Jobs that have not started")
    ] = None,
    priority: Annotated[
        Any,
        typer.Option(
            "-p",
            "--priority",
            metavar="LEVEL",
            parser=reads(values.priority),
            help="critical, high, normal or low",
        ),
    ] = None,
    timeout: Annotated[
        Any, typer.Option("-t", "--timeout", metavar="DUR", parser=reads(values.duration), help="0: no limit")
    ] = None,
    tries: Annotated[
        Any, typer.Option("-r", "--retries", metavar="N", parser=reads(retries), help="So many more attempts")
    ] = None,
    needs: Annotated[
        str | None, typer.Option("--needs", metavar="ID,…", help="Needs these instead; empty: nothing")
    ] = None,
    front: Annotated[bool, typer.Option("--front", help="Before all of the same priority")] = False,
    jobs_at_once: Annotated[
        Any,
        typer.Option(
            "-j", "--jobs", "--workers", metavar="N", parser=reads(workers), help="The run: so many at a time"
        ),
    ] = None,
    pool: Annotated[
        list[str] | None, typer.Option("--pool", metavar="NAME=N", help="The run: a pool's size")
    ] = None,
    run: RunName = None,
) -> None:
    """Change jobs that have not started, or the run's workers and pools."""
    from pqrun.cli.options import pool as read_pool
    from pqrun.control.talk import Talk, find_socket
    from pqrun.workers import count_workers

    change: dict[str, Any] = {}
    if priority is not None:
        change["priority"] = int(priority)
    if timeout is not None:
        change["timeout"] = timeout
    if tries is not None:
        change["retries"] = tries
    if needs is not None:
        change["needs"] = [[need, "ok"] for need in values.words(needs)]
    if not jobs and (change or front):
        raise typer.BadParameter("which jobs?", param_hint="JOB")
    if not (jobs or jobs_at_once or pool):
        raise typer.BadParameter("nothing to set")
    with Talk(find_socket(run)) as talk:
        if jobs_at_once is not None:
            talk.ask("workers", workers=count_workers(jobs_at_once))
        for text in pool or ():
            wanted = reads(read_pool)(text)
            talk.ask("pool", pool=wanted.name, size=wanted.size)
        if jobs:
            _expect_some(talk.ask("set", jobs=jobs, change=change, front=front)["count"])


def _expect_some(count: int) -> None:
    if not count:
        typer.echo("pqrun: no such job that could still change", err=True)
        raise typer.Exit(1)


def pause(run: RunName = None) -> None:
    """Start no more jobs until `unpause`; what runs goes on."""
    _ask(run, "pause")


def unpause(run: RunName = None) -> None:
    """Start jobs again."""
    _ask(run, "unpause")


def cancel(
    jobs: Annotated[
        list[str], typer.Argument(metavar="JOB...", help="Ids, globs, all, state:x, priority:x, tag:x")
    ],
    run: RunName = None,
) -> None:
    """End jobs: at once if they don't run, else after their grace."""
    _expect_some(_ask(run, "cancel", jobs=jobs)["count"])


def wait(
    jobs: Annotated[
        list[str] | None, typer.Argument(metavar="[JOB]...", help="[all that have not ended]")
    ] = None,
    any_: Annotated[bool, typer.Option("--any", help="Until one of them has ended")] = False,
    timeout: Annotated[
        Any,
        typer.Option(
            "-t",
            "--timeout",
            metavar="DUR",
            parser=reads(values.duration),
            help="No longer than this (then exit 3)",
        ),
    ] = None,
    run: RunName = None,
) -> None:
    """Wait until jobs have ended; exit 0 if all of them went well, else 1."""
    from pqrun.control.talk import Talk, find_socket

    with Talk(find_socket(run)) as talk:
        try:
            answer = talk.ask("wait", timeout=timeout, jobs=jobs or ["all"], any=any_)
        except TimeoutError:
            typer.echo("pqrun: not all of them have ended yet", err=True)
            raise typer.Exit(3) from None
    raise typer.Exit(1 if answer["failed"] else 0)


def stop(
    now: Annotated[bool, typer.Option("--now", help="Stop what runs; a second time: kill it")] = False,
    run: RunName = None,
) -> None:
    """Let a live run finish what runs, and end; the rest can be resumed."""
    _ask(run, "stop", now=now)


def _ask(run: str | None, verb: str, **facts: Any) -> dict[str, Any]:
    from pqrun.control.talk import Talk, find_socket

    with Talk(find_socket(run)) as talk:
        return talk.ask(verb, **facts)


app = typer.Typer(rich_markup_mode="rich", context_settings={"help_option_names": ["-h", "--help"]})
for _name, _command in (
    ("add", add), ("ps", ps), ("set", set_), ("pause", pause), ("unpause", unpause), ("cancel", cancel),
    ("wait", wait), ("stop", stop),
):  # fmt: skip
    app.command(_name, rich_help_panel=PANEL)(_command)
