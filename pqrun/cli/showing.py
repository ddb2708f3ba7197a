# SPDX-License-Identifier: LGPL-3.0-or-later
"""`show --json` and what the page of `show` shares with it: a run as its journal tells it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pqrun.capture import Logs
from pqrun.cli.looking import Page
from pqrun.journal.history import state_of
from pqrun.journal.index import Index, consult
from pqrun.journal.rows import metrics_of, row_of
from pqrun.journal.rundir import RunDirectory, find_run
from pqrun.ledger import Row
from pqrun.metrics import Metrics
from pqrun.unicodejson import as_json

STATES = (
    "ok", "failed", "timeout", "cancelled", "skipped", "interrupted", "running", "waiting", "queued", "pending",
)  # fmt: skip


@dataclass(slots=True)
class Seen:
    """A run at one moment, as its journal tells it; `counts` of jobs by state."""

    run: RunDirectory
    live: bool
    facts: dict[str, Any]
    metrics: Metrics
    state: str
    now: float
    failed: int
    cut_short_for_good: int
    counts: dict[str, int]

    def run_facts(self) -> dict[str, Any]:
        """What the document says of the run itself."""
        from pqrun.reports.document import run_facts

        return run_facts(
            self.facts["run"],
            state=self.state,
            files=self.facts["files"],
            workers=self.facts["workers"],
            began=self.facts["began"],
            ended=None if self.live else self.now,
            input_complete=self.facts["complete"],
            directory=self.run.path,
            guarded=self.facts.get("guarded"),
        )


def see(index: Index, *, live: bool) -> Seen:
    """What is to be said of the run as a whole."""
    facts, metrics = index.facts, index.metrics
    state = state_of(facts, live=live, unfinished=metrics.added - metrics.ended)
    now = time.time() if live else facts["until"]
    found = Counter(index.states())
    if not live:
        found["interrupted"] += found.pop("running", 0)
    counts = {state: found[state] for state in STATES if found[state]}
    numbers = metrics_of(index, now=now, live=live)
    failed, for_good = index.failed(), index.cut_short_for_good()
    return Seen(index.run, live, facts, numbers, state, now, failed, for_good, counts)


def rows_of(index: Index, *, live: bool) -> Iterator[Row]:
    """All jobs, in order of submission, as the ledger of a live run has them."""
    logs = Logs(index.run.logs, keep=True)
    return (row_of(entry, logs, live=live) for entry in index.entries())


def print_document(name: str) -> None:
    """One document, with a job a line."""
    page = Page()
    run = find_run(name)
    live = run.in_use()

    def answer(index: Index) -> tuple[Seen, list[str]]:
        return see(index, live=live), list(_lines_of_json(rows_of(index, live=live)))

    from pqrun.reports.document import SCHEMA, numbers

    seen, jobs = consult(run, answer)
    head = {"schema": SCHEMA, "run": seen.run_facts(), "metrics": numbers(seen.metrics)}
    text = as_json(head, indent=1)[:-2] + ',\n "jobs": ['
    page.say(text + ("\n  " + ",\n  ".join(jobs) + "\n ]\n}" if jobs else "]\n}"))
    page.end()


def print_lines(name: str) -> None:
    """A line of JSON for each job."""
    page = Page()
    run = find_run(name)
    live = run.in_use()
    lines = consult(run, lambda index: list(_lines_of_json(rows_of(index, live=live))))
    if lines:
        page.say("\n".join(lines))
    page.end()


def _lines_of_json(rows: Iterable[Row]) -> Iterator[str]:
    from pqrun.reports.document import job_entry

    return (as_json(job_entry(row, lambda at: at)) for row in rows)
