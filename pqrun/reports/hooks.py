# SPDX-License-Identifier: LGPL-3.0-or-later
"""Commands that run after a run has ended. Their failures never change the run's exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf
from typing import Any, NamedTuple

from pqrun.core.job import Outcome
from pqrun.core.settings import ReportSettings
from pqrun.core.text import format_duration
from pqrun.core.unicode_json import as_json
from pqrun.executors.local.environment import TREE_VARIABLE, inherited
from pqrun.executors.local.spawn import DEFAULT_SHELL, no_option, signal_name
from pqrun.reports.digest import RunDigest
from pqrun.reports.json_document import SCHEMA, job_entry
from pqrun.reports.report import Ending, RunInfo

TIMEOUT_SECONDS = 60.0
GRACE_SECONDS = 1.0
MAX_JOBS = 100


class Hook(NamedTuple):
    """One command and the option or key `name` that asked for it. `limit` in seconds; 0: no limit."""

    name: str
    run: str | tuple[str, ...]
    on_failure: bool = False
    limit: float = TIMEOUT_SECONDS


def hooks_of(settings: ReportSettings) -> list[Hook]:
    """Return the hooks of the command line, and those of the job file that it does not replace.

    The job file's hooks may come from a journal's header, where JSON has turned tuples into lists.
    """
    said = settings.hooks or {}
    limit = said.get("timeout", TIMEOUT_SECONDS)
    found = []
    for key, run in (("on_failure", settings.on_failure), ("on_finish", settings.on_finish)):
        name: str = f"--{key.replace('_', '-')}"
        if run is None:  # an empty string is a hook that was switched off
            name, run = f"hooks: {key}", said.get(key)
        if run:
            words = run if isinstance(run, str) else tuple(run)
            found.append(Hook(name, words, key == "on_failure", limit))
    return found


def run_hooks(
    hooks: Iterable[Hook], digest: RunDigest, run: RunInfo, ending: Ending, wait: Callable[[float], bool]
) -> Iterator[str]:
    """Run the hooks that are due, one after another; yield what went wrong."""
    summary, variables = summary_of(digest, run, ending), variables_of(digest, run, ending)
    for hook in hooks:
        if (ending.code or not hook.on_failure) and (
            why := run_hook(hook, summary, variables, wait, run.cwd)
        ):
            yield f"{hook.name}: {why}; the exit code of the run is not affected"


def run_hook(
    hook: Hook,
    summary: bytes,
    variables: Mapping[str, str],
    wait: Callable[[float], bool],
    cwd: str | None = None,
) -> str:
    """Run a hook where jobs start, with the summary on its stdin; return what went wrong, if anything.

    `wait(seconds)` waits and returns whether the user wants pqrun to stop. The hook's output goes to
    our stderr, because stdout belongs to the jobs.
    """
    words = [*DEFAULT_SHELL, no_option(hook.run)] if isinstance(hook.run, str) else list(hook.run)
    with tempfile.TemporaryFile() as stdin:
        try:
            stdin.write(summary)
            stdin.seek(0)
            process = subprocess.Popen(
                words, stdin=stdin, stdout=2, cwd=cwd, env=_environment(variables), start_new_session=True
            )
        except (OSError, ValueError) as error:
            return f"cannot be run: {getattr(error, 'strerror', None) or error}"
    limit = time.monotonic() + (hook.limit or inf)
    why, patience = "", 0.001
    while process.poll() is None and not why:
        stop = wait(patience)
        patience = min(2 * patience, 0.05)
        if stop or time.monotonic() > limit:
            why = "stopped" if stop else f"took longer than {format_duration(hook.limit)} and was stopped"
    if why:
        _end(process)
        return why
    return _how(process.returncode)


def _environment(variables: Mapping[str, str]) -> dict[bytes, bytes]:
    """Return the environment of a hook: that of jobs, without the variables meant for jobs.

    If pqrun itself runs in a job of another pqrun, the hook keeps that job's marker, so that the outer
    run finds the hook when it cleans up.
    """
    found = inherited()
    if (mark := os.environb.get(TREE_VARIABLE)) is not None:
        found[TREE_VARIABLE] = mark
    return found | {os.fsencode(name): os.fsencode(value) for name, value in variables.items()}


def _end(process: subprocess.Popen[bytes]) -> None:
    """Send SIGTERM to the hook's process group, then SIGKILL after the grace period.

    The leader is reaped last: as long as it is a zombie, its process group id cannot be reused.
    """
    os.killpg(process.pid, signal.SIGTERM)
    limit = time.monotonic() + GRACE_SECONDS
    while not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if time.monotonic() > limit:
            break
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _how(code: int) -> str:
    if code < 0:
        return f"ended by {signal_name(-code)}"
    return f"exit {code}" if code else ""


def summary_of(digest: RunDigest, run: RunInfo, ending: Ending) -> bytes:
    """Return the hook's stdin: the final JSON document, with only the jobs that failed."""
    rows = [failure.row for failure in digest.failures.values()][:MAX_JOBS]
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "run": {**ending.run, "exit": ending.code, "headline": digest.headline()},
        "metrics": ending.metrics.rounded(),
        "jobs": [job_entry(row, run.wall) for row in rows],
        "jobs_left_out": digest.bad - len(rows),
    }
    return as_json(document, indent=1).encode() + b"\n"


def variables_of(digest: RunDigest, run: RunInfo, ending: Ending) -> dict[str, str]:
    """Return the summary as variables.

    No name is that of a variable which sets an option: a pqrun that the hook runs would obey it.
    """
    return {
        "PQRUN_RUN_ID": run.run_id,
        "PQRUN_STATUS": "ok" if ending.code == 0 else "failed",
        "PQRUN_EXIT_CODE": str(ending.code),
        "PQRUN_HEADLINE": digest.headline(),
        "PQRUN_DIRECTORY": run.directory or "",
        "PQRUN_JOBS_TOTAL": str(digest.added),
        "PQRUN_JOBS_LEFT": str(digest.added - digest.ended),
        **{f"PQRUN_JOBS_{outcome.name}": str(digest.outcomes[outcome]) for outcome in Outcome},
    }
