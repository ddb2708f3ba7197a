# SPDX-License-Identifier: LGPL-3.0-or-later
"""The options of the commands that run or add jobs.

Most options of a run are fields of `core/settings.py`. Here are those of jobs, and those that are not a field
as they are.
"""

from functools import cache
from typing import Annotated, Any, ClassVar, NamedTuple

from pqrun.cli.declarations import DeclaredOption, OptionGroup, options_of
from pqrun.core import values
from pqrun.core import values as kinds
from pqrun.core.job import Pool, Priority
from pqrun.core.option_spec import (
    FAILURE,
    INPUT,
    OUTPUT,
    RECORD,
    SCHEDULING,
    TIME,
    OptionSpec,
    choice,
    option,
)
from pqrun.core.settings import (
    REPORT_FILES,
    InputSettings,
    LimitSettings,
    OutputSettings,
    PlaceSettings,
    RecordSettings,
    ReportSettings,
)


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
    """Options for reports of a recorded run. The variables are meant for runs, so they don't set these."""

    @classmethod
    @cache
    def declared(cls) -> dict[str, DeclaredOption]:
        """Return the options of reports that are files."""
        options = options_of(ReportSettings)
        return {
            name: options[name]._replace(flag=options[name].flag._replace(variable=None))
            for name in REPORT_FILES
        }


class RunOptions(JobOptions):
    """Options of a run."""

    settings: ClassVar[tuple[type[NamedTuple], ...]] = (
        LimitSettings, InputSettings, OutputSettings, ReportSettings, RecordSettings, PlaceSettings,
    )  # fmt: skip

    pool: Annotated[
        list[str] | None,
        option(
            "--pool",
            help="Share N units of a resource between the jobs; repeatable",
            panel=SCHEDULING,
            metavar="NAME=N",
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
    output: Annotated[
        str | None,
        option("--output", help="Print output when a job ends (group), line by line (line), unchanged (raw) or never (none)", panel=OUTPUT, metavar="MODE", read=choice("group", "line", "raw", "none")),
    ] = None  # fmt: skip


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
