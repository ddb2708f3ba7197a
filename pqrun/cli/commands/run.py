# SPDX-License-Identifier: LGPL-3.0-or-later
"""`run`, `resume` and `serve`: run jobs, continue a recorded run, or start a queue that waits for jobs."""

from __future__ import annotations

from typing import Annotated

from pqrun.cli.declarations import ArgumentSpec, CommandSpec, HelpWanted, WrongUsage
from pqrun.cli.fast_parser import is_terminal
from pqrun.cli.options import ListOptions, RunOptions
from pqrun.core.option_spec import FAILURE, RECORD, OptionSpec
from pqrun.core.values import whole_number

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
SERVE_EXAMPLES = ("pqrun serve --detach -j4", "pqrun serve --run nightly --keep 1000")


def run(
    files: Annotated[
        list[str] | None, ArgumentSpec("[FILE]...", "Job files or lists of commands; - is stdin")
    ] = None,
    *,
    options: ListOptions,
) -> int:
    """Run jobs from job files, or commands (one per line) from files or stdin."""
    if not files and is_terminal(0):
        raise HelpWanted
    if options.resume is not None and not files:
        raise WrongUsage("name the edited file as well, or use `pqrun resume`", "--resume")
    from pqrun.app.run import run as run_jobs
    from pqrun.cli.settings import settings_of

    return run_jobs(settings_of(options, files=tuple(files or ())))


def resume(
    name: Annotated[str, ArgumentSpec("RUN", "A run: its id, a prefix of the id, latest, or a path", "runs")],
    failed: Annotated[bool, OptionSpec(("--failed",), "Run failed jobs again, too", FAILURE)] = False,
    *,
    options: RunOptions,
) -> int:
    """Continue a run. Options you don't give keep their first values."""
    from pqrun.app.run import run as run_jobs
    from pqrun.cli.settings import resumed_settings

    return run_jobs(resumed_settings(name, options, failed=failed))


def serve(
    name: Annotated[str, OptionSpec(("--run",), "Name of the queue", RECORD, "NAME")] = "queue",
    detach: Annotated[
        bool, OptionSpec(("--detach",), "Run in the background; return when the queue is ready", RECORD)
    ] = False,
    keep: Annotated[
        int,
        OptionSpec(
            ("--keep",),
            "Keep the record and output of the last N ended jobs",
            RECORD,
            "N",
            lambda text: whole_number(text, 0, 10**9),
        ),
    ] = 10_000,
    *,
    options: RunOptions,
) -> int:
    """Start a queue: a run that waits for jobs from `add`. A restart restores it from its journal."""
    from pqrun.app.serve import directory_of, is_begun
    from pqrun.app.serve import serve as serve_queue
    from pqrun.cli.settings import resumed_settings, settings_of

    path = directory_of(name, options.values()["run_dir"])
    begun = is_begun(path)
    settings = resumed_settings(path.path, options, failed=False) if begun else settings_of(options)
    if detach and "output" not in settings.record.recorded:
        # No terminal shows the output; the run directory keeps it.
        settings = settings.with_values({"output": "none"})
    settings = settings.with_values({"resume": None, "serve": name, "run_dir": path.path})
    return serve_queue(settings, detach=detach, keep=keep)


COMMANDS = (
    CommandSpec("run", run, PANEL, examples=RUN_EXAMPLES),
    CommandSpec("resume", resume, PANEL, examples=RESUME_EXAMPLES),
    CommandSpec("serve", serve, "Live runs", examples=SERVE_EXAMPLES),
)
