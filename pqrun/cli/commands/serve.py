# SPDX-License-Identifier: LGPL-3.0-or-later
"""`serve`: starts a queue that waits for jobs."""

from __future__ import annotations

from typing import Annotated

import typer

from pqrun.cli.app import commands, parser, with_options
from pqrun.cli.options import RECORD, RunOptions
from pqrun.core.values import whole_number

app = commands()


@app.command("serve", rich_help_panel="Live runs")
@with_options(RunOptions)
def serve(
    name: Annotated[
        str,
        typer.Option("--run", help="Name of the queue", metavar="NAME", rich_help_panel=RECORD),
    ] = "queue",
    detach: Annotated[
        bool,
        typer.Option(
            "--detach", help="Run in the background; return when the queue is ready", rich_help_panel=RECORD
        ),
    ] = False,
    keep: Annotated[
        int,
        typer.Option(
            "--keep",
            help="Keep the record and output of the last N ended jobs",
            metavar="N",
            parser=parser(lambda text: whole_number(text, 0, 10**9)),
            rich_help_panel=RECORD,
        ),
    ] = 10_000,
    *,
    options: RunOptions,
) -> None:
    """Start a queue: a run that waits for jobs from `add`. A restart restores it from its journal."""
    from pqrun.app.serve import directory_of, is_begun
    from pqrun.app.serve import serve as serve_queue
    from pqrun.cli.settings import resumed_settings, settings_of

    path = directory_of(name, options.run_dir)
    begun = is_begun(path)
    settings = resumed_settings(path.path, options, failed=False) if begun else settings_of(options)
    if detach and "output" not in settings.record.recorded:
        # No terminal shows the output; the run directory keeps it.
        settings = settings.with_values({"output": "none"})
    settings = settings.with_values({"resume": None, "serve": name, "run_dir": path.path})
    raise typer.Exit(serve_queue(settings, detach=detach, keep=keep))
