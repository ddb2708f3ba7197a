# SPDX-License-Identifier: LGPL-3.0-or-later
"""`serve`: a queue that waits for jobs."""

from __future__ import annotations

from typing import Annotated

import typer

from pqrun.cli.declare import RECORD, takes
from pqrun.cli.options import RunOptions

app = typer.Typer(rich_markup_mode="rich", context_settings={"help_option_names": ["-h", "--help"]})


@app.command("serve", rich_help_panel="Live runs")
@takes(RunOptions)
def serve(
    name: Annotated[
        str,
        typer.Option(
            "--run", help="Which queue, if there are several", metavar="NAME", rich_help_panel=RECORD
        ),
    ] = "queue",
    detach: Annotated[
        bool,
        typer.Option("--detach", help="In the background; says when it is ready", rich_help_panel=RECORD),
    ] = False,
    *,
    options: RunOptions,
) -> None:
    """A run that does not end when it is empty: `add` jobs to it; restored from its journal."""
    from pqrun.cli.settings import settings_of
    from pqrun.serving import serve as serve_queue

    raise typer.Exit(serve_queue(settings_of(options, serve=name), detach=detach))
