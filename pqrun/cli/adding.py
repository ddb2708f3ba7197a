# SPDX-License-Identifier: LGPL-3.0-or-later
"""From `add`'s options to jobs as they go over the socket, and there in messages that fit."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pqrun.cli.settings import given_of
from pqrun.control.adding import MOST_AT_ONCE, needs_first
from pqrun.control.protocol import LONGEST, Rejected
from pqrun.control.talk import Talk
from pqrun.errors import UserError
from pqrun.jobfile.specs import POLICY_OPTIONS, Specs
from pqrun.journal.specs import spec_facts
from pqrun.model import Need
from pqrun.settings import Settings
from pqrun.signals import absolute, current_directory

if TYPE_CHECKING:
    from pqrun.cli.addoptions import AddOptions

Jobs = list[dict[str, Any]]
BATCH = 500
FULL_ENOUGH = LONGEST // 2


def jobs_of_command(words: list[str], options: AddOptions) -> Jobs:
    """One job; of several words each is one argument."""
    run = words[0] if len(words) == 1 else shlex.join(words)
    given = _given(options)
    own: dict[str, Any] = {"cwd": _directory(options.cwd)}
    if options.creates is not None:
        own["creates"] = options.creates
    if options.stdin is not None:
        own["stdin"] = absolute(options.stdin)
    named = options.id is not None
    spec = Specs(given).make(run, own, id=options.id or "", named=named, file="add", line=0)
    return [_facts(spec_facts(spec), given)]


def jobs_of_file(path: str, options: AddOptions) -> Jobs:
    """All jobs of a job file or a list of commands; options are for those that don't say otherwise."""
    from pqrun.input import open_input

    for name in ("id", "creates", "stdin"):
        if getattr(options, name) is not None:
            raise UserError(f"--{name} is for one job, not for all of a file")
    given = _given(options)
    directory = _directory(options.cwd)
    try:
        specs = needs_first(open_input(Settings(files=(path,), given=given)).everything())
    except Rejected as error:
        raise UserError(str(error)) from None
    jobs = [_facts(spec_facts(spec), given) for spec in specs]
    for job in jobs:
        job["cwd"] = os.path.join(directory, job["cwd"]) if "cwd" in job else directory
    return jobs


def _given(options: AddOptions) -> dict[str, Any]:
    """What is said of jobs, but for what can only be said of one."""
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


def put_in(talk: Talk, jobs: Jobs, *, wait: bool, if_absent: bool, once: bool) -> Iterator[list[str]]:
    """Sends them; their ids, as they are told. All of them are added or none, unless they are to wait."""
    told = {"if_absent": if_absent, "once": once, "wait": wait}
    batches = list(_batches(jobs))
    for number, batch in enumerate(batches, 1):
        more = not wait and number < len(batches)
        alone = wait or number == 1
        yield talk.ask("add", add=batch, more=more, again=alone, **told)["ids"]


def _batches(jobs: Jobs) -> Iterator[Jobs]:
    """As many at a time as go into one message."""
    batch: Jobs = []
    size = 0
    for job in jobs:
        length = len(json.dumps(job))
        if batch and (size + length > FULL_ENOUGH or len(batch) >= min(BATCH, MOST_AT_ONCE)):
            yield batch
            batch, size = [], 0
        batch.append(job)
        size += length
    if batch:
        yield batch


def _facts(facts: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """A job's facts, with what was said although it is usual: else what the run says would hold for it."""
    for name, value in given.items():
        if part := POLICY_OPTIONS.get(name):
            facts.setdefault("retry", {}).setdefault(part, _plain(value))
        elif name not in ("env", "shell"):
            facts.setdefault(name, value or None if name in ("timeout", "idle_timeout") else value)
    return facts


def _plain(value: Any) -> Any:
    return sorted(value, key=str) if isinstance(value, frozenset) else value


def _directory(cwd: str | None) -> str:
    """Where the job starts: where `add` was called, as a person in that directory expects."""
    return absolute(cwd) if cwd else current_directory()
