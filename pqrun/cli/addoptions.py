# SPDX-License-Identifier: LGPL-3.0-or-later
"""The options of `add`: all that a job may say of itself."""

from typing import Annotated, Any

from pqrun.cli.flags import FAILURE, INPUT, SCHEDULING, Flag, choice
from pqrun.cli.options import JobOptions
from pqrun.jobfile import kinds, values


def own(name: str, help: str, panel: str, metavar: str | None = None, read: Any = None) -> Flag:
    """An option of this job alone: no variable of the environment sets it."""
    return Flag((name,), help, panel, metavar, read)


def needed(text: str) -> tuple[tuple[str, str], ...]:
    """`a`, `a,ended:b` or `failed:c`; nothing for none."""
    found = []
    for word in values.words(text) if text.strip() else ():
        when, colon, job = word.partition(":")
        found.append((job, when) if colon and when in ("ok", "ended", "failed") else (word, "ok"))
    return tuple(dict.fromkeys(found))


_FACTOR, _SHARE = kinds.FROM_WORD["factor"], kinds.FROM_WORD["fraction"]


class AddOptions(JobOptions):
    """A job's own fields."""

    id: Annotated[
        str | None, own("--id", "What to call it, if not by its number", INPUT, "ID", values.job_id)
    ] = None
    needs: Annotated[
        Any,
        own(
            "--needs", "Jobs that have to end well first; or ended:ID, failed:ID", SCHEDULING, "ID,…", needed
        ),
    ] = ()
    slots: Annotated[
        int | None, own("--slots", "So many slots at a time [1]", SCHEDULING, "N", kinds.count)
    ] = None
    pools: Annotated[
        Any, own("--pools", "Shares of pools that it takes", SCHEDULING, "NAME[:N],…", kinds.wants)
    ] = ()
    tags: Annotated[
        Any, own("--tags", "Words to select it by", INPUT, "WORD,…", kinds.FROM_WORD["tags"])
    ] = ()
    factor: Annotated[Any, own("--factor", "By what the wait grows each time [2]", FAILURE, "N", _FACTOR)] = (
        None
    )
    jitter: Annotated[
        Any, own("--jitter", "Vary waits by this share of them, as in 0.1", FAILURE, "N", _SHARE)
    ] = None
    allow_failure: Annotated[bool, own("--allow-failure", "Its failure is none of the run's", FAILURE)] = (
        False
    )
    success_codes: Annotated[
        Any, own("--success-codes", "Exit codes that count as ok [0]", FAILURE, "N,…", values.exit_codes)
    ] = ()
    no_rerun: Annotated[bool, own("--no-rerun", "Don't run it again if pqrun dies meanwhile", FAILURE)] = (
        False
    )
    leftovers: Annotated[
        str | None,
        own(
            "--leftovers",
            "What becomes of what it leaves: end or keep",
            FAILURE,
            "WHAT",
            choice("end", "keep"),
        ),
    ] = None
    creates: Annotated[
        str | None, own("--creates", "Nothing is to be done if this is there", INPUT, "FILE", kinds.path)
    ] = None
    stdin: Annotated[str | None, own("--stdin", "A file to read from", INPUT, "FILE", kinds.path)] = None
    cwd: Annotated[
        str | None,
        Flag(("-C", "--cwd"), "Start it in this directory, not where you are", INPUT, "DIR"),
    ] = None
