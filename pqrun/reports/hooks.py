# SPDX-License-Identifier: LGPL-3.0-or-later
"""Commands that are run when a run has ended. What becomes of them never changes what became of it."""

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
from pqrun.core.text import format_duration
from pqrun.core.unicode_json import as_json
from pqrun.executors.local.environment import TREE_VARIABLE, inherited
from pqrun.executors.local.spawn import DEFAULT_SHELL, no_option, signal_name
from pqrun.reports.digest import RunDigest
from pqrun.reports.json_document import SCHEMA, job_entry, numbers
from pqrun.reports.run_info import Ending, RunInfo

TIMEOUT_SECONDS = 60.0
GRACE_SECONDS = 1.0
MAX_JOBS = 100


class Hook(NamedTuple):
    """One command, as an option or a key called `name` said it; `limit`: the seconds it may take, 0 for ever."""

    name: str
    run: str | tuple[str, ...]
    on_failure: bool = False
    limit: float = TIMEOUT_SECONDS


def hooks_of(settings: Any) -> list[Hook]:
    """Those of the command line, and of the job file those that it does not replace.

    The file's may come out of a journal's header, where JSON made a list of a tuple and left out nothing.
    """
    said = getattr(settings, "hooks", None) or {}
    limit = said.get("timeout", TIMEOUT_SECONDS)
    found = []
    for key in ("on_failure", "on_finish"):
        name, run = f"--{key.replace('_', '-')}", getattr(settings, key, None)
        if run is None:  # an empty one stands for none
            name, run = f"hooks: {key}", said.get(key)
        if run:
            words = run if isinstance(run, str) else tuple(run)
            found.append(Hook(name, words, key == "on_failure", limit))
    return found


def run_hooks(
    hooks: Iterable[Hook], digest: RunDigest, run: RunInfo, ending: Ending, wait: Callable[[float], bool]
) -> Iterator[str]:
    """Runs those that are due, one after another; what went wrong."""
    summary, variables = summary_of(digest, run, ending), variables_of(digest, run, ending)
    for hook in hooks:
        if (ending.code or not hook.on_failure) and (
            why := run_hook(hook, summary, variables, wait, run.cwd)
        ):
            yield f"{hook.name}: {why}; the run's outcome stays as it is"


def run_hook(
    hook: Hook,
    summary: bytes,
    variables: Mapping[str, str],
    wait: Callable[[float], bool],
    cwd: str | None = None,
) -> str:
    """Runs it where jobs start, with the summary as its stdin; what went wrong with it, if anything did.

    `wait` waits for so many seconds and says whether somebody wants us to stop. Its output goes to our
    stderr, since stdout is the jobs'.
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
    """As jobs get it, without what is for them; the mark of a job around us finds a hook too."""
    found = inherited()
    if (mark := os.environb.get(TREE_VARIABLE)) is not None:
        found[TREE_VARIABLE] = mark
    return found | {os.fsencode(name): os.fsencode(value) for name, value in variables.items()}


def _end(process: subprocess.Popen[bytes]) -> None:
    """Its group is asked to end, then killed; its leader is reaped last, so that no number is another's."""
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
    """What a hook reads: the final document, with the jobs that did not go well alone."""
    rows = [failure.row for failure in digest.failures.values()][:MAX_JOBS]
    bad = sum(digest.verdicts[verdict] for verdict in ("failed", "error", "allowed"))
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "run": {**ending.run, "exit": ending.code, "headline": digest.headline()},
        "metrics": numbers(ending.metrics),
        "jobs": [job_entry(row, run.wall) for row in rows],
        "jobs_left_out": bad - len(rows),
    }
    return as_json(document, indent=1).encode() + b"\n"


def variables_of(digest: RunDigest, run: RunInfo, ending: Ending) -> dict[str, str]:
    """The same in short. No name is one that an option of a pqrun in the hook would read."""
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
