# SPDX-License-Identifier: LGPL-3.0-or-later
"""The page of `show`: what went wrong first, then what is not over, then what went well; the metrics."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from datetime import datetime
from typing import NamedTuple

from pqrun import hints
from pqrun.capture import Logs
from pqrun.cli.looking import Page, last_line_of
from pqrun.cli.showing import Seen, see
from pqrun.display.paint import OUTCOME_STYLES, Paint
from pqrun.display.safe import plain, safe
from pqrun.display.words import name_of, short
from pqrun.journal.entry import ATTEMPT, Entry
from pqrun.journal.history import DIED, LIVE
from pqrun.journal.index import Index, consult
from pqrun.journal.rows import exit_of, row_of
from pqrun.journal.rundir import find_run
from pqrun.ledger import Row
from pqrun.metrics import TEN
from pqrun.model import Key, Outcome, StopReason
from pqrun.words import duration_text, how_it_ended

MOST, MOST_ON_A_SCREEN = 1000, 100
MOST_READ = 200
LONGEST_NAME, LONGEST_SAID = 40, 120
TITLES = ("#", "job", "state", "how", "tries", "time", "last words")
_STYLES = {**OUTCOME_STYLES, "running": "cyan", "waiting": "yellow"}


class Line(NamedTuple):
    """One job, or one of its earlier attempts (without a number)."""

    seq: str
    name: str
    state: str
    how: str
    tries: str
    took: str
    said: str = ""


class Told(NamedTuple):
    """What the page says of jobs; `hidden` counts those that it leaves out, by state."""

    seen: Seen
    lines: list[Line]
    hidden: dict[str, int]


def print_page(name: str, *, everything: bool) -> None:
    """The page on stdout. Of many jobs that are alike it lists the first, unless asked for everything."""
    page = Page()
    run = find_run(name)
    live = run.in_use()
    most = MOST_ON_A_SCREEN if page.is_terminal else MOST
    told = consult(run, lambda index: _look(index, live=live, most=-1 if everything else most))
    page.say("\n".join(_page(told, page, name)))
    page.end()


def _look(index: Index, *, live: bool, most: int) -> Told:
    seen = see(index, live=live)
    bad = ["failed", "timeout", "cancelled", "skipped", "interrupted"]
    if not live:
        bad.append("running")
    lines: list[Line] = []
    for states in (bad, ["running"] if live else [], ["waiting"], ["queued", "pending"]):
        lines += _lines(index, f"state IN ({', '.join(map(repr, states))})", seen, most)
    lines += _lines(index, "state = 'ok' AND attempts > 1", seen, most)
    lines += _went_well(index, most)
    shown = Counter(line.state for line in lines if line.seq)
    return Told(seen, lines, {s: n - shown[s] for s, n in seen.counts.items() if n > shown[s]})


def _lines(index: Index, where: str, seen: Seen, most: int) -> list[Line]:
    """What can be said of each of these jobs, with their earlier attempts."""
    lines: list[Line] = []
    logs = Logs(index.run.logs, keep=True)
    for entry in index.entries(where, order=f"seq LIMIT {most}"):
        row = row_of(entry, logs, live=seen.live)
        lines.append(_line(row, seen.now, read=len(lines) < MOST_READ))
        if entry.attempts > 1 and len(lines) < MOST_READ:
            lines += _earlier(index, entry, logs)
    return lines


def _line(row: Row, now: float, *, read: bool) -> Line:
    running = row.state == "running"
    ended = now if running else row.ended
    took = "" if row.started is None or ended is None else duration_text(max(0.0, ended - row.started))
    how = how_it_ended(row.exit, row.asked, row.spec.timeout) if row.exit is not None else ""
    said = row.message or (last_line_of(row.stderr, row.stdout) if read and row.state != "ok" else "")
    tries = str(row.attempts) if row.max_attempts == 1 else f"{row.attempts}/{row.max_attempts}"
    return Line(
        str(row.seq), short(name_of(row.spec), LONGEST_NAME), row.state, "" if how == "exit 0" else how,
        "" if tries in ("0", "1") else tries, took, short(plain(said), LONGEST_SAID),
    )  # fmt: skip


def _earlier(index: Index, entry: Entry, logs: Logs) -> list[Line]:
    """The attempts before the last one that is told of with the job itself."""
    lines = []
    before = index.earlier_attempts(entry.seq)
    if entry.state == "running" and entry.last:
        before.append({name: getattr(entry, name) for name in ATTEMPT})
    for attempt in before:
        asked = StopReason(attempt["asked"]) if attempt["asked"] else None
        exit = exit_of(attempt["code"], attempt["signal"], attempt["message"])
        key = Key(entry.seq, attempt["last"])
        said = attempt["message"] or last_line_of(
            logs.path(key, 2) if attempt["err"] else None, logs.path(key, 1) if attempt["out"] else None
        )
        took = duration_text(max(0.0, attempt["ended"] - (attempt["began"] or attempt["ended"])))
        how = how_it_ended(exit, asked, attempt["timeout"])
        lines.append(Line("", f"  try {key.attempt}", "", how, "", took, short(plain(said), LONGEST_SAID)))
    return lines


def _went_well(index: Index, most: int) -> list[Line]:
    """The many that need little said of them."""
    found = index.rows(
        "seq, id, named, run, code, began, ended", "state = 'ok' AND attempts = 1", order=f"seq LIMIT {most}"
    )
    commands = json.loads(f"[{','.join([row[3] for row in found])}]")
    lines = []
    for (seq, job_id, named, _, code, began, ended), run in zip(found, commands, strict=True):
        name = job_id if named else run if isinstance(run, str) else shlex.join(run)
        name = short(safe(" ".join(name[:200].split())), LONGEST_NAME)
        took = "" if began is None else duration_text(ended - began)
        lines.append(Line(str(seq), name, "ok", f"exit {code}" if code else "", "", took))
    return lines


def _page(told: Told, page: Page, name: str) -> list[str]:
    paint, seen = page.paint, told.seen
    lines = [_heading(seen, paint)]
    if told.lines:
        lines += ["", *_table(told.lines, paint, page.width)]
        if told.hidden:
            more = ", ".join(f"{count} {state}" for state, count in told.hidden.items())
            lines.append(paint("dim", f"… and {more} (--all lists them)"))
    lines += ["", *_totals(seen, paint)]
    if not seen.facts["complete"]:
        lines.append("the list of jobs was not read to its end")
    if seen.state != LIVE and (undone := _what_to_do(seen)):
        lines.append(f"{undone[0]}: {paint('bold', hints.command('resume', name, options=undone[1]))}")
    return lines


def _heading(seen: Seen, paint: Paint) -> str:
    facts = seen.facts
    began = datetime.fromtimestamp(facts["began"]).strftime("%Y-%m-%d %H:%M:%S")
    took = duration_text(max(0.0, seen.now - facts["began"]))
    source = " ".join(hints.quoted_word(file) for file in facts["files"] if file != "-") or "stdin"
    style = {LIVE: "cyan", DIED: "bold yellow"}.get(seen.state, "")
    state = f"{seen.state} ({facts['stopped']})" if facts["stopped"] else seen.state
    parts = [
        f"run {paint('bold', safe(facts['run']))}",
        paint(style, safe(state)),
        began,
        f"took {took}",
        safe(source),
    ]
    return "  ".join(parts)


def _table(lines: list[Line], paint: Paint, width: int | None) -> list[str]:
    sizes = [
        max(len(title), max(map(len, column)))
        for title, column in zip(TITLES, zip(*lines, strict=True), strict=True)
    ]
    seq, name, state, how, tries, took, _ = sizes
    room = None if width is None else max(width - sum(sizes[:-1]) - 2 * 6 - 1, 10)

    def text(line: tuple[str, ...], style: str) -> str:
        cells = (
            f"{line[0]:>{seq}}  {line[1]:<{name}}  ",
            f"{line[2]:<{state}}",
            (f"  {line[3]:<{how}}  {line[4]:>{tries}}  {line[5]:>{took}}  "),
        )
        said = line[6] if room is None else short(line[6], room)
        return f"{cells[0]}{paint(style, cells[1])}{cells[2]}{paint('dim', said)}".rstrip()

    titles = text(TITLES, "")
    return [paint("dim", titles), *[text(line, _STYLES.get(line.state, "")) for line in lines]]


def _totals(seen: Seen, paint: Paint) -> list[str]:
    counts = [
        paint(_STYLES.get(state, ""), f"{count} {state}") for state, count in seen.counts.items() if count
    ]
    jobs = sum(seen.counts.values())
    ten = [f"{_word(name)} {_number(getattr(seen.metrics, name))}" for name in TEN]
    return [
        f"{jobs} job{'s' if jobs != 1 else ''}: {', '.join(counts)}" if jobs else "no jobs",
        f"{paint('dim', 'metrics')}  {', '.join(ten[:6])},",
        f"         {', '.join(ten[6:])}",
    ]


def _what_to_do(seen: Seen) -> tuple[str, str] | None:
    ended = sum(seen.counts.get(outcome, 0) for outcome in Outcome if outcome is not Outcome.INTERRUPTED)
    if ended + seen.cut_short_for_good < sum(seen.counts.values()):
        return "go on", ""
    return ("run the failed again", " --failed") if seen.failed else None


def _word(name: str) -> str:
    return name.removeprefix("jobs_").replace("_", " ").replace("average", "avg").replace("current ", "")


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else duration_text(value)
