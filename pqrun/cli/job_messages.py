# SPDX-License-Identifier: LGPL-3.0-or-later
"""Jobs of `pqrun add`, made of its options and files and sent to a live run.

Loaded by `add` alone: the help of commands must not load what a run needs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from pqrun.cli.options import FieldOptions, fields_given
from pqrun.cli.settings import given_of
from pqrun.control.client import ControlClient
from pqrun.core.dependencies import needs_first
from pqrun.core.errors import Rejected, UserError
from pqrun.core.job import OPEN_STDIN, format_command
from pqrun.core.settings import InputSettings
from pqrun.engine.signals import absolute, current_directory
from pqrun.input.defaults import SpecBuilder
from pqrun.journal.format import spec_facts

Jobs = list[dict[str, Any]]

JOBS_PER_WAIT = 500


def jobs_of_command(words: list[str], options: FieldOptions) -> Jobs:
    """Return one job as a list. Several words are the arguments of one command, and are quoted."""
    run = words[0] if len(words) == 1 else format_command(tuple(words))
    # Values that equal the default are sent, too: else the run's own options would apply to the job.
    given = given_of(options)
    own = {field.attribute: value for field, option, value in fields_given(options) if option.single}
    id = own.pop("id", None)
    own["cwd"] = _directory(own.get("cwd"))
    if own.get("stdin", OPEN_STDIN) != OPEN_STDIN:
        own["stdin"] = absolute(own["stdin"])
    spec = SpecBuilder(given).make(run, own, id=id or "", named=id is not None, file="add", line=0)
    return [spec_facts(spec, given)]


def jobs_of_file(path: str, options: FieldOptions) -> Jobs:
    """Return all jobs of a job file or list. Options apply to jobs that set no other value.

    Raises `UserError` for options that are for one job, and for an invalid file.
    """
    from pqrun.input import open_input

    single = {option.names[-1]: value for _, option, value in fields_given(options) if option.single}
    directory = _directory(single.pop("--cwd", None))
    for name in single:
        raise UserError(f"{name} applies to one job: don't use it with -f")
    given = given_of(options)
    try:
        specs = needs_first(open_input(InputSettings(files=(path,), given=given)).read_all())
    except Rejected as error:
        raise UserError(str(error)) from None
    jobs = [spec_facts(spec, given) for spec in specs]
    for job in jobs:
        job["cwd"] = os.path.join(directory, job["cwd"]) if "cwd" in job else directory
    return jobs


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


def _directory(cwd: str | None) -> str:
    """Return the directory where the job starts: by default the one in which `add` was called."""
    return absolute(cwd) if cwd else current_directory()
