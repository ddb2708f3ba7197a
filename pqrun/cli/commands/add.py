# SPDX-License-Identifier: LGPL-3.0-or-later
"""`add`: turns options or a file into jobs, and sends them to a live run in messages of limited size."""

import json
import os
import shlex
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from pqrun.cli.app import commands, with_options
from pqrun.cli.commands.live_run import PANEL, RunName, print_ids
from pqrun.cli.options import FAILURE, INPUT, SCHEDULING, JobOptions, OptionSpec, choice
from pqrun.cli.settings import given_of
from pqrun.control.client import ControlClient
from pqrun.control.commands.add import EMPTY, MAX_JOBS_PER_REQUEST, needs_first
from pqrun.control.protocol import MAX_MESSAGE_BYTES
from pqrun.core import values
from pqrun.core import values as kinds
from pqrun.core.errors import Rejected, UserError
from pqrun.core.job import Need
from pqrun.core.settings import Settings
from pqrun.engine.signals import absolute, current_directory
from pqrun.input.defaults import POLICY_OPTIONS, SpecBuilder
from pqrun.journal.format import spec_facts

Jobs = list[dict[str, Any]]
JOBS_PER_MESSAGE = 500
MAX_REQUEST_BYTES = MAX_MESSAGE_BYTES // 2


def own(name: str, help: str, panel: str, metavar: str | None = None, read: Any = None) -> OptionSpec:
    """Return an option of one job, which no environment variable sets."""
    return OptionSpec((name,), help, panel, metavar, read)


def needed(text: str) -> tuple[tuple[str, str], ...]:
    """Parse `a`, `a,ended:b` or `failed:c` to pairs of a job and `ok`, `ended` or `failed`."""
    found = []
    for word in values.words(text) if text.strip() else ():
        when, colon, job = word.partition(":")
        found.append((job, when) if colon and when in ("ok", "ended", "failed") else (word, "ok"))
    return tuple(dict.fromkeys(found))


_FACTOR, _SHARE = kinds.CONVERTERS["factor"], kinds.CONVERTERS["fraction"]


class AddOptions(JobOptions):
    """Options of `add`: the fields of a job."""

    id: Annotated[
        str | None, own("--id", "What to call it, if not by its number", INPUT, "ID", values.job_id)
    ] = None
    needs: Annotated[
        Any,
        own(
            "--needs", "Jobs that have to end well first; or ended:ID, failed:ID", SCHEDULING, "ID,…", needed
        ),
    ] = ()
    slots: Annotated[
        int | None, own("--slots", "So many slots at a time [1]", SCHEDULING, "N", kinds.count)
    ] = None
    pools: Annotated[
        Any, own("--pools", "Shares of pools that it takes", SCHEDULING, "NAME[:N],…", kinds.pool_demand)
    ] = ()
    tags: Annotated[
        Any, own("--tags", "Words to select it by", INPUT, "WORD,…", kinds.CONVERTERS["tags"])
    ] = ()
    factor: Annotated[Any, own("--factor", "By what the wait grows each time [2]", FAILURE, "N", _FACTOR)] = (
        None
    )
    jitter: Annotated[
        Any, own("--jitter", "Vary waits by this share of them, as in 0.1", FAILURE, "N", _SHARE)
    ] = None
    allow_failure: Annotated[bool, own("--allow-failure", "Its failure is none of the run's", FAILURE)] = (
        False
    )
    success_codes: Annotated[
        Any, own("--success-codes", "Exit codes that count as ok [0]", FAILURE, "N,…", values.exit_codes)
    ] = ()
    no_rerun: Annotated[bool, own("--no-rerun", "Don't run it again if pqrun dies meanwhile", FAILURE)] = (
        False
    )
    leftovers: Annotated[
        str | None,
        own(
            "--leftovers",
            "What becomes of what it leaves: end or keep",
            FAILURE,
            "WHAT",
            choice("end", "keep"),
        ),
    ] = None
    creates: Annotated[
        str | None, own("--creates", "Nothing is to be done if this is there", INPUT, "FILE", kinds.path)
    ] = None
    stdin: Annotated[str | None, own("--stdin", "A file to read from", INPUT, "FILE", kinds.path)] = None
    cwd: Annotated[
        str | None,
        OptionSpec(("-C", "--cwd"), "Start it in this directory, not where you are", INPUT, "DIR"),
    ] = None


def jobs_of_command(words: list[str], options: AddOptions) -> Jobs:
    """Return one job as a list. Several words are the arguments of one command, and are quoted."""
    run = words[0] if len(words) == 1 else shlex.join(words)
    given = _given(options)
    own: dict[str, Any] = {"cwd": _directory(options.cwd)}
    if options.creates is not None:
        own["creates"] = options.creates
    if options.stdin is not None:
        own["stdin"] = absolute(options.stdin)
    named = options.id is not None
    spec = SpecBuilder(given).make(run, own, id=options.id or "", named=named, file="add", line=0)
    return [_facts(spec_facts(spec), given)]


def jobs_of_file(path: str, options: AddOptions) -> Jobs:
    """Return all jobs of a job file or list. Options apply to jobs that set no other value.

    Raises `UserError` for options that are for one job, and for an invalid file.
    """
    from pqrun.input import open_input

    for name in ("id", "creates", "stdin"):
        if getattr(options, name) is not None:
            raise UserError(f"--{name} is for one job, not for all of a file")
    given = _given(options)
    directory = _directory(options.cwd)
    try:
        specs = needs_first(open_input(Settings(files=(path,), given=given)).read_all())
    except Rejected as error:
        raise UserError(str(error)) from None
    jobs = [_facts(spec_facts(spec), given) for spec in specs]
    for job in jobs:
        job["cwd"] = os.path.join(directory, job["cwd"]) if "cwd" in job else directory
    return jobs


def _given(options: AddOptions) -> dict[str, Any]:
    """Return the given options, without those that can apply to one job only."""
    given = given_of(options)
    for name in ("slots", "pools", "tags", "success_codes", "factor", "jitter"):
        if (value := getattr(options, name)) not in (None, ()):
            given[name] = value
    if options.needs:
        given["needs"] = tuple(Need(job, when) for job, when in options.needs)
    if options.allow_failure:
        given["allow_failure"] = True
    if options.no_rerun:
        given["rerun"] = False
    if options.leftovers is not None:
        given["keep_leftovers"] = options.leftovers == "keep"
    return given


def send_jobs(
    talk: ControlClient, jobs: Jobs, *, wait: bool, if_absent: bool, once: bool
) -> Iterator[list[str]]:
    """Send the jobs and yield their ids for each message.

    Without `wait` the run adds all jobs or none. With `wait` each message is added for itself, as soon
    as the queue has room.
    """
    told = {"if_absent": if_absent, "once": once, "wait": wait}
    batches = list(_batches(jobs))
    for number, batch in enumerate(batches, 1):
        more = not wait and number < len(batches)
        alone = wait or number == 1
        yield talk.ask("add", add=batch, more=more, again=alone, **told)["ids"]


def _batches(jobs: Jobs) -> Iterator[Jobs]:
    """Yield the jobs in parts that fit into a message."""
    batch: Jobs = []
    size = 0
    for job in jobs:
        length = len(json.dumps(job))
        if batch and (
            size + length > MAX_REQUEST_BYTES or len(batch) >= min(JOBS_PER_MESSAGE, MAX_JOBS_PER_REQUEST)
        ):
            yield batch
            batch, size = [], 0
        batch.append(job)
        size += length
    if batch:
        yield batch


def _facts(facts: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return a job's facts, including given values that equal the default.

    Without those, the run's own options would apply to the job instead of the options of `add`.
    """
    for name, value in given.items():
        if part := POLICY_OPTIONS.get(name):
            facts.setdefault("retry", {}).setdefault(part, _plain(value))
        elif name not in ("env", "shell"):
            facts.setdefault(name, value or None if name in ("timeout", "idle_timeout") else value)
    return facts


def _plain(value: Any) -> Any:
    return sorted(value, key=str) if isinstance(value, frozenset) else value


def _directory(cwd: str | None) -> str:
    """Return the directory where the job starts: by default the one in which `add` was called."""
    return absolute(cwd) if cwd else current_directory()


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
    if (file is None) == (not command):
        raise typer.BadParameter("give a command, or a file with -f", param_hint="CMD")
    if command and not command[0].strip():
        raise UserError(EMPTY)
    with ControlClient(run) as talk:
        jobs = jobs_of_command(command or [], options) if file is None else jobs_of_file(file, options)
        for ids in send_jobs(talk, jobs, wait=wait, if_absent=if_absent, once=once):
            print_ids(ids)


app = commands()
# As with `env` and `timeout`, options end at the first word of the command.
app.command("add", rich_help_panel=PANEL, context_settings={"allow_interspersed_args": False})(add)
