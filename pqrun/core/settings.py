# SPDX-License-Identifier: LGPL-3.0-or-later
"""The settings of a run, as plain values: what the user asked for, not how it is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pqrun.core.job import HaltRule, Pool, Shard, StartRate

MAX_QUEUE = 1000


class Each(NamedTuple):
    """The arguments of `each`: the words after its options, and how arguments are separated."""

    words: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    delimiter: str | None = None
    colsep: str | None = None
    header: bool = False


class Settings(NamedTuple):
    """The settings of a run. Times in seconds; None if the option was not given.

    `given`: job options of the command line, by field name, for every job. `hooks`: the hooks of the job
    file, by key; `on_finish` and `on_failure` override them. `recorded`: the options that the journal
    keeps for a resume. `command`: the command line, without values of variables. Only on a resume: `again`
    names the options given this time, and `given_again` holds the job options among them.
    """

    files: tuple[str, ...] = ()
    format: str | None = None
    null: bool = False
    each: Each | None = None
    jobs: str | None = None
    max_queue: int | None = None
    given: Mapping[str, Any] = {}
    pools: tuple[Pool, ...] = ()
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    halt: HaltRule | None = None
    deadline: float | None = None
    delay: float | None = None
    rate: StartRate | None = None
    load: str | None = None
    memfree: int | None = None
    shard: Shard | None = None
    cwd: str | None = None
    output: str = "group"
    keep_order: bool = False
    tag: bool = False
    show: str = "all"
    progress: str = "auto"
    quiet: bool = False
    verbose: bool = False
    color: str = "auto"
    results: str | None = None
    ci: str = "auto"
    junit: str | None = None
    html: str | None = None
    trace: str | None = None
    summary: str | None = None
    metrics: str | None = None
    metrics_listen: str | None = None
    joblog: str | None = None
    events: str | None = None
    on_finish: str | None = None
    on_failure: str | None = None
    hooks: Mapping[str, Any] | None = None
    json: bool = False
    dry_run: bool = False
    run_dir: str | None = None
    journal: bool = True
    durable: bool = False
    require_watchdog: bool = False
    resume: str | None = None
    command: str = ""
    failed: bool = False
    serve: str | None = None
    on: str = "local"
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    insecure: bool = False
    given_again: dict[str, Any] = {}
    again: frozenset[str] = frozenset()
    recorded: dict[str, Any] = {}
