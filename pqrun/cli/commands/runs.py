# SPDX-License-Identifier: LGPL-3.0-or-later
"""`runs`, `show`, `logs` and `prune`: the commands for recorded runs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pqrun.cli.app import commands, with_options
from pqrun.cli.completion import job_ids, run_ids
from pqrun.cli.options import ReportOptions

PANEL = "Past runs"


def _size(text: str) -> int:
    """Parse a size to bytes."""
    from pqrun.core.values import size

    try:
        return size(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


RUN = "A run: its id, a prefix of the id, latest, or a path"
RunName = Annotated[str, typer.Argument(metavar="RUN", help=RUN, autocompletion=run_ids)]
LatestRun = Annotated[
    str, typer.Argument(metavar="[RUN]", help=RUN, autocompletion=run_ids, show_default=False)
]


def runs(json: Annotated[bool, typer.Option("--json", help="Print one JSON document")] = False) -> None:
    """List recorded runs, newest first."""

    from pqrun.cli.run_table import print_runs

    print_runs(as_json=json)


@with_options(ReportOptions)
def show(
    ctx: typer.Context,
    name: LatestRun = "latest",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document, like `run --json`")] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Print one line of JSON per job")] = False,
    all: Annotated[bool, typer.Option("--all", help="List all jobs, even if there are many")] = False,
    *,
    options: ReportOptions,
) -> None:
    """Show a run: jobs (failed ones first), attempts and metrics. Or write reports of it."""
    if json and jsonl:
        raise typer.BadParameter("give --json or --jsonl, not both", param_hint="--jsonl")
    if reports := _asked_for(ctx, options):
        from pqrun.cli.commands.show import write_reports

        write_reports(name, reports, json=json or jsonl)
        if not (json or jsonl):
            return None
    if json or jsonl:
        from pqrun.cli.commands.show import print_document, print_lines

        return print_document(name) if json else print_lines(name)
    from pqrun.cli.commands.show import print_page

    print_page(name, everything=all)


def _asked_for(ctx: typer.Context, options: ReportOptions) -> ReportOptions | None:
    """Return the reports that the command line names, or None.

    An environment variable such as PQRUN_JUNIT is meant for runs and must not make `show` write a file.
    """
    typed = {
        name: getattr(options, name)
        for name in options.declared()
        if getattr(ctx.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }
    return ReportOptions(**typed) if typed else None


def logs(
    name: RunName,
    jobs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[JOB]...",
            help="Jobs: ids, numbers, globs, all, state:failed, priority:low, tag:x (default: all)",
            autocompletion=job_ids,
        ),
    ] = None,
    attempt: Annotated[
        int | None,
        typer.Option(
            "--attempt", metavar="N", min=1, help="Print the output of the N-th attempt (default: the last)"
        ),
    ] = None,
    stderr: Annotated[bool, typer.Option("--stderr", help="Print only stderr, on stdout")] = False,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Keep printing until the run ends")] = False,
) -> None:
    """Print the output of jobs byte for byte: stdout on stdout, stderr on stderr."""
    from pqrun.cli.commands.logs import print_logs

    raise typer.Exit(print_logs(name, jobs or [], attempt=attempt, stderr_only=stderr, follow=follow))


def prune(
    keep_days: Annotated[
        int, typer.Option("--keep-days", metavar="N", min=0, help="Keep runs that ended in the last N days")
    ] = 30,
    keep_runs: Annotated[
        int, typer.Option("--keep-runs", metavar="N", min=0, help="Keep at most N runs")
    ] = 100,
    keep_size: Annotated[
        Any,
        typer.Option("--keep-size", metavar="SIZE", parser=_size, help="Keep at most SIZE of runs in total"),
    ] = "1G",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be deleted; delete nothing")
    ] = False,
) -> None:
    """Delete old runs with their output. Live runs are kept."""

    from pqrun.cli.run_table import print_pruned

    print_pruned(days=keep_days, runs=keep_runs, size=keep_size, dry_run=dry_run)


app = commands()
for _command in (runs, show, logs, prune):
    app.command(_command.__name__, rich_help_panel=PANEL)(_command)
