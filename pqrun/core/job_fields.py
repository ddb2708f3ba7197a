# SPDX-License-Identifier: LGPL-3.0-or-later
"""The one table of a job's fields: names, type, default, help, and the option that sets each.

The reader of job files, the comment of a command line, the layers of settings, the options of `run`, `each`, `add`
and `set`, the check of jobs from the socket, the JSON Schema and the reference pages are all made from these tables.
A field is stored under `attribute` in `JobSpec` or, if that has no such field, in `Command`. Plain data only, because
every `run` loads this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from pqrun.core import field_types as types
from pqrun.core import values
from pqrun.core.job import Command, JobSpec, RetryPolicy
from pqrun.core.option_spec import FAILURE, INPUT, SCHEDULING, TIME
from pqrun.core.values import BACKOFFS


class FieldOption(NamedTuple):
    """The option that sets a field.

    `commands` have the option; `run` includes `each`, `resume` and `serve`, and a variable that sets the option.
    Without `metavar` the option is a switch that sets `switched`. `read` parses the text if the field's type does
    not. The value of a `raw` option stays a text, or the list of the texts if `repeated`, because the journal records
    the options of a run; `read` is called later. `single`: `add -f`, which adds many jobs, refuses the option.
    """

    names: tuple[str, ...]
    help: str
    panel: str
    metavar: str | None = None
    commands: tuple[str, ...] = ("add",)
    read: Callable[[Any], Any] | None = None
    raw: bool = False
    repeated: bool = False
    switched: bool = True
    single: bool = False

    @property
    def attribute(self) -> str:
        """The name of the option's attribute: its long name as an identifier, which `in` is not."""
        name = self.names[-1][2:].replace("-", "_")
        return "in_" if name == "in" else name


class FieldSpec(NamedTuple):
    """A field. `about` explains it; `example` and `default` are written as in a job file.

    `stored`: the name in JobSpec or Command, if it is another one. `flat`: the name outside of a `retries` map.
    `comment`: whether a ` # pqrun:` comment may set the field. `shown`: whether `--dry-run` prints a value that differs
    from the default. `other_option` sets the same field in another way; only one of both may be given.
    """

    name: str
    type: types.FieldType
    about: str
    example: str
    also: tuple[str, ...] = ()
    default: str = ""
    comment: bool = False
    stored: str = ""
    flat: str = ""
    shown: bool = False
    option: FieldOption | None = None
    other_option: FieldOption | None = None

    @property
    def attribute(self) -> str:
        """The name of the field's value in JobSpec, Command or RetryPolicy, and in a layer of settings."""
        return self.stored or self.name

    @property
    def flat_name(self) -> str:
        """The name of the field where no map is possible: in a comment, and in a request of `set`."""
        return self.flat or self.name


PANELS = (SCHEDULING, FAILURE, TIME, INPUT)
FOR_ALL: Final = ("run", "add")
CHANGEABLE: Final = ("run", "add", "set")

RETRY_FIELDS: Final = (
    FieldSpec("max", types.COUNT, "The maximum number of retries after the first attempt.", "5", default="0",
        comment=True, flat="retries",
        option=FieldOption(("-r", "--retries"), "Retry a failed job up to N times (default: 0)", FAILURE, "N", CHANGEABLE)),
    FieldSpec("delay", types.DURATION, "The time to wait before the first retry.", "1s", default="1s",
        comment=True, flat="retry_delay",
        option=FieldOption(("--retry-delay",), "Time to wait before the first retry (default: 1s)", FAILURE, "DUR", FOR_ALL)),
    FieldSpec("backoff", types.choice(*BACKOFFS), "How the wait before the n-th retry grows: `exponential` (delay × "
        "factor^(n−1)), `linear` (delay × n) or `constant`.", "exponential", default="exponential", comment=True,
        option=FieldOption(("--backoff",), "How the wait grows from retry to retry: exponential, linear or constant "
            "(default: exponential)", FAILURE, "MODE", FOR_ALL)),
    FieldSpec("factor", types.number(0, 1000), "With `exponential`: the number by which the wait is multiplied after each retry.",
        "2", default="2", comment=True,
        option=FieldOption(("--factor",), "With exponential backoff, multiply the wait by N after each retry (default: 2)",
            FAILURE, "N")),
    FieldSpec("max_delay", types.DURATION, "The longest time to wait between two attempts.", "1m", default="1m", comment=True,
        option=FieldOption(("--max-delay",), "Longest time to wait between two attempts (default: 1m)", FAILURE, "DUR",
            FOR_ALL)),
    FieldSpec("jitter", types.number(0, 1), "Varies each wait at random by up to this fraction, up or down.", "0.1",
        default="0", comment=True,
        option=FieldOption(("--jitter",), "Vary each wait at random by this fraction: 0.1", FAILURE, "N")),
    FieldSpec("on", types.CODES, "The failures that are retried: exit codes, signal names, and the words `timeout`, "
        "`signal`, `any`.", "[5, 6, timeout]", default="any", comment=True, flat="retry_on",
        option=FieldOption(("--retry-on",), "Retry only after these failures: exit codes, signal names, timeout, signal, "
            "any (default: any)", FAILURE, "LIST", FOR_ALL)),
    FieldSpec("permanent", types.CODES, "The failures that are never retried, written as for `on`. Exit codes 126 and 127 "
        "are not retried either, unless `on` lists them.", "[22]", default="none", comment=True,
        option=FieldOption(("--permanent",), "Never retry after these failures: exit codes, signal names, timeout, signal",
            FAILURE, "LIST", FOR_ALL)),
)  # fmt: skip

LOOP_FIELDS: Final = (
    FieldSpec("glob", types.PATH, "Runs the job once for each file or directory that matches this pattern, sorted; `**` "
        "matches any number of directories. The pattern is relative to the directory where the job starts.",
        '"*.png"'),
    FieldSpec("lines", types.PATH, "Runs the job once for each line of this file that is not blank.", "hosts.txt"),
    FieldSpec("values", types.VALUES, "Runs the job once for each value of this list.",
        "[small, large]"),
    FieldSpec("as", types.VARIABLE, "The environment variable that holds the value.",
        "PICTURE", default="`FILE`, `LINE` or `VALUE`"),
)  # fmt: skip

HOOK_FIELDS: Final = (
    FieldSpec("on_finish", types.RUN, "Runs when the run ends, as `--on-finish`: a string is run by `/bin/sh -c`; a "
        "list is a program and its arguments.", "./tell-us"),
    FieldSpec("on_failure", types.RUN, "Runs before `on_finish` if the exit code of the run is not 0, as `--on-failure`.",
        "[./tell-us, --loudly]"),
    FieldSpec("timeout", types.DURATION, "The time limit of each hook; 0 is none.", "30s", default="1m"),
)  # fmt: skip

JOB_FIELDS: Final = (
    FieldSpec("id", types.ID, "A unique name of 1 to 200 printable characters.", "fetch",
        also=("name",), default="the job's number", comment=True,
        option=FieldOption(("--id",), "Id of the job (default: its number)", INPUT, "ID", single=True)),
    FieldSpec("run", types.RUN, "The command: a string is run by the shell; a list is a program and its arguments, "
        "run without a shell.", "make test", also=("command", "cmd")),
    FieldSpec("env", types.ENV, "Environment variables, added to those of pqrun itself. In a value, `$NAME` and `${NAME}` "
        "insert another variable; `$$` is a dollar sign.", "{LANG: C.UTF-8}",
        option=FieldOption(("--env",), "Set an environment variable of the jobs; repeatable", INPUT, "K=V", FOR_ALL,
            values.env_pairs, raw=True, repeated=True)),
    FieldSpec("cwd", types.FILE, "The directory where the job starts, relative to the directory where you started pqrun.",
        "app", comment=True,
        option=FieldOption(("-C", "--cwd"), "Directory where the job starts (default: the current directory)", INPUT, "DIR",
            read=str, single=True)),
    FieldSpec("priority", types.PRIORITY,
        "`critical`, `high`, `normal` or `low`. Of the jobs that are ready, those with "
        "the highest priority start first.", "high", default="normal", comment=True,
        option=FieldOption(("-p", "--priority"), "Priority: critical, high, normal or low (default: normal)", SCHEDULING,
            "LEVEL", CHANGEABLE)),
    FieldSpec("needs", types.NEEDS,
        "Jobs that must end `ok` before this job starts: ids or patterns (`fetch-*`). "
        "The id of a job with `matrix` or `for` means all jobs made from it. If a needed job does not end `ok`, "
        "this job is skipped. `{ended: […]}` waits until the jobs end in any way, `{failed: […]}` until they "
        "fail.",
        "[fetch]", comment=True,
        option=FieldOption(("--needs",), "Start after these jobs are ok, or have ended (ended:ID) or failed (failed:ID); '': none",
            SCHEDULING, "ID,…", ("add", "set"), types.needed)),
    FieldSpec("nice", types.optional(types.integer(-20, 19)), "The niceness of the job's processes: 19 leaves the CPUs to "
        "all others, -20 takes them first. A niceness below that of pqrun needs the privilege to raise priorities "
        "(`CAP_SYS_NICE`).", "5", default="that of pqrun", comment=True, shown=True,
        option=FieldOption(("--nice",), "Niceness of the job's processes, -20 to 19 (default: that of pqrun)", SCHEDULING,
            "N", CHANGEABLE)),
    FieldSpec("not_before", types.START_TIME, "The job does not start before this time: `22:00` (when the clock next shows it), "
        "`2027-01-31 22:00`, or `+2h` (after the job was read). Times are local unless they end in a zone, `Z` or `+01:00`. "
        "In a comment, write `T` in place of the blank. While the job waits, it takes no worker, and the run waits for it.",
        "22:00", default="now", comment=True,
        option=FieldOption(("--at",), "Don't start the job before TIME: 22:00, '2027-01-31 22:00', +2h or now", SCHEDULING,
            "TIME", ("add", "set")),
        other_option=FieldOption(("--in",), "Don't start the job for this long: 2h", SCHEDULING, "DUR", ("add", "set"),
            types.time_from_now)),
    FieldSpec("matrix", types.MATRIX, "Runs the job once for each combination of these values, "
        "each in an environment variable. `include` adds combinations, `exclude` removes some.",
        "{PY: [\"3.11\", \"3.12\"]}"),
    FieldSpec("for", types.LOOP,
        "Runs the job once for each of several values, each in an environment variable: the files "
        "that match a pattern (`glob`), the `lines` of a file, or a list of `values`; see below.",
        '{glob: "*.png"}'),
    FieldSpec("timeout", types.LIMIT, "The time limit of one attempt; 0 is none.", "10m", default="none", comment=True,
        option=FieldOption(("-t", "--timeout"), "Time limit of one attempt; 0: none (default: none)", TIME, "DUR",
            CHANGEABLE)),
    FieldSpec("idle_timeout", types.LIMIT, "Stops an attempt that prints nothing for this time; 0 is never.", "2m",
        default="none", comment=True,
        option=FieldOption(("--idle-timeout",), "Stop an attempt that prints nothing for DUR; 0: never (default: never)",
            TIME, "DUR", CHANGEABLE)),
    FieldSpec("grace", types.DURATION, "The time that a job has to stop after its `signal`, before it is killed.", "10s",
        default="5s", comment=True,
        option=FieldOption(("--grace",), "Time a job has to stop after --signal, before it is killed (default: 5s)", TIME,
            "DUR", CHANGEABLE)),
    FieldSpec("signal", types.SIGNAL,
        "The signal that asks a job to stop.", "INT", default="TERM", comment=True,
        option=FieldOption(("--signal",), "Signal that asks a job to stop (default: TERM)", TIME, "SIG", FOR_ALL)),
    FieldSpec("retries", types.POLICY,
        "The maximum number of retries of a failed job; or a map that "
        " also sets which failures are retried, and when.", "2", default="0", stored="retry"),
    FieldSpec("slots", types.SLOTS, "The number of workers that the job takes up.", "2", default="1", comment=True,
        option=FieldOption(("--slots",), "Number of workers that the job takes up (default: 1)", SCHEDULING, "N")),
    FieldSpec("pools", types.DEMAND,
        "How many units the job takes of each of the file's `pools`; a name alone takes one.",
        "{net: 1}", comment=True,
        option=FieldOption(("--pool", "--pools"), "Pools that the job uses, with the number of units of each", SCHEDULING,
            "NAME[:N],…")),
    FieldSpec("tags", types.TAGS,
        "Words to select jobs by, as in `--only tag:nightly`.", "[nightly]", comment=True,
        option=FieldOption(("--tags",), "Tags to select the job by, as in tag:nightly", INPUT, "WORD,…")),
    FieldSpec("success_codes", types.EXIT_CODES,
        "The exit codes that mean `ok`.", "[0, 5]", default="[0]", comment=True,
        option=FieldOption(("--success-codes",), "Exit codes that mean success (default: 0)", FAILURE, "N,…")),
    FieldSpec("allow_failure", types.TRUTH,
        "If true, a failure of this job does not make the run fail, and the jobs that "
        "need this job still start.", "true", default="false", comment=True,
        option=FieldOption(("--allow-failure",), "Count a failure of the job as a success of the run", FAILURE)),
    FieldSpec("rerun", types.either("always", "never", true="always"), "`never`: if pqrun dies or is stopped while the job runs, `resume` does "
        "not run the job again; it reports the job and exits with 1.", "never", default="always", comment=True,
        option=FieldOption(("--no-rerun",), "Don't run the job again if pqrun dies while it runs", FAILURE,
            switched=False)),
    FieldSpec("on_lost", types.choice("rerun", "fail"), "On a cluster, if the worker machine dies while it runs the job: "
        "`rerun` runs the job again on another machine; `fail` is for commands that must not run twice.", "fail",
        default="rerun", comment=True),
    FieldSpec("max_lost", types.COUNT, "On a cluster, how many times a job is run again because its machine died. Such "
        "a new attempt does not count as a retry.", "1", default="3", comment=True),
    FieldSpec("creates", types.FILE, "A file that the job makes. If the file exists before the first attempt, the job is "
        "`ok` without being run. If an attempt fails, a file that it made or changed is renamed to "
        "`FILE.failed`.", "out/data.gz", comment=True,
        option=FieldOption(("--creates",), "Skip the job if this file exists", INPUT, "FILE", single=True)),
    FieldSpec("stdin", types.FILE, "The file that the job reads as its standard input. If the file is a FIFO, the wait for "
        "its writer counts towards the `timeout`. `open`: the job reads what `pqrun send` sends while it runs (a file of that "
        "name is `./open`).", "words.txt", default="/dev/null", comment=True,
        option=FieldOption(("--stdin",), "Read the job's standard input from this file; open: from `pqrun send` (default: "
            "/dev/null)", INPUT, "FILE", single=True)),
    FieldSpec("pty", types.TRUTH, "If true, the job gets a terminal of its own, for programs that show colours or "
        "progress only there. Its stdout and stderr are then one stream.", "true", default="false", comment=True, shown=True,
        option=FieldOption(("--pty",), "Give each job a terminal of its own, for colours and progress", INPUT, None,
            FOR_ALL)),
    FieldSpec("shell", types.SHELL,
        "The shell that runs the command: a program and its options, as a string or a list. `auto` is that of `$SHELL`, "
        "which knows the functions that bash has exported.",
        "bash -eu -c", default="/bin/sh -c",
        option=FieldOption(("--shell",), "Shell that runs the commands; auto: that of $SHELL (default: '/bin/sh -c')", INPUT, "SHELL", FOR_ALL,
            raw=True)),
    FieldSpec("leftovers", types.either("end", "keep", true="keep"), "What to do with processes that outlive the job. `keep` leaves them "
        "alone; `end` ends them 150 ms after the job's end, or after the last byte that they print; those that are "
        "at work (state `R` or `D`) have up to a second.", "keep",
        default="end", comment=True, stored="keep_leftovers",
        option=FieldOption(("--leftovers",), "Processes that the job leaves behind: end or keep them (default: end)", FAILURE,
            "MODE")),
)  # fmt: skip

TOP_LEVEL_FIELDS: Final = (
    FieldSpec("workers", types.WORKERS, "The maximum number of jobs that run at a time, as `--jobs`: a number, a percentage "
        "of the CPUs, `+N` or `-N` (more or fewer than the CPUs), or `auto`.", "4", default="auto"),
    FieldSpec("max_queue", types.integer(1, 100_000_000), "How many jobs are read ahead from a stream, and how many jobs from `add` may "
        "wait. The jobs of a job file are all queued at once and don't count.", "1000", default="1000"),
    FieldSpec("delay", types.DURATION, "The shortest time between two starts, as `--delay`.", "500ms", default="none"),
    FieldSpec("rate", types.RATE, "The maximum number of starts in any period of this length, as `--rate`.", "50/1m",
        default="unlimited"),
    FieldSpec("load", types.LOAD, "No job starts while this many processes run on the machine, as `--load`: a number, "
        "or a percentage of the CPUs.", "80%", default="unlimited"),
    FieldSpec("memfree", types.SIZE, "No job starts while less than this much memory is free, as `--memfree`.", "2G",
        default="none"),
    FieldSpec("halt", types.HALT, "When to stop the run early, as `--halt`.", "soon,fail=10%", default="never"),
    FieldSpec("deadline", types.DURATION, "The time limit of the whole run, as `--deadline`.", "2h", default="none"),
    FieldSpec("defaults", types.DEFAULTS, "Values for all jobs of this file that set no other value: any key of a job "
        "except `id`.", "{timeout: 30m, retries: 1}"),
    FieldSpec("env", types.ENV, "Environment variables for all jobs of this file.", "{LANG: C.UTF-8}"),
    FieldSpec("pools", types.POOLS, "Resources that jobs share: the number of units of each, or a list of their names.",
        "{net: 4, gpu: [0, 1]}"),
    FieldSpec("hooks", types.HOOKS, "Commands that run when the run has ended. Their standard input is the run's summary.",
        "{on_failure: ./tell-us}"),
    FieldSpec("jobs", types.JOBS, "The jobs: a list, or a map from id to job. A string is a job that runs this command.",
        "[echo hello]"),
)  # fmt: skip

COMMENT_FIELDS: Final = {field.flat_name: field for field in (*JOB_FIELDS, *RETRY_FIELDS) if field.comment}
"""The fields that a ` # pqrun:` comment may set: those of a job that take one word, and the retry policy's."""

LIMITS: Final = frozenset(
    field.attribute for field in JOB_FIELDS if field.type in (types.LIMIT, types.START_TIME)
)
"""The fields whose zero means no limit. JobSpec has None for it."""


_OF_JOB, _OF_COMMAND = frozenset(JobSpec._fields), frozenset(Command._fields)
STORED_FIELDS: Final = tuple(
    field
    for field in (*JOB_FIELDS[2:], *RETRY_FIELDS)
    if field.attribute in _OF_JOB | _OF_COMMAND or field in RETRY_FIELDS
)
"""The fields that a job keeps, but for its id and its command."""


def fields_with_option(command: str) -> list[tuple[FieldSpec, FieldOption]]:
    """Return the fields for which a command has an option, in the order of the command's help."""
    found = [
        (field, option)
        for field in (*JOB_FIELDS, *RETRY_FIELDS)
        for option in (field.option, field.other_option)
        if option is not None and command in option.commands
    ]
    return sorted(found, key=lambda one: PANELS.index(one[1].panel))


def put(layer: dict[str, Any], field: FieldSpec, value: Any) -> None:
    """Set a field in a layer of settings, in which the parts of the retry policy are a map."""
    if field.name in RetryPolicy._fields:
        layer.setdefault("retry", {})[field.name] = value
    else:
        layer[field.attribute] = value


def value_of(spec: JobSpec, field: FieldSpec) -> Any:
    """Return the value of a field of a job that runs a command."""
    name = field.stored or field.name
    part = spec if name in _OF_JOB else spec.work if name in _OF_COMMAND else spec.retry
    return getattr(part, name)


def wrong_field(spec: JobSpec) -> str | None:
    """Return the name of a field whose value no job may have, None if all values are allowed.

    The id and the command are not checked. May raise any error of a comparison or an iteration if a value has a
    wrong type.
    """
    for field in STORED_FIELDS:
        if not field.type.check(value_of(spec, field)):
            return field.attribute
    return None


def by_spelling(keys: Iterable[FieldSpec]) -> dict[str, FieldSpec]:
    """Return the keys by every accepted spelling."""
    return {spelling: key for key in keys for spelling in (key.name, *key.also)}


FOREIGN_NAMES: Final = {
    "script": "run", "commands": "run", "exec": "run", "shell_command": "run",
    "depends_on": "needs", "depends-on": "needs", "deps": "needs", "after": "needs", "dependencies": "needs",
    "environment": "env", "variables": "env", "vars": "env",
    "working_dir": "cwd", "working-directory": "cwd", "workdir": "cwd", "dir": "cwd", "directory": "cwd",
    "retry": "retries", "max_retries": "retries", "attempts": "retries",
    "timeout-minutes": "timeout", "time_limit": "timeout",
    "continue-on-error": "allow_failure", "ignore_error": "allow_failure", "soft_fail": "allow_failure",
    "prio": "priority", "label": "tags", "labels": "tags", "input": "stdin",
    "tasks": "jobs", "steps": "jobs", "concurrency": "workers", "parallel": "workers",
    "parallelism": "workers", "max_workers": "workers", "threads": "workers", "count": "max", "times": "max",
    "resources": "pools", "groups": "pools",
}  # fmt: skip
"""The names of keys in other tools, with the pqrun key that is suggested for each."""
