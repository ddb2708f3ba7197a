# SPDX-License-Identifier: LGPL-3.0-or-later
"""The reports of a recorded run, made from its journal as the run itself would have made them."""

from __future__ import annotations

from types import SimpleNamespace

from pqrun.cli.options import ReportOptions
from pqrun.cli.showing import Seen, see
from pqrun.display.outlet import Outlet
from pqrun.errors import NOT_ALL_RUN, OK, SOME_FAILED, OwnFailure
from pqrun.journal.index import consult
from pqrun.journal.recovery import recover
from pqrun.journal.rundir import find_run
from pqrun.reports import write_after
from pqrun.reports.facts import Ending, RunFacts

UNFINISHED = ("interrupted", "running", "waiting", "queued", "pending")


def write_reports(name: str, options: ReportOptions, *, json: bool) -> None:
    """Writes them; `OwnFailure` if one could not be written. `json`: a document goes to stdout besides."""
    run = find_run(name)
    live = run.in_use()
    found = recover(run)
    seen = consult(run, lambda index: see(index, live=live))
    facts = RunFacts(
        seen.facts["run"], tuple(seen.facts["files"]), seen.facts["workers"], seen.facts["began"],
        lambda at: at, run.path, found.header["cwd"],
    )  # fmt: skip
    wanted = SimpleNamespace(
        **{name: getattr(options, name) for name in options.declared()}, json=json, run_dir=run.path
    )
    ending = Ending(_code_of(seen), seen.metrics, seen.run_facts(), live)
    if failures := write_after(wanted, found.events, facts, ending):
        for failure in failures[:-1]:
            Outlet(2, "standard error").say(f"pqrun: {failure}")
        raise OwnFailure(failures[-1])


def _code_of(seen: Seen) -> int:
    """The run's exit code, as its reports have it; of one that lives or was killed, as far as it got.

    It is never that of the command that shows it.
    """
    if not seen.live and (recorded := seen.facts["exit"]) is not None:
        return int(recorded)
    if seen.failed:
        return SOME_FAILED
    over = not any(seen.counts.get(state) for state in UNFINISHED)
    return OK if over and seen.facts["complete"] and seen.state != "died" else NOT_ALL_RUN
