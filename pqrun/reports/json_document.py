# SPDX-License-Identifier: LGPL-3.0-or-later
"""The final JSON document: the run, its metrics and its jobs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pqrun.core.job import OutputPlace, run_of
from pqrun.core.job_row import JobRow
from pqrun.core.metrics import Metrics
from pqrun.core.unicode_json import argument_facts, as_json, bytes_beside
from pqrun.reports.report import Wall, wall_start

if TYPE_CHECKING:
    from pqrun.control.run_view import ViewedRun
    from pqrun.core.past import FlakyRate

SCHEMA = 1


def timestamp(wall: float) -> str:
    """Return a time as text: RFC 3339, UTC, microseconds. `wall` is in seconds since the epoch."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def job_entry(row: JobRow, wall: Wall, rate: FlakyRate | None = None) -> dict[str, Any]:
    """Return a job as the document and records show it. `rate`: in how many of its last runs it failed, if known.

    `memory_peak_bytes` is there only if the job's memory was measured, `args` only if the job has arguments, `block`
    only if it reads a part of the input of `each --pipe`. `stdout` is a file that holds nothing else: output in a
    pack has only `stdout_at`.
    """
    run = run_of(row.spec)
    memory = {} if row.usage.memory is None else {"memory_peak_bytes": row.usage.memory}
    return {
        "id": row.spec.id,
        "seq": row.seq,
        "run": list(run) if isinstance(run, tuple) else run,
        "state": row.state,
        "exit": row.code,
        "signal": row.signal,
        "attempts": row.attempts,
        "max_attempts": row.max_attempts,
        "priority": row.spec.priority.name.lower(),
        "tags": list(row.spec.tags),
        **_times(row, wall),
        **_output(row),
        "message": row.message or None,
        "user_s": round(row.usage.user, 6),
        "sys_s": round(row.usage.system, 6),
        **memory,
        **argument_facts(row.spec),
        **({"where": row.where} if row.where else {}),
        **({} if rate is None else {"last_runs": rate._asdict()}),
        **bytes_beside("run", run),
    }


def _times(row: JobRow, wall: Wall) -> dict[str, Any]:
    queued, started, ended = row.queued, row.started, row.ended
    began, took = None if started is None else wall(started), None
    if started is not None and ended is not None:
        began = wall_start(wall, started, ended)
        took = round(max(0.0, ended - started), 6)
    return {
        "queued_at": None if queued is None else timestamp(wall(queued)),
        "started_at": None if began is None else timestamp(began),
        "ended_at": None if ended is None else timestamp(wall(ended)),
        "wait_s": None if row.waited is None else round(row.waited, 6),
        "run_s": took,
    }


def _output(row: JobRow) -> dict[str, Any]:
    return {
        "stdout": row.stdout,
        "stderr": row.stderr,
        "stdout_at": _place(row.stdout_at, row.stdout_bytes),
        "stderr_at": _place(row.stderr_at, row.stderr_bytes),
        "stdout_bytes": row.stdout_bytes,
        "stderr_bytes": row.stderr_bytes,
    }


def _place(place: OutputPlace | None, size: int) -> dict[str, Any] | None:
    """Return where recorded output is; None if nothing was written, or nothing kept."""
    return None if place is None or not size else {"file": place.file, "offset": place.offset, "bytes": size}


def document(run: dict[str, Any], metrics: Metrics, rows: Iterable[JobRow], wall: Wall) -> dict[str, Any]:
    """Return the whole document, as `show --json` prints it."""
    jobs = [job_entry(row, wall) for row in rows]
    return {"schema": SCHEMA, "run": run, "metrics": metrics.rounded(), "jobs": jobs}


def as_text(document: dict[str, Any]) -> str:
    """Return the document as ASCII JSON, which every reader accepts."""
    return as_json(document, indent=1)


def facts_of(seen: ViewedRun) -> dict[str, Any]:
    """Return the document's facts about a recorded run."""
    facts = seen.facts
    return run_facts(
        facts["run"], state=seen.state, files=facts["files"], workers=facts["workers"], began=facts["began"],
        ended=None if seen.live else seen.now, input_complete=facts["complete"], directory=seen.run.path,
        guarded=facts.get("guarded"),
    )  # fmt: skip


def run_facts(
    run_id: str,
    *,
    state: str,
    files: list[str],
    workers: int | None,
    began: float,
    ended: float | None,
    input_complete: bool,
    directory: str | None,
    guarded: bool | None = None,
) -> dict[str, Any]:
    """Return the document's facts about the run itself. `began` and `ended` in seconds since the epoch.

    `guarded`: whether a watchdog was ready all the time to end the jobs if pqrun was killed; None if
    that is unknown.
    """
    return {
        "id": run_id,
        "state": state,
        "files": files,
        "workers": workers,
        "started_at": timestamp(began),
        "ended_at": None if ended is None else timestamp(ended),
        "input_complete": input_complete,
        "directory": directory,
        "guarded": guarded,
        **bytes_beside("files", files),
        **bytes_beside("directory", directory),
    }
