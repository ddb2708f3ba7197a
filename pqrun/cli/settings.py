# SPDX-License-Identifier: LGPL-3.0-or-later
"""The conversion of options to `Settings`, and of recorded options back to options."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from pqrun.cli.options import JobOptions, ReportOptions, RunOptions, pool
from pqrun.core.errors import UserError
from pqrun.core.job import HaltRule, Priority, Shard, StartRate
from pqrun.core.settings import Settings
from pqrun.core.text import line_of
from pqrun.core.values import env_pair

NOT_RECORDED = (
    "dry_run", "run_dir", "no_journal", "json", "quiet", "verbose", "env", "ci", "format", "null", "resume",
)  # fmt: skip
REPORT_FILES = frozenset(ReportOptions.declared())
PRESETS = {"small": ("2", 100, 300.0), "medium": ("10", 1000, 1800.0), "large": ("50", 10_000, 3600.0)}


def settings_of(options: RunOptions, **more: Any) -> Settings:
    """Return the settings of a run; raise `UserError` if options contradict each other."""
    given = given_of(options)
    workers, max_queue, limit = PRESETS.get(options.preset or "", (None, None, None))
    if limit is not None:
        given.setdefault("timeout", limit)
    if options.fail_fast and options.halt:
        raise UserError("--fail-fast and --halt: give only one of them (--fail-fast is --halt now,fail=1)")
    try:
        pools = tuple(pool(text) for text in options.pool or ())
    except ValueError as error:
        raise UserError(f"--pool: {error}") from None
    return Settings(
        jobs=options.jobs or workers,
        max_queue=options.max_queue or max_queue,
        given=given,
        pools=pools,
        only=tuple(options.only or ()),
        skip=tuple(options.skip or ()),
        halt=HaltRule("now", "fail", 1) if options.fail_fast else options.halt,
        deadline=options.deadline,
        delay=options.delay,
        rate=options.rate,
        load=options.load,
        memfree=options.memfree,
        shard=options.shard,
        cwd=options.cwd,
        output=_output(options),
        keep_order=options.keep_order,
        tag=options.tag,
        show=options.show,
        results=options.results,
        progress=options.progress,
        color=options.color,
        ci=options.ci,
        junit=options.junit,
        html=options.html,
        trace=options.trace,
        summary=options.summary,
        metrics=options.metrics,
        metrics_listen=options.metrics_listen,
        joblog=options.joblog,
        events=options.events,
        on_finish=options.on_finish,
        on_failure=options.on_failure,
        quiet=options.quiet,
        verbose=options.verbose,
        json=options.json,
        dry_run=options.dry_run,
        run_dir=options.run_dir,
        journal=not options.no_journal,
        durable=options.durable,
        require_watchdog=options.require_watchdog,
        on=options.on,
        tls_ca=options.tls_ca,
        tls_cert=options.tls_cert,
        tls_key=options.tls_key,
        insecure=options.insecure,
        recorded=recorded(options),
        command=typed_command(sys.argv[1:]),
        **more,
    )


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


def given_of(options: JobOptions) -> dict[str, Any]:
    """Return the options for all jobs that the command line gives, without defaults.

    Raises `UserError` if a value is invalid.
    """
    given: dict[str, Any] = {}
    for name in ("priority", "retries", "retry_delay", "max_delay", "backoff", "permanent", "grace", "signal",
                 "timeout", "idle_timeout"):  # fmt: skip
        value = getattr(options, name)
        if value is not None:
            given[name] = value
    if options.retry_on is not None:
        given["on"] = options.retry_on
    try:
        if options.env:
            given["env"] = dict(env_pair(text) for text in options.env)
        if options.shell is not None:
            given["shell"] = tuple(shlex.split(options.shell))
    except ValueError as error:
        raise UserError(f"--env or --shell: {error}") from None
    if given.get("shell") == ():
        raise UserError("--shell needs a program")
    return given


def _output(options: RunOptions) -> str:
    if options.output == "raw" and (options.keep_order or options.tag):
        raise UserError("--output raw can't be combined with --keep-order or --tag")
    return options.output or ("none" if options.json else "group")


def recorded(options: RunOptions) -> dict[str, Any]:
    """Return the given options in a form that JSON can hold, for a later process that resumes the run."""
    given: dict[str, Any] = {}
    for name, declared in options.declared().items():
        value = getattr(options, name)
        if name in REPORT_FILES and value is not None and value.startswith(("/dev/", "/proc/")):
            continue  # a descriptor of this process does not exist in a later one
        if value != declared.default and name not in NOT_RECORDED:
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


def resumed_settings(name: str, options: RunOptions, *, failed: bool) -> Settings:
    """Return the settings of a recorded run, replaced by the options of this command line.

    Raises `UserError` if the run is not found or options contradict each other.
    """
    from pqrun.journal.recovery import first_header
    from pqrun.journal.run_directory import find_run

    header = first_header(find_run(name))
    before = recalled(header.get("options", {}))
    # The header has the resulting directory, and jobs start there.
    before.pop("cwd", None)
    for option in (*REPORT_FILES, "results"):
        if before.get(option, "-") != "-":
            before[option] = os.path.join(header["cwd"], before[option])
    now = {
        name: value
        for name, declared in options.declared().items()
        if (value := getattr(options, name)) != declared.default
    }
    if "preset" in now:
        before = {key: value for key, value in before.items() if key not in ("jobs", "max_queue")}
    settings = settings_of(RunOptions(**{**before, **now}), resume=name, failed=failed)
    hooks = header.get("options", {}).get("hooks")
    return settings._replace(given_again=given_of(options), again=frozenset(now), hooks=hooks)
