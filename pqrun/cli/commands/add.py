# SPDX-License-Identifier: LGPL-3.0-or-later
"""`add`: turns options or a file into jobs, and sends them to a live run in messages of limited size."""

from typing import Annotated

from pqrun.cli.commands.live_run import PANEL, RunName, note, print_ids
from pqrun.cli.declarations import ArgumentSpec, CommandSpec, WrongUsage, switch
from pqrun.cli.options import FieldOptions
from pqrun.core.errors import UserError
from pqrun.core.option_spec import OptionSpec
from pqrun.core.text import escape_controls


class AddOptions(FieldOptions):
    """Options of `add`: the fields of a job."""

    command = "add"


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

    if (file is None) == (not command):
        raise WrongUsage("give a command, or a file with -f")
    if command and not command[0].strip():
        from pqrun.control.job_payload import EMPTY

        raise UserError(EMPTY)
    with ControlClient(run) as client:
        jobs = jobs_of_command(command or [], options) if file is None else jobs_of_file(file, options)
        for ids in send_jobs(client, jobs, wait=wait, if_absent=if_absent, once=once):
            print_ids(ids)
    if taken := _option_in(command or []):
        note(f"`{escape_controls(taken)}` is a part of the command: options of `pqrun add` come before it")


def _option_in(words: list[str]) -> str:
    """Return the first option of `add` that comes after a command in one word, such as 'sleep 9', else ''.

    A program whose name has a blank is rare, and a command in quotes with options after it a common mistake.
    """
    if not words or len(words[0].split()) < 2:
        return ""
    names = {name for one in COMMANDS[0].options.values() for name in one.flag.names}
    return next((word for word in words[1:] if word.partition("=")[0] in names), "")


EXAMPLES = (
    "pqrun add make test",
    "pqrun add --id backup --priority low --timeout 1h -- tar -czf home.tgz /home",
    "pqrun add -f jobs.yaml --wait",
)
# As with `env` and `timeout`, options end at the first word of the command.
COMMANDS = (CommandSpec("add", add, PANEL, examples=EXAMPLES, mixed=False),)
