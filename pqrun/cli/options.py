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
            help="Wait at least so long between starts",
            panel=SCHEDULING,
            metavar="DUR",
            read=values.duration,
        ),
    ] = None
    rate: Annotated[
        StartRate | None,
        option(
            "--rate",
            help="Start no more than N jobs in any such time, as in 50/1m",
            panel=SCHEDULING,
            metavar="N/DUR",
            read=kinds.rate,
        ),
    ] = None
    load: Annotated[
        str | None,
        option(
            "--load",
            help="Start nothing while so many processes run here: 8, 1.5 or 80% of the CPUs",
            panel=SCHEDULING,
            metavar="MAX",
            read=kinds.load,
        ),
    ] = None
    memfree: Annotated[
        int | None,
        option(
            "--memfree",
            help="Start nothing while less memory is free, as in 2G",
            panel=SCHEDULING,
            metavar="SIZE",
            read=values.size,
        ),
    ] = None
    shard: Annotated[
        Shard | None,
        option(
            "--shard",
            help="Only the I-th of N parts of the jobs, as in 1/4; needs come along",
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
        option("--on", help="Where jobs run: local, dask://HOST:PORT or tls://HOST:PORT", panel=PLACE, metavar="PLACE", read=place),
    ] = LOCAL  # fmt: skip
    tls_ca: Annotated[
        str | None,
        option("--tls-ca", help="With tls://: who signs the cluster's certificates", panel=PLACE, metavar="FILE"),
    ] = None  # fmt: skip
    tls_cert: Annotated[
        str | None, option("--tls-cert", help="With tls://: our certificate", panel=PLACE, metavar="FILE")
    ] = None
    tls_key: Annotated[
        str | None, option("--tls-key", help="With tls://: our key", panel=PLACE, metavar="FILE")
    ] = None
    insecure: Annotated[
        bool,
        option("--insecure", help="Talk to a cluster on another machine without TLS", panel=PLACE),
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
        option("-p", "--priority", help="critical, high, normal or low", panel=SCHEDULING, metavar="LEVEL", read=values.priority),
    ] = None  # fmt: skip
    retries: Annotated[
        int | None,
        option("-r", "--retries", help="Try a failed job again up to N more times (N+1 attempts)", panel=FAILURE, metavar="N", read=kinds.retries),
    ] = None  # fmt: skip
    retry_delay: Annotated[
        float | None,
        option("--retry-delay", help="Wait before the first retry [1s]", panel=FAILURE, metavar="DUR", read=values.duration),
    ] = None  # fmt: skip
    max_delay: Annotated[
        float | None,
        option("--max-delay", help="Never wait longer than this between attempts [1m]", panel=FAILURE, metavar="DUR", read=values.duration),
    ] = None  # fmt: skip
    backoff: Annotated[
        str | None,
        option("--backoff", help="How the wait grows: exponential, linear or constant", panel=FAILURE, metavar="HOW", read=choice("exponential", "linear", "constant")),
    ] = None  # fmt: skip
    retry_on: Annotated[
        frozenset[Any] | None,
        option("--retry-on", help="Retry only after these: exit codes, signals, timeout, signal, any", panel=FAILURE, metavar="LIST", read=values.code_list),
    ] = None  # fmt: skip
    permanent: Annotated[
        frozenset[Any] | None,
        option("--permanent", help="Never retry after these", panel=FAILURE, metavar="LIST", read=values.code_list),
    ] = None  # fmt: skip
    timeout: Annotated[
        float | None,
        option("-t", "--timeout", help="Stop a job that takes longer; 0: no limit", panel=TIME, metavar="DUR", read=values.duration),
    ] = None  # fmt: skip
    idle_timeout: Annotated[
        float | None,
        option("--idle-timeout", help="Stop a job that prints nothing for so long", panel=TIME, metavar="DUR", read=values.duration),
    ] = None  # fmt: skip
    grace: Annotated[
        float | None,
        option("--grace", help="From asking a job to end to killing it [5s]", panel=TIME, metavar="DUR", read=values.duration),
    ] = None  # fmt: skip
    signal: Annotated[
        str | None,
        option("--signal", help="How to ask a job to end [TERM]", panel=TIME, metavar="SIG", read=values.signal_name),
    ] = None  # fmt: skip
    env: Annotated[
        list[str] | None,
        option("--env", help="A variable for all jobs; may be repeated", panel=INPUT, metavar="K=V"),
    ] = None
    shell: Annotated[
        str | None,
        option("--shell", help="What runs the commands ['/bin/sh -c']", panel=INPUT, metavar="WORDS"),
    ] = None


class ReportOptions(OptionGroup):
    """Options for files that tell other programs how a run goes or went."""

    junit: Annotated[
        str | None, option("--junit", help="JUnit XML, for CI services", panel=REPORTS, metavar="FILE")
    ] = None
    trace: Annotated[
        str | None,
        option(
            "--trace",
            help="Chrome trace events: a timeline for ui.perfetto.dev",
            panel=REPORTS,
            metavar="FILE",
        ),
    ] = None
    summary: Annotated[
        str | None, option("--summary", help="The run as a page of Markdown", panel=REPORTS, metavar="FILE")
    ] = None
    metrics: Annotated[
        str | None,
        option(
            "--metrics", help="Numbers for Prometheus's textfile collector", panel=REPORTS, metavar="FILE"
        ),
    ] = None
    joblog: Annotated[
        str | None, option("--joblog", help="GNU parallel's job log", panel=REPORTS, metavar="FILE")
    ] = None
    events: Annotated[
        str | None,
        option("--events", help="What happens, as JSON lines; a pipe will do", panel=REPORTS, metavar="FILE"),
    ] = None


class RunOptions(PlaceOptions, PacingOptions, ReportOptions, JobOptions):
    """Options of a run."""

    jobs: Annotated[
        str | None,
        option("-j", "--jobs", help="So many at a time: N, N%, +N, -N or auto [usable CPUs]", panel=SCHEDULING, metavar="N", read=kinds.workers),
    ] = None  # fmt: skip
    max_queue: Annotated[
        int | None,
        option("--max-queue", help="Jobs to read ahead, and apart from them added ones that wait [1000]", panel=SCHEDULING, metavar="N", read=CONVERTERS["max_queue"]),
    ] = None  # fmt: skip
    pool: Annotated[
        list[str] | None,
        option(
            "--pool", help="A resource that jobs share; may be repeated", panel=SCHEDULING, metavar="NAME=N"
        ),
    ] = None
    only: Annotated[
        list[str] | None,
        option("--only", help="Only these jobs and what they need: id, glob, priority:x, tag:x", panel=SCHEDULING, metavar="SELECTOR"),
    ] = None  # fmt: skip
    skip: Annotated[
        list[str] | None,
        option("--skip", help="Not these jobs, nor what needs them", panel=SCHEDULING, metavar="SELECTOR"),
    ] = None
    preset: Annotated[
        str | None,
        option("--preset", help="small, medium or large: 2/100/5m, 10/1000/30m, 50/10000/1h workers/queue/timeout", panel=SCHEDULING, metavar="SIZE", read=choice("small", "medium", "large")),
    ] = None  # fmt: skip
    fail_fast: Annotated[
        bool,
        option("--fail-fast", help="Stop everything at the first failure (--halt now,fail=1)", panel=FAILURE),
    ] = False
    halt: Annotated[
        HaltRule | None,
        option("--halt", help="Stop early, as in now,fail=1 or soon,done=10%", panel=FAILURE, metavar="WHEN", read=kinds.halt),
    ] = None  # fmt: skip
    deadline: Annotated[
        float | None,
        option("--deadline", help="Stop the whole run after this", panel=TIME, metavar="DUR", read=values.duration),
    ] = None  # fmt: skip
    output: Annotated[
        str | None,
        option("--output", help="group: when a job ends [default]; line: as lines come; raw: straight through; none", panel=OUTPUT, metavar="HOW", read=choice("group", "line", "raw", "none")),
    ] = None  # fmt: skip
    keep_order: Annotated[
        bool, option("-k", "--keep-order", help="Print in the order of the jobs", panel=OUTPUT)
    ] = False
    tag: Annotated[
        bool, option("--tag", help="Begin each line of output with the job's id", panel=OUTPUT)
    ] = False
    show: Annotated[
        str, option("--show", help="all, or failed: only what failed jobs printed", panel=OUTPUT, metavar="WHOSE", read=choice("all", "failed"))
    ] = "all"  # fmt: skip
    results: Annotated[
        str | None, option("--results", help="Write DIR/SEQ-ID/{stdout,stderr,meta.json} for each job", panel=OUTPUT, metavar="DIR")
    ] = None  # fmt: skip
    json: Annotated[bool, option("--json", help="One JSON document on stdout at the end", panel=OUTPUT)] = (
        False
    )
    progress: Annotated[
        str,
        option("--progress", help="auto, live (a table), plain (a line a job) or none", panel=SCREEN, metavar="HOW", read=choice("auto", "live", "plain", "none")),
    ] = "auto"  # fmt: skip
    color: Annotated[
        str, option("--color", help="auto, always or never", panel=SCREEN, metavar="WHEN", read=choice("auto", "always", "never"))
    ] = "auto"  # fmt: skip
    ci: Annotated[
        str, option("--ci", help="Marks for a CI log: auto, github, gitlab or none", panel=SCREEN, metavar="WHOSE", read=choice("auto", "github", "gitlab", "none"))
    ] = "auto"  # fmt: skip
    metrics_listen: Annotated[
        str | None,
        option("--metrics-listen", help="Answer Prometheus at this address while the run lives", panel=REPORTS, metavar="ADDR"),
    ] = None  # fmt: skip
    on_finish: Annotated[
        str | None,
        option("--on-finish", help="A command to run at the end; the summary is its stdin", panel=REPORTS, metavar="CMD"),
    ] = None  # fmt: skip
    on_failure: Annotated[
        str | None,
        option("--on-failure", help="The same, unless all went well", panel=REPORTS, metavar="CMD"),
    ] = None
    quiet: Annotated[bool, option("-q", "--quiet", help="Say only what went wrong", panel=SCREEN)] = False
    verbose: Annotated[bool, option("-v", "--verbose", help="Say also when a job starts", panel=SCREEN)] = (
        False
    )
    dry_run: Annotated[
        bool, option("--dry-run", help="Print the commands in starting order; run nothing", panel=INPUT)
    ] = False
    run_dir: Annotated[
        str | None,
        option("--run-dir", help="Keep the run's record in this directory", panel=RECORD, metavar="DIR"),
    ] = None
    no_journal: Annotated[
        bool, option("--no-journal", help="Keep no record: nothing can be resumed", panel=RECORD)
    ] = False
    durable: Annotated[
        bool, option("--durable", help="Make sure of the disk at every step, not once a second", panel=RECORD)
    ] = False
    require_watchdog: Annotated[
        bool,
        option("--require-watchdog", help="Run nothing that would outlive a kill -9 of pqrun: exit 4 if no watchdog can be had", panel=FAILURE),
    ] = False  # fmt: skip
    cwd: Annotated[
        str | None, option("-C", "--cwd", help="Start the jobs in this directory", panel=INPUT, metavar="DIR")
    ] = None


class ListOptions(RunOptions):
    """Options of `run`."""

    format: Annotated[
        str | None,
        option("--format", help="yaml, json or lines", panel=INPUT, metavar="KIND", read=choice("yaml", "json", "lines")),
    ] = None  # fmt: skip
    null: Annotated[bool, option("-0", "--null", help="Commands end in NUL, not newline", panel=INPUT)] = (
        False
    )
    resume: Annotated[
        str | None,
        OptionSpec(("--resume",), "Go on from that run with this, edited, list", RECORD, metavar="RUN"),
    ] = None


class EachOptions(RunOptions):
    """Options of `each`."""

    arg_file: Annotated[
        list[str] | None,
        OptionSpec(("-a", "--arg-file"), "A file of arguments, one a line; may be repeated", INPUT, "FILE"),
    ] = None
    null: Annotated[bool, OptionSpec(("-0", "--null"), "Arguments end in NUL, not newline", INPUT)] = False
    delimiter: Annotated[
        str | None,
        OptionSpec(("-d", "--delimiter"), "What separates arguments, instead of newline", INPUT, "TEXT"),
    ] = None
    colsep: Annotated[
        str | None,
        OptionSpec(("--colsep",), "What separates the columns {1}, {2}… of an argument", INPUT, "REGEX"),
    ] = None
    header: Annotated[
        bool,
        OptionSpec(("--header",), "The first argument of each source names its columns, as in {name}", INPUT),
    ] = False
