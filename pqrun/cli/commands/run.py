# SPDX-License-Identifier: LGPL-3.0-or-later
"""`run` and `resume`: run jobs, or continue a recorded run."""

from __future__ import annotations

import os
from typing import Annotated

from pqrun.cli.declarations import ArgumentSpec, CommandSpec, HelpWanted, WrongUsage
from pqrun.cli.fast_parser import is_terminal
from pqrun.cli.options import ListOptions, RunOptions
from pqrun.core.errors import UserError
from pqrun.core.option_spec import FAILURE, OptionSpec

PANEL = "Run jobs"
RUN_EXAMPLES = (
    "printf 'make a\\nmake b\\n' | pqrun run -j4",
    "pqrun run jobs.yaml --retries 2 --timeout 10m",
    "pqrun run nightly.txt -k --tag",
)
RESUME_EXAMPLES = (
    "pqrun resume latest",
    "pqrun resume latest --failed -j2",
    "pqrun resume k3f9q2 --timeout 1h",
)


DEFAULT_FILES = ("pqrun.yaml", "pqrun.yml", "pqrun.json")


def find_default_file(start: str) -> str | None:
    """Return the job file that `run` without a file means: the path from `start`, which has it or is below it.

    Raises UserError for a file above that another user owns: it may be a trap.
    """
    above = ""
    while True:
        for name in DEFAULT_FILES:
            path, found = above + name, os.path.join(start, above, name)
            if os.path.isfile(found):
                if above and os.stat(found).st_uid not in (0, os.geteuid()):
                    raise UserError(f"{path} belongs to another user: name it to run it: pqrun run {path}")
                return path
        try:
            here = os.path.join(start, above, ".")
            if os.path.samefile(here, os.path.join(here, "..")):  # the root
                return None
        except OSError:  # the directory has been deleted, or one above can't be entered
            return None
        above += "../"


def run(
    files: Annotated[
        list[str] | None,
        ArgumentSpec(
            "[FILE]...",
            "Job files or lists of commands; - is stdin (default: stdin, or at a terminal pqrun.yaml here or above)",
        ),
    ] = None,
    *,
    options: ListOptions,
) -> int:
    """Run jobs from job files, or commands (one per line) from files or stdin."""
    if not files and is_terminal(0):
        # As a named file, it is looked for in the directory of -C. That of a wrong -C is reported later.
        start = options.values()["cwd"] or "."
        default = find_default_file(start) if os.path.isdir(start) else DEFAULT_FILES[0]
        if default is None:
            raise HelpWanted(
                "nothing to run: name a job file, or pipe in commands (there is no pqrun.yaml here or above)"
            )
        files = [default]
    if options.resume is not None and not files:
        raise WrongUsage("--resume: name the edited file as well, or use `pqrun resume`")
    from pqrun.app.run import run as run_jobs
    from pqrun.cli.settings import refuse_another_record, settings_of

    if options.resume is not None:
        refuse_another_record(options.resume, options)
    return run_jobs(settings_of(options, files=tuple(files or ())))


def resume(
    name: Annotated[str, ArgumentSpec("RUN", "A run: its id, a prefix of the id, latest, or a path", "runs")],
    failed: Annotated[bool, OptionSpec(("--failed",), "Run failed jobs again, too", FAILURE)] = False,
    *,
    options: RunOptions,
) -> int:
    """Continue a run. Options you don't give keep their first values."""
    from pqrun.app.run import run as run_jobs
    from pqrun.cli.settings import refuse_another_record, resumed_settings

    refuse_another_record(name, options)
    return run_jobs(resumed_settings(name, options, failed=failed))


COMMANDS = (
    CommandSpec("run", run, PANEL, examples=RUN_EXAMPLES),
    CommandSpec("resume", resume, PANEL, examples=RESUME_EXAMPLES),
)
