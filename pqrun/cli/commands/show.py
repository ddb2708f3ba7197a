# SPDX-License-Identifier: LGPL-3.0-or-later
"""`show`: a recorded or live run as a page, as JSON, or as reports, all read from its journal's index."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from pqrun.cli.console import Cell, Column, Console, table
from pqrun.cli.options import ReportOptions
from pqrun.control.run_view import ViewedRun, view_run
from pqrun.core import text as hints
from pqrun.core.errors import OK, InternalFailure
from pqrun.core.job import Outcome
from pqrun.core.job_row import JobRow
from pqrun.core.settings import ReportSettings
from pqrun.core.text import describe_exit, escape_controls, format_duration, job_label, last_line, strip_ansi
from pqrun.core.unicode_json import as_json
from pqrun.journal.index import Index, as_seen, query_index
from pqrun.journal.run_directory import RunDirectory, find_run
from pqrun.journal.run_list import DIED, ENDED, LIVE
from pqrun.journal.stored_rows import recorded_output
from pqrun.output.writer import StreamWriter
from pqrun.reports import write_after
from pqrun.reports.report import Ending, RunInfo
from pqrun.ui.terminal import NO_BREAK, OUTCOME_STYLES

if TYPE_CHECKING:
    from pqrun.core.past import FlakyRate


def rows_of(index: Index, *, live: bool) -> Iterator[JobRow]:
    """Yield all jobs in order of submission, as rows of the job table."""
    return (as_seen(row, live=live) for row in index.jobs())


def print_document(name: str, *, extract: str | None = None) -> None:
    """Print the JSON document, with one job on each line. `extract`: a directory to write the outputs to."""
    page = Console()
    run = find_run(name)
    live = run.in_use()

    def answer(index: Index) -> tuple[ViewedRun, list[JobRow]]:
        return view_run(index.run, index, live=live), list(rows_of(index, live=live))

    from pqrun.reports.json_document import SCHEMA, facts_of

    seen, rows = query_index(run, answer)
    jobs = list(_lines_of_json(rows, extract, rates_of(run, rows)))
    head = {"schema": SCHEMA, "run": facts_of(seen), "metrics": seen.metrics.rounded()}
    text = as_json(head, indent=1)[:-2] + ',\n "jobs": ['
    page.say(text + ("\n  " + ",\n  ".join(jobs) + "\n ]\n}" if jobs else "]\n}"))
    page.end()


def print_lines(name: str, *, extract: str | None = None) -> None:
    """Print a line of JSON for each job. `extract`: a directory to write the outputs to."""
    page = Console()
    run = find_run(name)
    live = run.in_use()
    rows = query_index(run, lambda index: list(rows_of(index, live=live)))
    if lines := list(_lines_of_json(rows, extract, rates_of(run, rows))):
        page.say("\n".join(lines))
    page.end()


def _lines_of_json(
    rows: Iterable[JobRow], extract: str | None, rates: Mapping[int, FlakyRate]
) -> Iterator[str]:
    from pqrun.reports.json_document import job_entry

    if extract is not None:
        from pqrun.reports import results_dir

        rows = (results_dir.extract(row, extract) if row.last else row for row in rows)
    return (as_json(job_entry(row, lambda at: at, rates.get(row.seq))) for row in rows)


MOST, MOST_ON_A_SCREEN = 1000, 100
MAX_TAILS_READ, TAIL_BYTES = 200, 8192
MAX_RATED_JOBS = 200
HAS_FAILED = "retries > 0 OR state IN ('failed', 'timeout')"
MAX_LINES_WITH_OK = 20
"""On a terminal, jobs that are ok are listed only if the table has at most this many lines."""
COLUMNS = (
    Column("#", right=True, drop=1), Column("job"), Column("state"), Column("try", right=True, drop=0),
    Column("time", right=True), Column("last output"),
)  # fmt: skip
_STYLES = {**OUTCOME_STYLES, "running": "blue", "waiting": "yellow"}


class ShownJob(NamedTuple):
    """A line of the page: a job, or an earlier attempt (with an empty `seq`)."""

    seq: str
    name: str
    state: str
    how: str
    tries: str
    took: str
    said: str = ""
    flaky: bool = False

    def cells(self) -> list[Cell]:
        """Return the cells of the line. How a job ended stands beside its state."""
        state = " ".join(dict.fromkeys(f"{self.state} {self.how}".split()))
        if self.flaky:
            state += ", flaky"
        style = _STYLES.get(self.state, "")
        return [
            Cell(self.seq, "dim"),
            Cell(self.name),
            Cell(state, style),
            Cell(self.tries, "dim"),
            Cell(self.took),
            Cell(self.said, "dim"),
        ]


class ShownPage(NamedTuple):
    """The jobs of the page. `hidden`: for each state the number of jobs that are left out."""

    seen: ViewedRun
    lines: list[ShownJob]
    hidden: dict[str, int]


def print_page(name: str, *, everything: bool) -> None:
    """Print the page. Of many jobs in one state only the first are listed, unless `everything`."""
    page = Console()
    run = find_run(name)
    live = run.in_use()
    most = -1 if everything else MOST_ON_A_SCREEN if page.is_terminal else MOST
    brief = page.is_terminal and not everything
    some = f"seq LIMIT {MAX_RATED_JOBS}"
    rates = rates_of(run, query_index(run, lambda index: index.jobs(HAS_FAILED, order=some)))
    told = query_index(run, lambda index: _look(index, rates, live=live, most=most, brief=brief))
    page.say("\n".join(_page(told, page, name)))
    page.end()


def rates_of(run: RunDirectory, rows: Iterable[JobRow]) -> Mapping[int, FlakyRate]:
    """Return in how many of their last runs the jobs failed that failed or were retried in this one, by number."""
    failed = [row for row in rows if row.retries or row.state in (Outcome.FAILED, Outcome.TIMEOUT)]
    if not failed:
        return {}
    from pqrun.journal.past import flaky_rates

    return flaky_rates(run, failed[:MAX_RATED_JOBS])


def _look(index: Index, rates: Mapping[int, FlakyRate], *, live: bool, most: int, brief: bool) -> ShownPage:
    seen = view_run(index.run, index, live=live)
    bad = ["failed", "timeout", "cancelled", "skipped", "interrupted"]
    if not live:
        bad.append("running")
    lines: list[ShownJob] = []
    for states in (bad, ["running"] if live else [], ["waiting"], ["queued", "pending", "held"]):
        lines += _lines(index, f"state IN ({', '.join(map(repr, states))})", seen, most, rates)
    lines += _lines(index, "state = 'ok' AND attempts > 1", seen, most, rates)
    if not brief or len(lines) + seen.counts.get("ok", 0) <= MAX_LINES_WITH_OK:
        lines += _went_well(index, most)
    shown = Counter(line.state for line in lines if line.seq)
    return ShownPage(seen, lines, {s: n - shown[s] for s, n in seen.counts.items() if n > shown[s]})


def _lines(
    index: Index, where: str, seen: ViewedRun, most: int, rates: Mapping[int, FlakyRate]
) -> list[ShownJob]:
    """Return the lines of the jobs that match, each followed by those of its earlier attempts and runs."""
    lines: list[ShownJob] = []
    for row in index.jobs(where, order=f"seq LIMIT {most}"):
        lines.append(_line(as_seen(row, live=seen.live), seen.now, read=len(lines) < MAX_TAILS_READ))
        if row.attempts > 1 and len(lines) < MAX_TAILS_READ:
            lines += _earlier(index, row)
        if (rate := rates.get(row.seq)) is not None:
            how = f"failed {rate.failed}" + (", flaky" if rate.flaky else "")
            lines.append(ShownJob("", f"  last {rate.runs} runs", "", how, "", ""))
    return lines


def _line(row: JobRow, now: float, *, read: bool) -> ShownJob:
    running = row.state == "running"
    ended = now if running else row.ended
    took = "" if row.started is None or ended is None else format_duration(max(0.0, ended - row.started))
    how = describe_exit(row.exit, row.asked, row.spec.timeout) if row.exit is not None else ""
    said = row.message or (_last_line(row) if read and row.state != "ok" else "")
    tries = str(row.attempts) if row.max_attempts == 1 else f"{row.attempts}/{row.max_attempts}"
    return ShownJob(
        str(row.seq), job_label(row.spec), row.state, "" if how == "exit 0" else how,
        "" if tries in ("0", "1") else tries, took, strip_ansi(said), row.is_flaky,
    )  # fmt: skip


def _last_line(row: JobRow) -> str:
    """Return the last line that is not blank of the stderr of an attempt, or else of its stdout."""
    output = recorded_output(row)
    for stream in (output.err, output.out):
        try:
            if stream.size and (line := last_line(stream.tail(TAIL_BYTES))):
                return line
        except OSError:
            continue  # the file was removed
    return ""


def _earlier(index: Index, row: JobRow) -> list[ShownJob]:
    """Return the lines of the attempts before the last one, which the job's own line shows."""
    lines = []
    before = index.attempts(row.seq)
    if row.state != "running":
        before = before[:-1]
    for attempt in before:
        said = attempt.message or _last_line(attempt)
        ended = attempt.ended or 0.0
        took = format_duration(max(0.0, ended - (attempt.started or ended)))
        how = "" if attempt.exit is None else describe_exit(attempt.exit, attempt.asked, attempt.spec.timeout)
        name = f"  try {attempt.last}"
        lines.append(ShownJob("", name, "", how, "", took, strip_ansi(said)))
    return lines


def _went_well(index: Index, most: int) -> list[ShownJob]:
    """Return the lines of jobs that succeeded at once. No file is read for these, because many may exist."""
    found = index.rows(
        "seq, id, named, run, code, began, ended", "state = 'ok' AND attempts = 1", order=f"seq LIMIT {most}"
    )
    commands = json.loads(f"[{','.join([row[3] for row in found])}]")
    lines = []
    for (seq, job_id, named, _, code, began, ended), run in zip(found, commands, strict=True):
        name = job_id if named else run if isinstance(run, str) else shlex.join(run)
        name = escape_controls(" ".join(name[:200].split()))
        took = "" if began is None else format_duration(ended - began)
        lines.append(ShownJob(str(seq), name, "ok", f"exit {code}" if code else "", "", took))
    return lines


def _page(told: ShownPage, page: Console, name: str) -> list[str]:
    seen = told.seen
    lines = _heading(seen, page)
    if told.lines:
        rows = [line.cells() for line in told.lines]
        lines += ["", *table(COLUMNS, rows, page, middle=("job",), last_cells=14)]
    if told.hidden:
        lines += _hidden(told, page, name)
    lines += ["", *_totals(seen, page)]
    if not seen.facts["complete"]:
        lines += page.wrapped("the list of jobs was not read completely")
    if seen.state != LIVE and (undone := _what_to_do(seen)):
        is_queue = not undone[1] and seen.facts.get("source") == "queue"
        resume = (
            hints.serve_command(seen.facts["run"] if name == "latest" else name)
            if is_queue
            else hints.command("resume", name, options=undone[1])
        )
        lines += ["", *page.painted(f"{undone[0]}: {resume}", (resume, "bold"), indent="  ")]
    return lines


def _hidden(told: ShownPage, page: Console, name: str) -> list[str]:
    """Return the line about the jobs that the table leaves out."""
    everything = hints.command("show", name, options="--all")
    if page.width is None:
        more = ", ".join(f"{count} {state}" for state, count in told.hidden.items())
        return [f"… and {more} (--all lists them)"]
    more = ", ".join(f"{count} more {state}" for state, count in told.hidden.items())
    return page.painted(f"… {more}: {everything}", (everything, "bold"), base="dim")


def _heading(seen: ViewedRun, page: Console) -> list[str]:
    facts = seen.facts
    began = datetime.fromtimestamp(facts["began"]).strftime("%Y-%m-%d %H:%M:%S")
    took = format_duration(max(0.0, seen.now - facts["began"]))
    run = escape_controls(facts["run"])
    state, style = _state(seen)
    stopped = f" ({escape_controls(facts['stopped'])})" if facts["stopped"] else ""
    source = escape_controls(facts.get("source") or hints.run_source(facts))
    text = f"run {run}  {state}{stopped}  {began}  took {took}  {source}"
    return page.painted(text, (run, "bold cyan"), (state, style), (source, "bold"), indent="  ")


def _state(seen: ViewedRun) -> tuple[str, str]:
    """Return the run's state in one word, and its style."""
    if seen.state == ENDED:
        return ("ok", "green") if seen.code == OK else ("failed", "bold red")
    if seen.state == LIVE:
        return "running", "blue"
    return seen.state, "bold yellow" if seen.state == DIED else "yellow"


def _totals(seen: ViewedRun, page: Console) -> list[str]:
    counts = {f"{count} {state}": _STYLES.get(state, "") for state, count in seen.counts.items() if count}
    jobs = sum(seen.counts.values())
    ten = [f"{name} {value}" for name, value in seen.metrics.ten()]
    total = f"{jobs} job{'s' if jobs != 1 else ''}: {', '.join(counts)}" if jobs else "no jobs"
    if page.width is not None:
        glued = ", ".join(part.replace(" ", NO_BREAK) for part in ten)  # a name stays beside its number
        metrics = page.painted(f"metrics  {glued}", ("metrics", "dim"), indent=" " * 9)
        return [
            *page.painted(total, *counts.items()),
            "",
            *(line.replace(NO_BREAK, " ") for line in metrics),
        ]
    return [total, f"metrics  {', '.join(ten[:6])},", f"         {', '.join(ten[6:])}"]


def _what_to_do(seen: ViewedRun) -> tuple[str, str] | None:
    ended = sum(seen.counts.get(outcome, 0) for outcome in Outcome if outcome is not Outcome.INTERRUPTED)
    if ended + seen.cut_short_for_good < sum(seen.counts.values()):
        return "continue", ""
    return ("run failed jobs again", " --failed") if seen.failed else None


def write_reports(name: str, options: ReportOptions, *, json: bool) -> None:
    """Write reports of a run. `json`: whether a JSON document goes to stdout as well.

    Raises `InternalFailure` if a report cannot be written.
    """
    from pqrun.journal.recovery import recover  # only here: most looks at a run need no reports
    from pqrun.reports.json_document import facts_of

    run = find_run(name)
    live = run.in_use()
    found = recover(run)
    seen = query_index(run, lambda index: view_run(index.run, index, live=live))
    facts = RunInfo(
        seen.facts["run"], tuple(seen.facts["files"]), seen.facts["workers"], seen.facts["began"],
        lambda at: at, run.path, found.header["cwd"], found.header.get("command", ""),
    )  # fmt: skip
    wanted = ReportSettings(**options.values())
    ending = Ending(seen.code, seen.metrics, facts_of(seen), live, seen.now)
    if failures := write_after(wanted, found.events, facts, ending, json=json):
        for failure in failures[:-1]:
            StreamWriter(2, "standard error").note(failure)
        raise InternalFailure(failures[-1])
