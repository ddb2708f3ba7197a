# SPDX-License-Identifier: LGPL-3.0-or-later
"""The reports of a recorded run, made from its journal as the run itself would have made them."""

from __future__ import annotations

from typing import Any

from pqrun.cli.options import ReportOptions
from pqrun.cli.showing import see
from pqrun.errors import OwnFailure
from pqrun.journal.index import consult
from pqrun.journal.recovery import recover
from pqrun.journal.rundir import find_run
from pqrun.reports import write_after
from pqrun.reports.facts import Ending, RunFacts


def asked_for(ctx: Any, options: ReportOptions) -> ReportOptions | None:
    """Those that the command line names. A variable that is there for runs must not have `show` write files."""
    typed = {
        name: getattr(options, name)
        for name in options.declared()
        if getattr(ctx.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }
    return ReportOptions(**typed) if typed else None


def write_reports(name: str, options: ReportOptions) -> None:
    """Writes them; `OwnFailure` if one could not be written."""
    run = find_run(name)
    live = run.in_use()
    found = recover(run)
    seen = consult(run, lambda index: see(index, live=live))
    left = seen.metrics.current_queue_size or seen.counts.get("interrupted", 0) or seen.state == "died"
    unfinished = any(seen.counts.get(state) for state in ("queued", "pending", "waiting"))
    code = 1 if seen.failed else 3 if left or unfinished or not seen.facts["complete"] else 0
    facts = RunFacts(
        seen.facts["run"], tuple(seen.facts["files"]), seen.facts["workers"], seen.facts["began"],
        lambda at: at, run.path, found.header["cwd"],
    )  # fmt: skip
    if failures := write_after(
        options, found.events, facts, Ending(code, seen.metrics, seen.run_facts(), live)
    ):
        raise OwnFailure("; ".join(failures))
