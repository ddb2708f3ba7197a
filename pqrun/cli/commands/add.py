# SPDX-License-Identifier: LGPL-3.0-or-later
"""`add`: turns options or a file into jobs, and sends them to a live run in messages of limited size."""

from typing import Annotated, Any

from pqrun.cli.commands.live_run import PANEL, RunName, print_ids
from pqrun.cli.declarations import ArgumentSpec, CommandSpec, WrongUsage, switch
from pqrun.cli.options import JobOptions
from pqrun.core import values
from pqrun.core import values as kinds
from pqrun.core.errors import UserError
from pqrun.core.option_spec import FAILURE, INPUT, SCHEDULING, OptionSpec, choice


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
        str | None, own("--id", "Id of the job (default: its number)", INPUT, "ID", values.job_id)
    ] = None
    needs: Annotated[
        Any,
        own(
            "--needs",
            "Start after these jobs are ok, or have ended (ended:ID) or failed (failed:ID)",
            SCHEDULING,
            "ID,…",
            needed,
        ),
    ] = ()
    slots: Annotated[
        int | None,
        own("--slots", "Number of workers that the job takes up (default: 1)", SCHEDULING, "N", kinds.count),
    ] = None
    pools: Annotated[
        Any,
        own(
            "--pools",
            "Pools that the job uses, with the number of units of each",
            SCHEDULING,
            "NAME[:N],…",
            kinds.pool_demand,
        ),
    ] = ()
    tags: Annotated[
        Any,
        own(
            "--tags",
            "Tags to select the job by, as in tag:nightly",
            INPUT,
            "WORD,…",
            kinds.CONVERTERS["tags"],
        ),
    ] = ()
    factor: Annotated[
        Any,
        own(
            "--factor",
            "With exponential backoff, multiply the wait by N after each retry (default: 2)",
            FAILURE,
            "N",
            _FACTOR,
        ),
    ] = None
    jitter: Annotated[
        Any, own("--jitter", "Vary each wait at random by this fraction: 0.1", FAILURE, "N", _SHARE)
    ] = None
    allow_failure: Annotated[
        bool, own("--allow-failure", "Count a failure of the job as a success of the run", FAILURE)
    ] = False
    success_codes: Annotated[
        Any,
        own(
            "--success-codes", "Exit codes that mean success (default: 0)", FAILURE, "N,…", values.exit_codes
        ),
    ] = ()
    no_rerun: Annotated[
        bool, own("--no-rerun", "Don't run the job again if pqrun dies while it runs", FAILURE)
    ] = False
    leftovers: Annotated[
        str | None,
        own(
            "--leftovers",
            "Processes that the job leaves behind: end or keep them (default: end)",
            FAILURE,
            "MODE",
            choice("end", "keep"),
        ),
    ] = None
    creates: Annotated[
        str | None, own("--creates", "Skip the job if this file exists", INPUT, "FILE", kinds.path)
    ] = None
    stdin: Annotated[
        str | None,
        own(
            "--stdin",
            "Read the job's standard input from this file (default: /dev/null)",
            INPUT,
            "FILE",
            kinds.path,
        ),
    ] = None
    cwd: Annotated[
        str | None,
        OptionSpec(
            ("-C", "--cwd"), "Directory where the job starts (default: the current directory)", INPUT, "DIR"
        ),
    ] = None


def add(
    command: Annotated[
        list[str] | None,
        ArgumentSpec("CMD", "The command. Put options before it; several words are quoted as one command"),
    ] = None,
    file: Annotated[
        str | None,
        OptionSpec(("-f", "--file"), "Add the jobs of a job file or list; - is stdin", None, "FILE"),
    ] = None,
    if_absent: Annotated[
        bool, switch("--if-absent", help="Skip a job if a job with its id is still unfinished")
    ] = False,
    once: Annotated[bool, switch("--once", help="Skip a job if its id was ever used in the run")] = False,
    wait: Annotated[bool, switch("--wait", help="Wait if the queue is full (default: exit with 75)")] = False,
    run: RunName = None,
    *,
    options: AddOptions,
) -> None:
    """Add a job, or a file of jobs, to a live run, and print the ids."""
    from pqrun.cli.job_messages import jobs_of_command, jobs_of_file, send_jobs
    from pqrun.control.client import ControlClient
    from pqrun.control.commands.add import EMPTY

    if (file is None) == (not command):
        raise WrongUsage("give a command, or a file with -f", "CMD")
    if command and not command[0].strip():
        raise UserError(EMPTY)
    with ControlClient(run) as client:
        jobs = jobs_of_command(command or [], options) if file is None else jobs_of_file(file, options)
        for ids in send_jobs(client, jobs, wait=wait, if_absent=if_absent, once=once):
            print_ids(ids)


# As with `env` and `timeout`, options end at the first word of the command.
COMMANDS = (CommandSpec("add", add, PANEL, mixed=False),)
