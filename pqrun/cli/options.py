# SPDX-License-Identifier: LGPL-3.0-or-later
"""Options as data: names, help text, parser. Both parsers of the command line read these declarations.

A class of options declares each option once, as an annotated attribute with its default.
"""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

from pqrun.core import values
from pqrun.core import values as kinds
from pqrun.core.job import HaltRule, Pool, Priority, Shard, StartRate
from pqrun.core.values import CONVERTERS

SCHEDULING, FAILURE, TIME, OUTPUT, SCREEN, RECORD, INPUT, REPORTS, PLACE = (
    "Scheduling", "Failure", "Time", "Output", "Screen", "Record", "Input", "Reports", "Cluster",
)  # fmt: skip
FOR_JOBS = {"PQRUN_PRIORITY", "PQRUN_SLOT", "PQRUN_SEQ", "PQRUN_REPORT", "PQRUN_SOCKET", "PQRUN_ENV"}


class OptionSpec(NamedTuple):
    """One option. `variable`: an environment variable that sets it. `read`: its parser (ValueError)."""

    names: tuple[str, ...]
    help: str
    panel: str
    metavar: str | None = None
    read: Callable[[str], Any] | None = None
    variable: str | None = None


class DeclaredOption(NamedTuple):
    """An option of a class. `kind`: the type of its value, for example `bool` or a list."""

    flag: OptionSpec
    kind: Any
    default: Any

    @property
    def is_switch(self) -> bool:
        """Whether the option has no value."""
        return self.kind is bool

    @property
    def is_repeated(self) -> bool:
        """Whether the option may be repeated, each time with another value."""
        return bool(self.kind == list[str] | None)


class OptionGroup:
    """The options of a command line: an attribute for each, with its default if it was not given."""

    def __init__(self, **given: Any) -> None:
        unknown = given.keys() - self.declared().keys()
        if unknown:
            raise TypeError(f"no such options: {', '.join(sorted(unknown))}")
        vars(self).update(given)

    @classmethod
    def declared(cls) -> dict[str, DeclaredOption]:
        """Return all options, those of base classes first."""
        found: dict[str, DeclaredOption] = {}
        for kind in reversed(cls.__mro__):
            # `inspect.get_annotations` does the same, but `inspect` takes 8 ms to load.
            for name, hint in kind.__dict__.get("__annotations__", {}).items():  # noqa: RUF063
                found[name] = DeclaredOption(hint.__metadata__[0], hint.__origin__, getattr(cls, name))
        return found


def option(
    *names: str, help: str, panel: str, metavar: str | None = None, read: Callable[[str], Any] | None = None
) -> OptionSpec:
    """Return an option. A variable sets it as well, unless jobs get a variable of that name."""
    # In a class body, an option declared before may hide the name of its parser.
    assert read is None or callable(read)
    long = next(name for name in names if name.startswith("--"))
    variable = "PQRUN_" + long[2:].upper().replace("-", "_")
    return OptionSpec(names, help, panel, metavar, read, None if variable in FOR_JOBS else variable)


def choice(*accepted: str) -> Callable[[str], str]:
    """Return a parser that accepts these words."""
    return lambda text: values.one_of(text, *accepted)


class PacingOptions(OptionGroup):
    """Options for the pace of a run, and for the part of the jobs that this machine takes."""

    delay: Annotated[
        float | None,
        option(
            "--delay",
            help="Wait at least DUR between two starts",
            panel=SCHEDULING,
            metavar="DUR",
            read=values.duration,
        ),
    ] = None
    rate: Annotated[
        StartRate | None,
        option(
            "--rate",
            help="Start at most N jobs in any DUR: 50/1m",
            panel=SCHEDULING,
            metavar="N/DUR",
            read=kinds.rate,
        ),
    ] = None
    load: Annotated[
        str | None,
        option(
            "--load",
            help="Start no job while MAX or more processes run on this machine: 8, 1.5, or 80% of the CPUs",
            panel=SCHEDULING,
            metavar="MAX",
            read=kinds.load,
        ),
    ] = None
    memfree: Annotated[
        int | None,
        option(
            "--memfree",
            help="Start no job while less than SIZE of memory is free: 2G",
            panel=SCHEDULING,
            metavar="SIZE",
            read=values.size,
        ),
    ] = None
    shard: Annotated[
        Shard | None,
        option(
            "--shard",
            help="Run only part I of N of the jobs, and the jobs that they need: 1/4",
            panel=SCHEDULING,
            metavar="I/N",
            read=kinds.shard,
        ),
    ] = None


LOCAL = "local"


def place(text: str) -> str:
    """Check the value of `--on`. The module for clusters is loaded only if one is named."""
    if text == LOCAL:
        return text
    from pqrun.executors.dask.address import check_address

    return check_address(text)


class PlaceOptions(OptionGroup):
    """Options for the place where jobs run: this machine, or a cluster."""

    on: Annotated[
        str,
        option("--on", help="Where to run the jobs: local, dask://HOST:PORT or tls://HOST:PORT", panel=PLACE, metavar="PLACE", read=place),
    ] = LOCAL  # fmt: skip
    tls_ca: Annotated[
        str | None,
        option("--tls-ca", help="CA certificates that verify the cluster (for tls://)", panel=PLACE, metavar="FILE"),
    ] = None  # fmt: skip
    tls_cert: Annotated[
        str | None, option("--tls-cert", help="Your certificate (for tls://)", panel=PLACE, metavar="FILE")
    ] = None
    tls_key: Annotated[
        str | None,
        option(
            "--tls-key", help="The private key of your certificate (for tls://)", panel=PLACE, metavar="FILE"
        ),
    ] = None
    insecure: Annotated[
        bool,
        option("--insecure", help="Connect to a cluster on another machine without TLS", panel=PLACE),
    ] = False


def pool(text: str) -> Pool:
    """Parse `NAME=N`; raise ValueError if the text is something else."""
    name, equals, number = text.partition("=")
    if not equals or not name:
        raise ValueError(f"not NAME=N: `{text}`")
    return Pool(name, values.whole_number(number, 1, 10**6))


class JobOptions(OptionGroup):
    """Options for all jobs that set no other value themselves."""

    priority: Annotated[
        Priority | None,
        option("-p", "--priority", help="Priority: critical, high, normal or low (default: normal)", panel=SCHEDULING, metavar="LEVEL", read=values.priority),
    ] = None  # fmt: skip
    retries: Annotated[
        int | None,
        option("-r", "--retries", help="Retry a failed job up to N times (default: 0)", panel=FAILURE, metavar="N", read=kinds.retries),
    ] = None  # fmt: skip
    retry_delay: Annotated[
        float | None,
        option("--retry-delay", help="Time to wait before the first retry (default: 1s)", panel=FAILURE, metavar="DUR", read=values.duration),
    ] = None  # fmt: skip
    max_delay: Annotated[
        float | None,
        option("--max-delay", help="Longest time to wait between two attempts (default: 1m)", panel=FAILURE, metavar="DUR", read=values.duration),
    ] = None  # fmt: skip
    backoff: Annotated[
        str | None,
        option("--backoff", help="How the wait grows from retry to retry: exponential, linear or constant (default: exponential)", panel=FAILURE, metavar="MODE", read=choice("exponential", "linear", "constant")),
    ] = None  # fmt: skip
    retry_on: Annotated[
        frozenset[Any] | None,
        option("--retry-on", help="Retry only after these failures: exit codes, signal names, timeout, signal, any (default: any)", panel=FAILURE, metavar="LIST", read=values.code_list),
    ] = None  # fmt: skip
    permanent: Annotated[
        frozenset[Any] | None,
        option("--permanent", help="Never retry after these failures: exit codes, signal names, timeout, signal", panel=FAILURE, metavar="LIST", read=values.code_list),
    ] = None  # fmt: skip
    timeout: Annotated[
        float | None,
        option("-t", "--timeout", help="Time limit of one attempt; 0: none (default: none)", panel=TIME, metavar="DUR", read=values.duration),
    ] = None  # fmt: skip
    idle_timeout: Annotated[
        float | None,
        option("--idle-timeout", help="Stop an attempt that prints nothing for DUR; 0: never (default: never)", panel=TIME, metavar="DUR", read=values.duration),
    ] = None  # fmt: skip
    grace: Annotated[
        float | None,
        option("--grace", help="Time a job has to stop after --signal, before it is killed (default: 5s)", panel=TIME, metavar="DUR", read=values.duration),
    ] = None  # fmt: skip
    signal: Annotated[
        str | None,
        option("--signal", help="Signal that asks a job to stop (default: TERM)", panel=TIME, metavar="SIG", read=values.signal_name),
    ] = None  # fmt: skip
    env: Annotated[
        list[str] | None,
        option(
            "--env", help="Set an environment variable for all jobs; repeatable", panel=INPUT, metavar="K=V"
        ),
    ] = None
    shell: Annotated[
        str | None,
        option(
            "--shell",
            help="Shell that runs the commands (default: '/bin/sh -c')",
            panel=INPUT,
            metavar="SHELL",
        ),
    ] = None


class ReportOptions(OptionGroup):
    """Options for files that tell other programs how a run goes or went."""

    junit: Annotated[
        str | None,
        option("--junit", help="Write a JUnit XML report, for CI services", panel=REPORTS, metavar="FILE"),
    ] = None
    html: Annotated[
        str | None,
        option("--html", help="Write the run as a page for a browser", panel=REPORTS, metavar="FILE"),
    ] = None
    trace: Annotated[
        str | None,
        option(
            "--trace",
            help="Write a timeline in Chrome's trace format, for ui.perfetto.dev",
            panel=REPORTS,
            metavar="FILE",
        ),
    ] = None
    summary: Annotated[
        str | None,
        option("--summary", help="Write a summary of the run in Markdown", panel=REPORTS, metavar="FILE"),
    ] = None
    metrics: Annotated[
        str | None,
        option(
            "--metrics",
            help="Write metrics for Prometheus's textfile collector",
            panel=REPORTS,
            metavar="FILE",
        ),
    ] = None
    joblog: Annotated[
        str | None,
        option("--joblog", help="Write a job log in GNU parallel's format", panel=REPORTS, metavar="FILE"),
    ] = None
    events: Annotated[
        str | None,
        option(
            "--events",
            help="Write each event as a line of JSON, to a file or a pipe",
            panel=REPORTS,
            metavar="FILE",
        ),
    ] = None


class RunOptions(PlaceOptions, PacingOptions, ReportOptions, JobOptions):
    """Options of a run."""

    jobs: Annotated[
        str | None,
        option("-j", "--jobs", help="Run up to N jobs at a time: N, N%, +N, -N or auto (default: usable CPUs)", panel=SCHEDULING, metavar="N", read=kinds.workers),
    ] = None  # fmt: skip
    max_queue: Annotated[
        int | None,
        option("--max-queue", help="Read up to N jobs ahead, and let up to N added jobs wait (default: 1000)", panel=SCHEDULING, metavar="N", read=CONVERTERS["max_queue"]),
    ] = None  # fmt: skip
    pool: Annotated[
        list[str] | None,
        option(
            "--pool",
            help="Share N units of a resource between the jobs; repeatable",
            panel=SCHEDULING,
            metavar="NAME=N",
        ),
    ] = None
    only: Annotated[
        list[str] | None,
        option("--only", help="Run only these jobs and their needs: id, glob, priority:x, tag:x; repeatable", panel=SCHEDULING, metavar="SELECTOR"),
    ] = None  # fmt: skip
    skip: Annotated[
        list[str] | None,
        option(
            "--skip",
            help="Leave out these jobs and the jobs that need them; repeatable",
            panel=SCHEDULING,
            metavar="SELECTOR",
        ),
    ] = None
    preset: Annotated[
        str | None,
        option("--preset", help="Workers/queue/timeout: small 2/100/5m, medium 10/1000/30m, large 50/10000/1h", panel=SCHEDULING, metavar="SIZE", read=choice("small", "medium", "large")),
    ] = None  # fmt: skip
    fail_fast: Annotated[
        bool,
        option(
            "--fail-fast", help="Stop the run at the first failure (same as --halt now,fail=1)", panel=FAILURE
        ),
    ] = False
    halt: Annotated[
        HaltRule | None,
        option("--halt", help="Stop the run early: now,fail=1 or soon,done=10%", panel=FAILURE, metavar="RULE", read=kinds.halt),
    ] = None  # fmt: skip
    deadline: Annotated[
        float | None,
        option("--deadline", help="Stop the whole run after DUR", panel=TIME, metavar="DUR", read=values.duration),
    ] = None  # fmt: skip
    output: Annotated[
        str | None,
        option("--output", help="Print output when a job ends (group), line by line (line), unchanged (raw) or never (none)", panel=OUTPUT, metavar="MODE", read=choice("group", "line", "raw", "none")),
    ] = None  # fmt: skip
    keep_order: Annotated[
        bool, option("-k", "--keep-order", help="Print the output in the order of the jobs", panel=OUTPUT)
    ] = False
    tag: Annotated[
        bool, option("--tag", help="Put the job's id in front of each line of output", panel=OUTPUT)
    ] = False
    show: Annotated[
        str, option("--show", help="Print the output of all jobs, or only of failed ones: all or failed", panel=OUTPUT, metavar="SCOPE", read=choice("all", "failed"))
    ] = "all"  # fmt: skip
    results: Annotated[
        str | None, option("--results", help="Write each job's output to DIR/SEQ-ID/: stdout, stderr and meta.json", panel=OUTPUT, metavar="DIR")
    ] = None  # fmt: skip
    json: Annotated[
        bool, option("--json", help="Print the result as one JSON document on stdout", panel=OUTPUT)
    ] = False
    progress: Annotated[
        str,
        option("--progress", help="Progress display: auto, live (a table), plain (one line per job) or none", panel=SCREEN, metavar="MODE", read=choice("auto", "live", "plain", "none")),
    ] = "auto"  # fmt: skip
    color: Annotated[
        str, option("--color", help="Use colors: auto, always or never", panel=SCREEN, metavar="MODE", read=choice("auto", "always", "never"))
    ] = "auto"  # fmt: skip
    ci: Annotated[
        str, option("--ci", help="Fold and annotate output for a CI log: auto, github, gitlab or none", panel=SCREEN, metavar="MODE", read=choice("auto", "github", "gitlab", "none"))
    ] = "auto"  # fmt: skip
    metrics_listen: Annotated[
        str | None,
        option("--metrics-listen", help="Serve metrics to Prometheus at ADDR during the run", panel=REPORTS, metavar="ADDR"),
    ] = None  # fmt: skip
    on_finish: Annotated[
        str | None,
        option("--on-finish", help="Run this command when the run ends; its stdin is the run's summary", panel=REPORTS, metavar="CMD"),
    ] = None  # fmt: skip
    on_failure: Annotated[
        str | None,
        option(
            "--on-failure",
            help="Run this command if the run's exit code is not 0; its stdin is the run's summary",
            panel=REPORTS,
            metavar="CMD",
        ),
    ] = None
    quiet: Annotated[bool, option("-q", "--quiet", help="Print only errors", panel=SCREEN)] = False
    verbose: Annotated[
        bool, option("-v", "--verbose", help="Print a line when a job starts, too", panel=SCREEN)
    ] = False
    dry_run: Annotated[
        bool,
        option(
            "--dry-run", help="Print the commands in the order they would start; run nothing", panel=INPUT
        ),
    ] = False
    run_dir: Annotated[
        str | None,
        option(
            "--run-dir",
            help="Keep the journal and the output of the run in this directory",
            panel=RECORD,
            metavar="DIR",
        ),
    ] = None
    no_journal: Annotated[
        bool,
        option("--no-journal", help="Keep no journal: the run can't be resumed or shown later", panel=RECORD),
    ] = False
    durable: Annotated[
        bool,
        option(
            "--durable",
            help="Call fsync on the journal after every write (default: once a second)",
            panel=RECORD,
        ),
    ] = False
    require_watchdog: Annotated[
        bool,
        option("--require-watchdog", help="Exit with 4 if no watchdog can end the jobs after a kill -9 of pqrun", panel=FAILURE),
    ] = False  # fmt: skip
    cwd: Annotated[
        str | None, option("-C", "--cwd", help="Directory where the jobs start", panel=INPUT, metavar="DIR")
    ] = None


class ListOptions(RunOptions):
    """Options of `run`."""

    format: Annotated[
        str | None,
        option("--format", help="Format of the input: yaml, json or lines (default: by name and content)", panel=INPUT, metavar="KIND", read=choice("yaml", "json", "lines")),
    ] = None  # fmt: skip
    null: Annotated[
        bool, option("-0", "--null", help="Commands end in NUL instead of newline", panel=INPUT)
    ] = False
    resume: Annotated[
        str | None,
        OptionSpec(("--resume",), "Continue a run with this edited list of jobs", RECORD, metavar="RUN"),
    ] = None


class EachOptions(RunOptions):
    """Options of `each`."""

    arg_file: Annotated[
        list[str] | None,
        OptionSpec(
            ("-a", "--arg-file"), "Read arguments from a file, one per line; repeatable", INPUT, "FILE"
        ),
    ] = None
    null: Annotated[bool, OptionSpec(("-0", "--null"), "Arguments end in NUL instead of newline", INPUT)] = (
        False
    )
    delimiter: Annotated[
        str | None,
        OptionSpec(("-d", "--delimiter"), "Arguments end in TEXT instead of newline", INPUT, "TEXT"),
    ] = None
    colsep: Annotated[
        str | None,
        OptionSpec(("--colsep",), "Split each argument at REGEX into the columns {1}, {2}…", INPUT, "REGEX"),
    ] = None
    header: Annotated[
        bool,
        OptionSpec(("--header",), "Use the first argument of each source as column names, for {name}", INPUT),
    ] = False
