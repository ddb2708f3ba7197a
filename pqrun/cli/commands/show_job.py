# SPDX-License-Identifier: LGPL-3.0-or-later
"""`show RUN JOB`: one job of a recorded or live run, with its attempts, its fields and the jobs around it.

The attempts come from the index; the whole description of a job is in the journal alone.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

from pqrun.cli.commands.show import rates_of
from pqrun.cli.console import Cell, Column, Console, table
from pqrun.cli.run_table import size_text
from pqrun.core import field_types as types
from pqrun.core import text as hints
from pqrun.core.errors import UserError
from pqrun.core.job import Command, JobSpec, Priority, format_command
from pqrun.core.job_fields import STORED_FIELDS, FieldSpec, value_of
from pqrun.core.job_row import JobRow
from pqrun.core.text import (
    arguments_by_name,
    describe_exit,
    escape_controls,
    format_duration,
    job_label,
    strip_ansi,
)
from pqrun.core.unicode_json import as_json
from pqrun.engine.clock import format_moment
from pqrun.journal.index import as_seen, query_index
from pqrun.journal.recovery import recover
from pqrun.journal.run_directory import find_run
from pqrun.journal.stored_rows import recorded_output
from pqrun.output.store import Stream
from pqrun.ui.terminal import OUTCOME_STYLES

if TYPE_CHECKING:
    from pqrun.core.past import FlakyRate

TAIL_BYTES = 16 << 10
TAIL_LINES = 10
USUAL = JobSpec("", Command(""))
COLUMNS = (
    Column("try"), Column("end"), Column("started"), Column("time", right=True), Column("waited", right=True, drop=0),
    Column("cpu", right=True, drop=1), Column("memory", right=True, drop=2), Column("message"),
)  # fmt: skip
_STYLES = {**OUTCOME_STYLES, "running": "blue", "waiting": "yellow"}


class ViewedJob(NamedTuple):
    """A job with its ended attempts, the jobs that it needs (with the end that meets the need) and its dependents.

    `rate`: in how many of its last runs the job failed, if it failed in this one and that is known.
    """

    run: str
    row: JobRow
    attempts: list[JobRow]
    needs: list[tuple[str, str, JobRow | None]]
    dependents: list[JobRow]
    rate: FlakyRate | None


def view_job(name: str, job: str) -> ViewedJob:
    """Return what is recorded of a job. `job`: its id, or its number. Of jobs with one id, the last one counts."""
    run = find_run(name)
    live = run.in_use()
    recorded = recover(run)
    rows, run_id = recorded.jobs, str(recorded.header["run"])
    by_id = {row.spec.id: row for row in rows.values()}
    found = by_id.get(job) or (rows.get(int(job)) if job.isascii() and job.isdecimal() else None)
    if found is None:
        raise UserError(
            f"run {escape_controls(run_id)} has no job `{escape_controls(job[:200])}`{_similar(job, list(by_id))}"
        )
    attempts = query_index(run, lambda index: index.attempts(found.seq))
    needs = [(need.job, need.when, by_id.get(need.job)) for need in found.spec.needs]
    dependents = [
        as_seen(row, live=live)
        for row in by_id.values()
        if any(need.job == found.spec.id for need in row.spec.needs)
    ]
    seen = as_seen(found, live=live)
    return ViewedJob(
        run_id, seen, attempts, [(id, when, row and as_seen(row, live=live)) for id, when, row in needs], dependents,
        rates_of(run, [found]).get(found.seq),
    )  # fmt: skip


def _similar(job: str, ids: Sequence[str]) -> str:
    from difflib import get_close_matches

    close = [] if len(job) > 200 else get_close_matches(job, ids[:10_000], 1)
    return f" (did you mean `{escape_controls(close[0])}`?)" if close else ""


def print_job(name: str, job: str, *, as_document: bool) -> None:
    """Print a job as a page, or as a JSON document."""
    page = Console()
    seen = view_job(name, job)
    page.say(as_json(_document(seen), indent=1) if as_document else "\n".join(_page(seen, page, name)))
    page.end()


# The page


def _page(seen: ViewedJob, page: Console, name: str) -> list[str]:
    row = seen.row
    label, run = job_label(row.spec), escape_controls(seen.run)
    state = row.state + (", flaky" if row.is_flaky else "")
    number = f"  #{row.seq}" if row.spec.named else ""
    head = f"job {label}{number}  {state}  run {run}"
    lines = page.painted(head, (label, "bold cyan"), (state, _STYLES.get(row.state, "")), (run, "cyan"))
    lines.append("")
    for title, text in _facts(seen):
        lines += page.painted(f"{title:<14}{text}", (title, "dim"), indent=" " * 14)
    if seen.attempts or row.state == "running":
        cells = [_cells(one, row) for one in seen.attempts]
        if row.state == "running":
            began = "" if row.started is None else _moment(row.started)
            cells.append([Cell(str(row.attempts)), Cell("running", "blue"), Cell(began), *[Cell("")] * 5])
        lines += ["", *table(COLUMNS, cells, page, last_cells=14)]
    if seen.attempts:
        lines += _tails(seen.attempts[-1], page)
    logs = hints.command("logs", name, row.spec.id)
    if any(one.stdout_bytes or one.stderr_bytes for one in seen.attempts):
        lines += ["", *page.painted(f"all output: {logs}", (logs, "bold"), base="dim")]
    return lines


def _facts(seen: ViewedJob) -> Iterator[tuple[str, str]]:
    """Yield what is known of a job as a whole, each as a title and a text. Values of variables are left out."""
    row, spec = seen.row, seen.row.spec
    lines = [line for line in format_command(spec.work).split("\n") if line.strip()]
    for line, title in zip_longest(lines, ["command"], fillvalue=""):
        yield title, escape_controls(line)
    if args := arguments_by_name(spec):
        yield "arguments", escape_controls(" ".join(f"{name}={value}" for name, value in args.items()))
    if names := _variables(spec):
        yield "variables", escape_controls(", ".join(names))
    for field in _differing(spec):
        yield field.flat_name.replace("_", " "), escape_controls(_value_text(field, value_of(spec, field)))
    if spec.file:
        yield "from", escape_controls(f"{spec.file}:{spec.line}" if spec.line else spec.file)
    if row.by:
        yield "added by", escape_controls(row.by)
    waits = "waits for" if row.state == "pending" else "waited for"
    if seen.needs:
        yield waits, escape_controls(", ".join(_need_text(*need) for need in seen.needs))
    if seen.dependents:
        others = (f"{other.spec.id} ({other.state})" for other in seen.dependents)
        yield "needed by", escape_controls(", ".join(others))
    if row.state == "waiting":
        yield "due", _moment(row.until)
    if (rate := seen.rate) is not None:
        yield "history", f"{rate}{', flaky' if rate.flaky else ''}"
    if row.message:
        yield "message", strip_ansi(row.message)


def _need_text(job_id: str, when: str, row: JobRow | None) -> str:
    kind = "" if when == "ok" else f"{when}:"
    return f"{kind}{job_id} ({'its record was removed' if row is None else row.state})"


def _variables(spec: JobSpec) -> list[str]:
    return [name for name, _ in spec.work.env] if isinstance(spec.work, Command) else []


def _differing(spec: JobSpec) -> list[FieldSpec]:
    """Return the fields that differ from their defaults, but for those that are shown in another way."""
    return [
        field
        for field in STORED_FIELDS
        if field.name not in ("env", "needs", "retries") and value_of(spec, field) != value_of(USUAL, field)
    ]


def _value_text(field: FieldSpec, value: Any) -> str:
    if field.type in (types.DURATION, types.LIMIT):
        return format_duration(value)
    if field.type is types.START_TIME:
        return format_moment(value)
    if field.type is types.SHELL:
        return shlex.join(value)
    if field.type is types.DEMAND:
        return ", ".join(f"{name}:{units}" for name, units in value)
    found = _plain(field, value)
    if isinstance(found, bool):
        return str(found).lower()
    return ", ".join(map(str, found)) if isinstance(found, list) else str(found)


def _plain(field: FieldSpec, value: Any) -> Any:
    """Return a value of a field as JSON has it."""
    if isinstance(value, bool) and field.type.words:  # such as `rerun: never`
        return next(word for word in field.type.words if field.type.parse(word) is value)
    if isinstance(value, Priority):
        return value.name.lower()
    if isinstance(value, frozenset):
        return sorted(map(str, value))
    return list(value) if isinstance(value, tuple) else value


def _cells(one: JobRow, job: JobRow) -> list[Cell]:
    """Return the cells of an ended attempt."""
    how = "" if one.exit is None else describe_exit(one.exit, one.asked, one.spec.timeout)
    last = one.last == job.attempts and job.outcome is not None
    style = _STYLES.get(job.state, "") if last else "yellow"
    took = (
        "" if one.started is None or one.ended is None else format_duration(max(0.0, one.ended - one.started))
    )
    memory = "" if one.usage.memory is None else size_text(one.usage.memory)
    return [
        Cell(str(one.last)), Cell(how, style), Cell("" if one.started is None else _moment(one.started)), Cell(took),
        Cell("" if one.waited is None else format_duration(one.waited)),
        Cell(format_duration(one.usage.user + one.usage.system)), Cell(memory), Cell(strip_ansi(one.message), "dim"),
    ]  # fmt: skip


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S")


def _tails(last: JobRow, page: Console) -> list[str]:
    """Return the last lines of what the last ended attempt printed."""
    lines: list[str] = []
    output = recorded_output(last)
    for name, stream in (("stdout", output.out), ("stderr", output.err)):
        if tail := _tail(stream):
            title = f"{name} of try {last.last}, {size_text(stream.size)}:"
            lines += ["", *page.painted(title, (title, "dim")), *(f"  {line}" for line in tail)]
    return lines


def _tail(stream: Stream) -> list[str]:
    """Return the last lines of a stream without escape sequences; none if it was removed, for example by `prune`."""
    if not stream.size:
        return []
    with suppress(OSError):
        text = stream.tail(TAIL_BYTES).decode("utf-8", "backslashreplace")
        lines = text.rstrip("\n").split("\n")[-TAIL_LINES:]
        return [strip_ansi(line.rstrip("\r").rpartition("\r")[2]) for line in lines]
    return []


# The document


def _document(seen: ViewedJob) -> dict[str, Any]:
    from pqrun.reports.json_document import SCHEMA, job_entry, timestamp

    row, spec = seen.row, seen.row.spec
    return {
        "schema": SCHEMA,
        "run": {"id": seen.run},
        "job": {
            **job_entry(row, lambda at: at, seen.rate),
            "due_at": timestamp(row.until) if row.state == "waiting" else None,
            "variables": _variables(spec),
            "fields": {field.flat_name: _plain(field, value_of(spec, field)) for field in _differing(spec)},
            "file": spec.file,
            "line": spec.line or None,
            "added_by": row.by or None,
            "needs": [
                {"id": job_id, "when": when, "state": None if other is None else other.state}
                for job_id, when, other in seen.needs
            ],
            "needed_by": [{"id": other.spec.id, "state": other.state} for other in seen.dependents],
            "tries": [_try(one) for one in seen.attempts],
        },
    }


def _try(one: JobRow) -> dict[str, Any]:
    from pqrun.reports.json_document import job_entry

    entry = job_entry(one, lambda at: at)
    names = (
        "exit", "signal", "started_at", "ended_at", "wait_s", "run_s", "stdout", "stderr", "stdout_at", "stderr_at",
        "stdout_bytes", "stderr_bytes", "message", "user_s", "sys_s",
    )  # fmt: skip
    return {
        "attempt": one.last,
        "asked": None if one.asked is None else str(one.asked),
        **{name: entry[name] for name in names},
        **({"memory_peak_bytes": one.usage.memory} if one.usage.memory is not None else {}),
    }
