# SPDX-License-Identifier: LGPL-3.0-or-later
"""`runs`, `show`, `logs` and `prune`: the commands for recorded runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pqrun.cli.commands.live_run import RUN
from pqrun.cli.declarations import ArgumentSpec, CommandSpec, WrongUsage, switch
from pqrun.cli.options import ReportOptions
from pqrun.core import values
from pqrun.core.option_spec import OptionSpec

PANEL = "Past runs"
KEPT_BYTES = 1 << 30
RunName = Annotated[str, ArgumentSpec("RUN", RUN, "runs")]
LatestRun = Annotated[str, ArgumentSpec("[RUN]", RUN, "runs", show_default=False)]


def _counter(least: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from `least` on."""
    return lambda text: values.whole_number(text, least, 10**9)


def _extract(help: str) -> OptionSpec:
    return OptionSpec(("--extract",), help, metavar="DIR", read=values.directory)


def runs(json: Annotated[bool, switch("--json", help="Print one JSON document")] = False) -> None:
    """List recorded runs, newest first."""

    from pqrun.cli.run_table import print_runs

    print_runs(as_json=json)


def show(
    name: LatestRun = "latest",
    job: Annotated[
        str | None, ArgumentSpec("[JOB]", "A job: its id or number, for all that is known of it", "jobs")
    ] = None,
    json: Annotated[bool, switch("--json", help="Print one JSON document, like `run --json`")] = False,
    jsonl: Annotated[bool, switch("--jsonl", help="Print one line of JSON per job")] = False,
    all: Annotated[bool, switch("--all", help="List all jobs, even if there are many")] = False,
    extract: Annotated[str | None, _extract("With --json: write the output to DIR/SEQ-ID/")] = None,
    *,
    options: ReportOptions,
) -> None:
    """Show a run: jobs (failed ones first), attempts and metrics; or one job of it. Or write reports."""
    if json and jsonl:
        raise WrongUsage("give --json or --jsonl, not both")
    if extract is not None and not (json or jsonl):
        raise WrongUsage("--extract needs --json or --jsonl; `pqrun logs --extract DIR` only writes files")
    writes_reports = any(value is not None for value in options.values().values())
    if job is not None:
        if jsonl or all or extract is not None or writes_reports:
            raise WrongUsage("of one job, `show` writes only --json")
        from pqrun.cli.commands.show_job import print_job

        print_job(name, job, as_document=json)
        return
    from pqrun.cli.commands import show as past

    if writes_reports:
        past.write_reports(name, options, json=json or jsonl)
        if not (json or jsonl):
            return
    if json:
        past.print_document(name, extract=extract)
    elif jsonl:
        past.print_lines(name, extract=extract)
    else:
        past.print_page(name, everything=all)


def logs(
    name: Annotated[str, ArgumentSpec("RUN", f"{RUN}; or a job of the only live run", "runs")],
    jobs: Annotated[
        list[str] | None,
        ArgumentSpec(
            "[JOB]...",
            "Jobs: ids, numbers, globs, all, state:failed, priority:low, tag:x (default: all)",
            "jobs",
        ),
    ] = None,
    attempt: Annotated[
        int | None,
        OptionSpec(
            ("--attempt",),
            "Print the output of the N-th attempt (default: the last)",
            metavar="N",
            read=_counter(1),
        ),
    ] = None,
    stderr: Annotated[bool, switch("--stderr", help="Print only stderr, on stdout")] = False,
    follow: Annotated[bool, switch("-f", "--follow", help="Keep printing until the run ends")] = False,
    extract: Annotated[str | None, _extract("Write the output to DIR/SEQ-ID/stdout and stderr")] = None,
) -> int:
    """Print the output of jobs byte for byte: stdout on stdout, stderr on stderr."""
    if extract is not None and (stderr or follow):
        raise WrongUsage(f"give --extract or {'--follow' if follow else '--stderr'}, not both")
    from pqrun.cli.commands.logs import print_logs

    return print_logs(name, jobs or [], attempt=attempt, stderr_only=stderr, follow=follow, extract=extract)


def prune(
    keep_days: Annotated[
        int,
        OptionSpec(
            ("--keep-days",), "Keep runs that ended in the last N days", metavar="N", read=_counter(0)
        ),
    ] = 30,
    keep_runs: Annotated[
        int, OptionSpec(("--keep-runs",), "Keep at most N runs", metavar="N", read=_counter(0))
    ] = 100,
    keep_size: Annotated[
        int | None,
        OptionSpec(
            ("--keep-size",),
            "Keep at most SIZE of runs in total (default: 1G)",
            metavar="SIZE",
            read=values.size,
        ),
    ] = None,
    dry_run: Annotated[bool, switch("--dry-run", help="Print what would be deleted; delete nothing")] = False,
) -> None:
    """Delete old runs with their output. Live runs are kept; unfinished ones for --keep-days."""

    from pqrun.cli.run_table import print_pruned

    size = KEPT_BYTES if keep_size is None else keep_size
    print_pruned(days=keep_days, runs=keep_runs, size=size, dry_run=dry_run)


EXAMPLES: dict[Callable[..., int | None], tuple[str, ...]] = {
    runs: ("pqrun runs", "pqrun runs --json"),
    show: (
        "pqrun show",
        "pqrun show k3f9q2 --all",
        "pqrun show latest build",
        "pqrun show latest --junit report.xml",
    ),
    logs: ("pqrun logs latest", "pqrun logs k3f9q2 state:failed", "pqrun logs latest deploy -f"),
    prune: ("pqrun prune --dry-run", "pqrun prune --keep-days 7 --keep-size 500M"),
}
COMMANDS = tuple(
    CommandSpec(function.__name__, function, PANEL, examples=examples)
    for function, examples in EXAMPLES.items()
)
