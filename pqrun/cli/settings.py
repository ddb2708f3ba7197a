# SPDX-License-Identifier: LGPL-3.0-or-later
"""The conversion of options to `Settings`, and of recorded options back to options."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from pqrun.cli.options import FieldOptions, RunOptions, fields_given, pool
from pqrun.core.errors import UserError
from pqrun.core.job import HaltRule, Priority, Shard, StartRate
from pqrun.core.job_fields import put
from pqrun.core.settings import GROUP_OF, REPORT_FILES, Settings
from pqrun.core.text import command, line_of

NOT_RECORDED = (
    "dry_run", "run_dir", "no_journal", "json", "quiet", "verbose", "env", "ci", "format", "null", "resume",
)  # fmt: skip
PRESETS = {"small": ("2", 100, 300.0), "medium": ("10", 1000, 1800.0), "large": ("50", 10_000, 3600.0)}


def settings_of(options: RunOptions, **more: Any) -> Settings:
    """Return the settings of a run; raise `UserError` if options contradict each other."""
    said = options.values()
    fields = {name: value for name, value in said.items() if name in GROUP_OF}
    workers, max_queue, limit = PRESETS.get(options.preset or "", (None, None, None))
    given = given_of(options)
    if limit is not None:
        given.setdefault("timeout", limit)
    if options.fail_fast and said["halt"]:
        both = f"{options.spelled('fail_fast')} and {options.spelled('halt')}"
        raise UserError(f"{both}: give only one of them (--fail-fast is --halt now,fail=1)")
    if said["no_journal"] and said["run_dir"] is not None:
        both = f"{options.spelled('no_journal')} and {options.spelled('run_dir')}"
        raise UserError(f"{both}: give only one of them (--run-dir DIR is where the journal is kept)")
    if options.output == "raw":
        for other in ("keep_order", "tag"):
            if said[other]:
                raise UserError(
                    f"{options.spelled('output')} raw can't be combined with {options.spelled(other)}"
                )
    try:
        pools = tuple(pool(text) for text in options.pool or ())
    except ValueError as error:
        raise UserError(f"{options.spelled('pool')}: {error}") from None
    fields |= {
        "jobs": said["jobs"] or workers,
        "max_queue": said["max_queue"] or max_queue,
        "given": given,
        "pools": pools,
        "only": tuple(said["only"] or ()),
        "skip": tuple(said["skip"] or ()),
        "halt": HaltRule("now", "fail", 1) if options.fail_fast else said["halt"],
        "output": options.output or ("none" if said["json"] else "group"),
        "command": typed_command(sys.argv[1:]),
        "recorded": recorded(options),
    }
    return Settings().with_values({**fields, **more})


MAX_COMMAND_LENGTH = 2000


def typed_command(words: Iterable[str]) -> str:
    """Return the command line for reports, on one line and shortened. Values of `--env` are left out."""
    line = line_of(["pqrun", *_without_values(words)])
    return line if len(line) <= MAX_COMMAND_LENGTH else line[: MAX_COMMAND_LENGTH - 1] + "…"


def _without_values(words: Iterable[str]) -> Iterator[str]:
    """Yield the words with `…` for the value of each variable, which may be a secret."""
    is_variable = False
    for word in words:
        start = "--env=" if word.startswith("--env=") else ""
        if start or is_variable:
            word = f"{start}{word.removeprefix(start).partition('=')[0]}=…"
        is_variable = word == "--env"
        yield word


def given_of(options: FieldOptions) -> dict[str, Any]:
    """Return the layer of settings for all jobs that the command line gives.

    Raises `UserError` if a value is invalid.
    """
    given: dict[str, Any] = {}
    for field, option, value in fields_given(options):
        if not option.single:
            put(given, field, value)
    if given.get("shell"):
        from pqrun.input.defaults import settled_shell

        try:
            given["shell"] = settled_shell(given["shell"])
        except ValueError as error:
            raise UserError(f"{options.spelled('shell')}: {error}") from None
    return given


def _changed(options: RunOptions) -> dict[str, Any]:
    """Return the options that have another value than their default."""
    declared = options.declared()
    return {name: value for name, value in options.values().items() if value != declared[name].default}


def recorded(options: RunOptions) -> dict[str, Any]:
    """Return the given options in a form that JSON can hold, for a later process that resumes the run."""
    given: dict[str, Any] = {}
    for name, value in _changed(options).items():
        if name in REPORT_FILES and value is not None and value.startswith(("/dev/", "/proc/")):
            continue  # a descriptor of this process does not exist in a later one
        if name not in NOT_RECORDED:
            given[name] = sorted(value, key=str) if isinstance(value, frozenset) else value
    return given


def recalled(given: dict[str, Any]) -> dict[str, Any]:
    """Return options from their recorded form: the reverse of `recorded`."""
    options = RunOptions.declared()
    found = {name: value for name, value in given.items() if name in options}
    for name in ("retry_on", "permanent"):
        if name in found:
            found[name] = frozenset(found[name])
    for name, kind in (("halt", HaltRule), ("rate", StartRate), ("shard", Shard)):
        if name in found:
            found[name] = kind(*found[name])
    if "priority" in found:
        found["priority"] = Priority(found["priority"])
    return found


def refuse_another_record(name: str, options: RunOptions) -> None:
    """Raise `UserError` for options that would keep the record of the resumed run elsewhere, or not at all."""
    refused, cure = "", ""
    if options.values()["no_journal"]:
        refused, cure = "no_journal", "leave it out: begin a new run to keep no journal"
    elif (directory := options.values()["run_dir"]) is not None:
        from pqrun.journal.run_directory import RunDirectory, find_run

        other = RunDirectory(directory)
        if other.has_journal():
            if os.path.samefile(other.path, find_run(name).path):
                return
            cure = f"to continue the run that is there: {command('resume', directory)}"
        refused = "run_dir"
    if refused:
        if refused in options.by_variable:
            cure = f"leave it out: env -u {options.spelled(refused)} pqrun …"
        raise UserError(
            f"{options.spelled(refused)} can't be used with `resume`, which continues the run's own journal\n"
            f"  hint: {cure or 'leave it out: the run stays in its directory'}"
        )


def resumed_settings(name: str, options: RunOptions, *, failed: bool) -> Settings:
    """Return the settings of a recorded run, replaced by the options of this command line.

    Raises `UserError` if the run is not found or options contradict each other.
    """
    from pqrun.journal.reader import JournalReader
    from pqrun.journal.run_directory import find_run

    header = JournalReader(find_run(name).journal).first()
    before = recalled(header.get("options", {}))
    # The header has the resulting directory, and jobs start there.
    before.pop("cwd", None)
    for option in (*REPORT_FILES, "results"):
        if before.get(option, "-") != "-":
            before[option] = os.path.join(header["cwd"], before[option])
    now = options.given
    for option in ("only", "skip", "shard"):
        if now.get(option) and now[option] != before.get(option):
            raise UserError(
                f"{options.spelled(option)} can't be used with `resume`, which runs all jobs that are left of the run\n"
                f"  hint: choose the jobs of a run when you begin it: pqrun run FILE --{option} …"
            )
    if "preset" in now:
        before = {key: value for key, value in before.items() if key not in ("jobs", "max_queue")}
    merged = RunOptions(**{**before, **now})
    merged.by_variable = options.by_variable
    settings = settings_of(merged, resume=name, failed=failed)
    hooks = header.get("options", {}).get("hooks")
    return settings.with_values({"given_again": given_of(options), "again": frozenset(now), "hooks": hooks})
