# SPDX-License-Identifier: LGPL-3.0-or-later
"""Jobs of `pqrun add`, made of its options and files and sent to a live run.

Loaded by `add` alone: the help of commands must not load what a run needs.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pqrun.cli.settings import given_of
from pqrun.control.client import ControlClient
from pqrun.core.dependencies import needs_first
from pqrun.core.errors import Rejected, UserError
from pqrun.core.job import Need
from pqrun.core.settings import InputSettings
from pqrun.engine.signals import absolute, current_directory
from pqrun.input.defaults import POLICY_OPTIONS, SpecBuilder
from pqrun.journal.format import spec_facts

Jobs = list[dict[str, Any]]

if TYPE_CHECKING:
    from pqrun.cli.commands.add import AddOptions

JOBS_PER_WAIT = 500


def jobs_of_command(words: list[str], options: AddOptions) -> Jobs:
    """Return one job as a list. Several words are the arguments of one command, and are quoted."""
    run = words[0] if len(words) == 1 else shlex.join(words)
    given = _given(options)
    own: dict[str, Any] = {"cwd": _directory(options.cwd)}
    if options.creates is not None:
        own["creates"] = options.creates
    if options.stdin is not None:
        own["stdin"] = absolute(options.stdin)
    named = options.id is not None
    spec = SpecBuilder(given).make(run, own, id=options.id or "", named=named, file="add", line=0)
    return [_facts(spec_facts(spec), given)]


def jobs_of_file(path: str, options: AddOptions) -> Jobs:
    """Return all jobs of a job file or list. Options apply to jobs that set no other value.

    Raises `UserError` for options that are for one job, and for an invalid file.
    """
    from pqrun.input import open_input

    for name in ("id", "creates", "stdin"):
        if getattr(options, name) is not None:
            raise UserError(f"--{name} applies to one job: don't use it with -f")
    given = _given(options)
    directory = _directory(options.cwd)
    try:
        specs = needs_first(open_input(InputSettings(files=(path,), given=given)).read_all())
    except Rejected as error:
        raise UserError(str(error)) from None
    jobs = [_facts(spec_facts(spec), given) for spec in specs]
    for job in jobs:
        job["cwd"] = os.path.join(directory, job["cwd"]) if "cwd" in job else directory
    return jobs


def _given(options: AddOptions) -> dict[str, Any]:
    """Return the given options, without those that can apply to one job only."""
    given = given_of(options)
    for name in ("slots", "pools", "tags", "success_codes", "factor", "jitter"):
        if (value := getattr(options, name)) not in (None, ()):
            given[name] = value
    if options.needs:
        given["needs"] = tuple(Need(job, when) for job, when in options.needs)
    if options.allow_failure:
        given["allow_failure"] = True
    if options.no_rerun:
        given["rerun"] = False
    if options.leftovers is not None:
        given["keep_leftovers"] = options.leftovers == "keep"
    return given


def send_jobs(
    client: ControlClient, jobs: Jobs, *, wait: bool, if_absent: bool, once: bool
) -> Iterator[list[str]]:
    """Send the jobs and yield their ids for each request.

    Without `wait` the run adds all jobs or none. With `wait` each request is added for itself, as soon
    as the queue has room.
    """
    flags: dict[str, Any] = {"if_absent": if_absent, "once": once, "wait": wait}
    if len(jobs) == 1:  # in a form that a run of an older pqrun knows, too
        yield client.request("add", add=jobs, **flags)["ids"]
        return
    size = JOBS_PER_WAIT if wait else len(jobs)
    for start in range(0, len(jobs), size or 1):
        yield client.request("add", lines=jobs[start : start + size], **flags)["ids"]


def _facts(facts: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return a job's facts, including given values that equal the default.

    Without those, the run's own options would apply to the job instead of the options of `add`.
    """
    for name, value in given.items():
        if part := POLICY_OPTIONS.get(name):
            facts.setdefault("retry", {}).setdefault(part, _plain(value))
        elif name not in ("env", "shell"):
            facts.setdefault(name, value or None if name in ("timeout", "idle_timeout") else value)
    return facts


def _plain(value: Any) -> Any:
    return sorted(value, key=str) if isinstance(value, frozenset) else value


def _directory(cwd: str | None) -> str:
    """Return the directory where the job starts: by default the one in which `add` was called."""
    return absolute(cwd) if cwd else current_directory()
