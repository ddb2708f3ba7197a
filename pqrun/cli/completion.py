# SPDX-License-Identifier: LGPL-3.0-or-later
"""The words that a shell completes on TAB: ids of runs and of their jobs."""

from __future__ import annotations

import re

import typer

MAX_OFFERED = 200
MAX_INDEX_BYTES = 4_000_000
_EASY = re.compile(r"[A-Za-z0-9_.:@/-]+")


def run_ids(incomplete: str = "") -> list[str]:
    """Return the ids of runs that begin with `incomplete`."""
    import os

    from pqrun.core.errors import UserError
    from pqrun.journal.run_directory import runs_directory

    try:
        names = os.listdir(runs_directory())
    except (OSError, UserError):
        names = []
    return _offered([*sorted(names), "latest"], incomplete)


def job_ids(ctx: typer.Context, incomplete: str = "") -> list[str]:
    """Return the ids of jobs of the run that the command line names, or of the latest run."""
    import os

    from pqrun.core.errors import InternalFailure, UserError
    from pqrun.journal.index import query_index
    from pqrun.journal.run_directory import find_run

    try:
        run = find_run(str(ctx.params.get("name") or ctx.params.get("run") or "latest"))
        if not os.path.exists(run.index) and os.path.getsize(run.journal) > MAX_INDEX_BYTES:
            return []  # to index a long journal takes longer than a user waits for a completion
        ids = query_index(run, lambda index: index.ids(incomplete, most=MAX_OFFERED))
    except (OSError, UserError, InternalFailure):
        return []
    return _offered(ids, incomplete)


def _offered(words: list[str], incomplete: str) -> list[str]:
    """Return the matching words that a shell takes without quotes."""
    return [word for word in words if word.startswith(incomplete) and _EASY.fullmatch(word)]
