# SPDX-License-Identifier: LGPL-3.0-or-later
"""The settings of a run, as plain values in groups: what the user asked for, not how it is done.

Each part of the program gets its group. Times in seconds; None if the option was not given. A field's name
is unique over all groups. A field with an `option` is an option of `run`, `each`, `resume` and `serve` as well:
nothing else declares that option.
"""

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from pqrun.core import values
from pqrun.core.job import HaltRule, Pool, Shard, StartRate
from pqrun.core.job_fields import TOP_LEVEL_FIELDS, by_spelling
from pqrun.core.option_spec import (
    FAILURE,
    INPUT,
    OUTPUT,
    PLACE,
    RECORD,
    REPORTS,
    SCHEDULING,
    SCREEN,
    TIME,
    choice,
    option,
)

MAX_QUEUE = 1000
REPORT_FILES = ("junit", "html", "trace", "summary", "metrics", "joblog", "events")
"""The reports that are files."""


class Each(NamedTuple):
    """The arguments of `each`: the words after its options, and how these options treat them.

    `multiple`: how many arguments are put into one command: `m`, `X` (a word is repeated) or `xargs`, or `N` if
    only their number is given and a word is repeated.

    `pipe`: jobs read blocks of the input instead; with `pipe_part`, by offsets in a file. `block`: the bytes of a block;
    -N makes N blocks for each worker.
    """

    words: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    delimiter: str | None = None
    colsep: str | None = None
    header: bool = False
    csv: bool = False
    trim: str | None = None
    eof: str | None = None
    by_words: bool = False
    no_run_if_empty: bool = False
    link: bool = False
    shuf: bool = False
    arg_sep: str = ":::"
    arg_file_sep: str = "::::"
    replace: str | None = None
    plus: bool = False
    rpl: tuple[str, ...] = ()
    tagstring: str | None = None
    max_args: int | None = None
    max_lines: int | None = None
    max_chars: int | None = None
    multiple: str | None = None
    workers: str | None = None
    pipe: bool = False
    pipe_part: bool = False
    block: int | None = None
    recstart: str | None = None
    recend: str | None = None
    regexp: bool = False
    remove_rec_sep: bool = False
    round_robin: bool = False

    def described(self) -> str:
        """Return where the arguments come from: `each ::: 3 arguments`, `each :::: list.txt`, `each`."""
        if self.pipe or self.pipe_part:
            part = "-part" if self.pipe_part else ""
            return " ".join([f"each --pipe{part}", *(f"-a {file}" for file in self.files)])
        marks = [at for at, word in enumerate(self.words) if word in (":::", ":::+", "::::", "::::+")]
        if not marks:
            return " ".join(["each", *(f"-a {file}" for file in self.files)])
        first = self.words[marks[0]]
        if first.startswith("::::"):
            return " ".join(["each", *self.words[marks[0] :]])
        count = len(self.words) - marks[0] - len(marks)
        return f"each {first} {count} argument{'' if count == 1 else 's'}"


# fmt: off
class InputSettings(NamedTuple):
    """The jobs of the run. `given`: the layer of job fields that the command line sets, for every job."""

    files: tuple[str, ...] = ()
    format: str | None = None
    null: bool = False
    each: Each | None = None
    given: Mapping[str, Any] = {}
    pools: tuple[Pool, ...] = ()
    only: Annotated[tuple[str, ...], option(
        "--only", panel=SCHEDULING, metavar="SELECTOR",
        help="Run only these jobs and their needs: id, glob, priority:x, tag:x; repeatable",
    )] = ()
    skip: Annotated[tuple[str, ...], option(
        "--skip", panel=SCHEDULING, metavar="SELECTOR",
        help="Leave out these jobs and the jobs that need them; repeatable",
    )] = ()
    shard: Annotated[Shard | None, option(
        "--shard", panel=SCHEDULING, metavar="I/N", read=values.shard,
        help="Run only part I of N of the jobs, and the jobs that they need: 1/4",
    )] = None
    by_time: Annotated[bool, option(
        "--by-time", panel=SCHEDULING,
        help="With --shard, make parts of equal time, by the times of earlier runs",
    )] = False


class LimitSettings(NamedTuple):
    """How many jobs run, how fast they start, and when the run stops early."""

    jobs: Annotated[str | None, option(
        "-j", "--workers", "--jobs", panel=SCHEDULING, metavar="N", read=values.workers,
        help="Run up to N jobs at a time: N, N%, +N, -N or auto (default: usable CPUs)",
    )] = None
    order: Annotated[str, option(
        "--order", panel=SCHEDULING, metavar="ORDER", read=choice("fifo", "longest-first"),
        help="Order of jobs of one priority: fifo, or longest-first by the times of earlier runs",
    )] = "fifo"
    max_queue: Annotated[int | None, option(
        "--max-queue", panel=SCHEDULING, metavar="N", read=by_spelling(TOP_LEVEL_FIELDS)["max_queue"].type.parse,
        help="Read up to N jobs ahead, and let up to N added jobs wait (default: 1000)",
    )] = None
    halt: Annotated[HaltRule | None, option(
        "--halt", panel=FAILURE, metavar="RULE", read=values.halt,
        help="Stop the run early: now,fail=1 or soon,done=10%",
    )] = None
    deadline: Annotated[float | None, option(
        "--deadline", panel=TIME, metavar="DUR", read=values.duration,
        help="Stop the whole run after DUR",
    )] = None
    median_timeout: Annotated[float | None, option(
        "--median-timeout", panel=TIME, metavar="N%", read=values.percentage,
        help="Stop an attempt that takes over N% of the median time of the jobs that succeeded",
    )] = None
    delay: Annotated[float | None, option(
        "--delay", panel=SCHEDULING, metavar="DUR", read=values.duration,
        help="Wait at least DUR between two starts",
    )] = None
    rate: Annotated[StartRate | None, option(
        "--rate", panel=SCHEDULING, metavar="N/DUR", read=values.rate,
        help="Start at most N jobs in any DUR: 50/1m",
    )] = None


class OutputSettings(NamedTuple):
    """The output of the run on stdout and stderr."""

    output: str = "group"
    keep_order: Annotated[bool, option(
        "-k", "--keep-order", panel=OUTPUT,
        help="Print the output in the order of the jobs",
    )] = False
    tag: Annotated[bool, option(
        "--tag", panel=OUTPUT,
        help="Put the job's id in front of each line of output",
    )] = False
    show: Annotated[str, option(
        "--show", panel=OUTPUT, metavar="SCOPE", read=choice("all", "failed"),
        help="Print the output of all jobs, or only of failed ones: all or failed",
    )] = "all"
    json: Annotated[bool, option(
        "--json", panel=OUTPUT,
        help="Print the result as one JSON document on stdout",
    )] = False
    progress: Annotated[str, option(
        "--progress", panel=SCREEN, metavar="MODE", read=choice("auto", "live", "plain", "none"),
        help="Progress display: auto, live (a table), plain (one line per job) or none",
    )] = "auto"
    quiet: Annotated[bool, option(
        "-q", "--quiet", panel=SCREEN,
        help="Print only errors",
    )] = False
    verbose: Annotated[bool, option(
        "-v", "--verbose", panel=SCREEN,
        help="Print a line when a job starts, too",
    )] = False
    color: Annotated[str, option(
        "--color", panel=SCREEN, metavar="MODE", read=choice("auto", "always", "never"),
        help="Use colors: auto, always or never",
    )] = "auto"
    ci: Annotated[str, option(
        "--ci", panel=SCREEN, metavar="MODE", read=choice("auto", "github", "gitlab", "none"),
        help="Fold and annotate output for a CI log: auto, github, gitlab or none",
    )] = "auto"


class ReportSettings(NamedTuple):
    """The files, the address and the commands that receive reports.

    `hooks`: the hooks of the job file, by key; `on_finish` and `on_failure` override them.
    """

    results: Annotated[str | None, option(
        "--results", panel=OUTPUT, metavar="DIR", read=values.directory,
        help="Write each job's output to DIR/SEQ-ID/: stdout, stderr and meta.json",
    )] = None
    junit: Annotated[str | None, option(
        "--junit", panel=REPORTS, metavar="FILE",
        help="Write a JUnit XML report, for CI services",
    )] = None
    html: Annotated[str | None, option(
        "--html", panel=REPORTS, metavar="FILE",
        help="Write the run as a page for a browser",
    )] = None
    trace: Annotated[str | None, option(
        "--trace", panel=REPORTS, metavar="FILE",
        help="Write a timeline in Chrome's trace format, for ui.perfetto.dev",
    )] = None
    summary: Annotated[str | None, option(
        "--summary", panel=REPORTS, metavar="FILE",
        help="Write a summary of the run in Markdown",
    )] = None
    metrics: Annotated[str | None, option(
        "--metrics", panel=REPORTS, metavar="FILE",
        help="Write metrics for Prometheus's textfile collector",
    )] = None
    metrics_listen: Annotated[str | None, option(
        "--metrics-listen", panel=REPORTS, metavar="ADDR",
        help="Serve metrics to Prometheus at ADDR during the run",
    )] = None
    joblog: Annotated[str | None, option(
        "--joblog", panel=REPORTS, metavar="FILE",
        help="Write a job log in GNU parallel's format",
    )] = None
    events: Annotated[str | None, option(
        "--events", panel=REPORTS, metavar="FILE",
        help="Write each event as a line of JSON, to a file or a pipe",
    )] = None
    on_finish: Annotated[str | None, option(
        "--on-finish", panel=REPORTS, metavar="CMD",
        help="Run this command when the run ends; its stdin is the run's summary",
    )] = None
    on_failure: Annotated[str | None, option(
        "--on-failure", panel=REPORTS, metavar="CMD",
        help="Run this command if the run's exit code is not 0; its stdin is the run's summary",
    )] = None
    notify: Annotated[bool, option(
        "--notify", panel=REPORTS,
        help="Notify you on the desktop of failed jobs, and when the run or queue has finished",
    )] = False
    hooks: Mapping[str, Any] | None = None


class RecordSettings(NamedTuple):
    """The journal that the run writes, or the recorded run that it continues.

    `command`: the command line, without values of variables. `recorded`: the options that the journal keeps
    for a resume. Only on a resume: `again` names the options given this time, and `given_again` holds the job
    options among them.
    """

    run_dir: Annotated[str | None, option(
        "--run-dir", panel=RECORD, metavar="DIR", read=values.directory,
        help="Keep the journal and the output of the run in this directory",
    )] = None
    no_journal: Annotated[bool, option(
        "--no-journal", panel=RECORD,
        help="Keep no journal: the run can't be resumed or shown later",
    )] = False
    durable: Annotated[bool, option(
        "--durable", panel=RECORD,
        help="Call fsync on the journal after every write (default: once a second)",
    )] = False
    resume: str | None = None
    failed: bool = False
    serve: str | None = None
    command: str = ""
    given_again: Mapping[str, Any] = {}
    again: frozenset[str] = frozenset()
    recorded: Mapping[str, Any] = {}


class PlaceSettings(NamedTuple):
    """Where the jobs run: the directory, this machine or a cluster, and the load that is allowed there."""

    cwd: Annotated[str | None, option(
        "-C", "--cwd", panel=INPUT, metavar="DIR", read=values.directory,
        help="Directory where the jobs start",
    )] = None
    dry_run: Annotated[bool, option(
        "--dry-run", panel=INPUT,
        help="Print the commands in the order they would start (with --tag: and the ids); run nothing",
    )] = False
    load: Annotated[str | None, option(
        "--load", panel=SCHEDULING, metavar="MAX", read=values.load,
        help="Start no job while MAX or more processes run on this machine: 8, 1.5, or 80% of the CPUs",
    )] = None
    memfree: Annotated[int | None, option(
        "--memfree", panel=SCHEDULING, metavar="SIZE", read=values.size,
        help="Start no job while less than SIZE of memory is free: 2G",
    )] = None
    noswap: Annotated[bool, option(
        "--noswap", panel=SCHEDULING,
        help="Start no job while this machine swaps memory in and out",
    )] = False
    require_watchdog: Annotated[bool, option(
        "--require-watchdog", panel=FAILURE,
        help="Exit with 4 if no watchdog can end the jobs after a kill -9 of pqrun",
    )] = False
    on: Annotated[str, option(
        "--on", panel=PLACE, metavar="PLACE", read=values.place,
        help="Where to run the jobs: local, dask://HOST:PORT or tls://HOST:PORT",
    )] = "local"
    tls_ca: Annotated[str | None, option(
        "--tls-ca", panel=PLACE, metavar="FILE",
        help="CA certificates that verify the cluster (for tls://)",
    )] = None
    tls_cert: Annotated[str | None, option(
        "--tls-cert", panel=PLACE, metavar="FILE",
        help="Your certificate (for tls://)",
    )] = None
    tls_key: Annotated[str | None, option(
        "--tls-key", panel=PLACE, metavar="FILE",
        help="The private key of your certificate (for tls://)",
    )] = None
    insecure: Annotated[bool, option(
        "--insecure", panel=PLACE,
        help="Connect to a cluster on another machine without TLS",
    )] = False


# fmt: on
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

    def with_values(self, values: Mapping[str, Any]) -> "Settings":
        """Return the settings with these values of fields, each put into the group that has the field."""
        changed: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            changed.setdefault(GROUP_OF[name], {})[name] = value
        return self._replace(
            **{group: getattr(self, group)._replace(**new) for group, new in changed.items()}
        )


GROUP_OF = {name: group for group, default in Settings._field_defaults.items() for name in default._fields}
"""The group of each field."""
