# SPDX-License-Identifier: LGPL-3.0-or-later
"""The settings of a run, as plain values in groups: what the user asked for, not how it is done.

Each part of the program gets its group. Times in seconds; None if the option was not given. A field's name
is unique over all groups.
"""

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


class InputSettings(NamedTuple):
    """The jobs of the run. `given`: job options of the command line, by field name, for every job."""

    files: tuple[str, ...] = ()
    format: str | None = None
    null: bool = False
    each: Each | None = None
    given: Mapping[str, Any] = {}
    pools: tuple[Pool, ...] = ()
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    shard: Shard | None = None


class LimitSettings(NamedTuple):
    """How many jobs run, how fast they start, and when the run stops early."""

    jobs: str | None = None
    max_queue: int | None = None
    halt: HaltRule | None = None
    deadline: float | None = None
    delay: float | None = None
    rate: StartRate | None = None


class OutputSettings(NamedTuple):
    """What the run prints to stdout and stderr."""

    output: str = "group"
    keep_order: bool = False
    tag: bool = False
    show: str = "all"
    json: bool = False
    progress: str = "auto"
    quiet: bool = False
    verbose: bool = False
    color: str = "auto"
    ci: str = "auto"


class ReportSettings(NamedTuple):
    """The files, the address and the commands that receive reports.

    `hooks`: the hooks of the job file, by key; `on_finish` and `on_failure` override them.
    """

    results: str | None = None
    junit: str | None = None
    trace: str | None = None
    summary: str | None = None
    metrics: str | None = None
    metrics_listen: str | None = None
    joblog: str | None = None
    events: str | None = None
    on_finish: str | None = None
    on_failure: str | None = None
    hooks: Mapping[str, Any] | None = None


class RecordSettings(NamedTuple):
    """The journal that the run writes, or the recorded run that it continues.

    `recorded`: the options that the journal keeps for a resume. Only on a resume: `again` names the options
    given this time, and `given_again` holds the job options among them.
    """

    run_dir: str | None = None
    no_journal: bool = False
    durable: bool = False
    resume: str | None = None
    failed: bool = False
    serve: str | None = None
    given_again: Mapping[str, Any] = {}
    again: frozenset[str] = frozenset()
    recorded: Mapping[str, Any] = {}


class PlaceSettings(NamedTuple):
    """Where the jobs run: the directory, this machine or a cluster, and the load that is allowed there."""

    cwd: str | None = None
    dry_run: bool = False
    load: str | None = None
    memfree: int | None = None
    require_watchdog: bool = False
    on: str = "local"
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    insecure: bool = False


class Settings(NamedTuple):
    """All settings of a run."""

    input: InputSettings = InputSettings()
    limits: LimitSettings = LimitSettings()
    output: OutputSettings = OutputSettings()
    reports: ReportSettings = ReportSettings()
    record: RecordSettings = RecordSettings()
    place: PlaceSettings = PlaceSettings()

    def value_of(self, name: str) -> Any:
        """Return the value of a field."""
        return getattr(getattr(self, GROUP_OF[name]), name)

    def with_values(self, values: Mapping[str, Any]) -> Settings:
        """Return the settings with these values of fields, each put into the group that has the field."""
        changed: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            changed.setdefault(GROUP_OF[name], {})[name] = value
        return self._replace(
            **{group: getattr(self, group)._replace(**new) for group, new in changed.items()}
        )


GROUP_OF = {name: group for group, default in Settings._field_defaults.items() for name in default._fields}
"""The group of each field."""
