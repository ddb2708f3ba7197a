# SPDX-License-Identifier: LGPL-3.0-or-later
"""From `add`'s options to jobs as they go over the socket."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any

from pqrun.cli.settings import given_of
from pqrun.errors import UserError
from pqrun.jobfile import values
from pqrun.jobfile.kinds import wants
from pqrun.jobfile.specs import Specs
from pqrun.journal.codec import spec_facts
from pqrun.model import JobSpec, Need
from pqrun.settings import Settings

if TYPE_CHECKING:
    from pqrun.cli.control import AddOptions


def jobs_of_command(words: list[str], options: AddOptions) -> list[dict[str, Any]]:
    """One job; of several words each is one argument."""
    run = words[0] if len(words) == 1 else shlex.join(words)
    own: dict[str, Any] = {"cwd": _directory(options.cwd)}
    try:
        if options.needs:
            own["needs"] = tuple(Need(need) for need in values.words(options.needs))
        if options.pools:
            own["pools"] = wants(options.pools)
        if options.tags:
            own["tags"] = tuple(values.words(options.tags))
        if options.success_codes:
            own["success_codes"] = values.exit_codes(options.success_codes)
    except ValueError as error:
        raise UserError(str(error)) from None
    if options.slots != 1:
        own["slots"] = options.slots
    if options.allow_failure:
        own["allow_failure"] = True
    if options.no_rerun:
        own["rerun"] = False
    if options.stdin is not None:
        own["stdin"] = os.path.abspath(options.stdin)
    named = options.id is not None
    spec = Specs(given_of(options)).make(run, own, id=options.id or "", named=named, file="add", line=0)
    return [spec_facts(spec)]


def jobs_of_file(path: str, options: AddOptions) -> list[dict[str, Any]]:
    """All jobs of a job file or a list of commands."""
    from pqrun.input import open_input

    specs = open_input(Settings(files=(path,), given=given_of(options))).everything()
    directory = _directory(options.cwd)
    return [spec_facts(_placed(spec, directory)) for spec in specs]


def _placed(spec: JobSpec, directory: str) -> JobSpec:
    own = spec.work.cwd
    return spec._replace(work=spec.work._replace(cwd=os.path.join(directory, own) if own else directory))


def _directory(cwd: str | None) -> str:
    """Where the job starts: where `add` was called, as a person in that directory expects."""
    return os.path.abspath(cwd or ".")
