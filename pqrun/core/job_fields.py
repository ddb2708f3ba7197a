# SPDX-License-Identifier: LGPL-3.0-or-later
"""The keys of a job file: the name, the other spellings, the type, the default and the help of each.

The reader of job files, the JSON Schema, the reference page and the comment of a command line are
all made from these tables. Plain data only, because every `run` loads this module.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple


class FieldSpec(NamedTuple):
    """A key of a job file. `kind` names its type, for the readers and the JSON Schema of `input/jobfile`."""

    name: str
    kind: str
    about: str
    example: str
    also: tuple[str, ...] = ()
    default: str = ""
    word: bool = False  # allowed in a ` # pqrun:` comment


RETRY_FIELDS: Final = (
    FieldSpec("max", "retries", "The maximum number of retries after the first attempt.", "5", default="0"),
    FieldSpec("delay", "duration", "The time to wait before the first retry.", "1s", default="1s"),
    FieldSpec("backoff", "backoff", "How the wait before the n-th retry grows: `exponential` (delay × "
        "factor^(n−1)), `linear` (delay × n) or `constant`.", "exponential", default="exponential"),
    FieldSpec("factor", "factor", "With `exponential`: the number by which the wait is multiplied after each retry.",
        "2", default="2"),
    FieldSpec("max_delay", "duration", "The longest time to wait between two attempts.", "1m", default="1m"),
    FieldSpec("jitter", "fraction", "Varies each wait at random by up to this fraction, up or down.", "0.1",
        default="0"),
    FieldSpec("on", "codes", "The failures that are retried: exit codes, signal names, and the words `timeout`, "
        "`signal`, `any`.", "[5, 6, timeout]", default="any"),
    FieldSpec("permanent", "codes", "The failures that are never retried, written as for `on`. Exit codes 126 and 127 "
        "are not retried either, unless `on` lists them.", "[22]", default="none"),
)  # fmt: skip

LOOP_FIELDS: Final = (
    FieldSpec("glob", "path", "Runs the job once for each file or directory that matches this pattern, sorted; `**` "
        "matches any number of directories. The pattern is relative to the directory where the job starts.",
        '"*.png"'),
    FieldSpec("lines", "path", "Runs the job once for each line of this file that is not blank.", "hosts.txt"),
    FieldSpec("values", "values", "Runs the job once for each value of this list.", "[small, large]"),
    FieldSpec("as", "variable", "The environment variable that holds the value.", "PICTURE",
        default="`FILE`, `LINE` or `VALUE`"),
)  # fmt: skip

HOOK_FIELDS: Final = (
    FieldSpec("on_finish", "run", "Runs when the run ends, as `--on-finish`: a string is run by `/bin/sh -c`; a "
        "list is a program and its arguments.", "./tell-us"),
    FieldSpec("on_failure", "run", "Runs before `on_finish` if the exit code of the run is not 0, as `--on-failure`.",
        "[./tell-us, --loudly]"),
    FieldSpec("timeout", "duration", "The time limit of each hook; 0 is none.", "30s", default="1m"),
)  # fmt: skip

JOB_FIELDS: Final = (
    FieldSpec("id", "id", "A unique name of 1 to 200 printable characters.", "fetch", also=("name",),
        default="the job's number", word=True),
    FieldSpec("run", "run", "The command: a string is run by the shell; a list is a program and its arguments, "
        "run without a shell.", "make test", also=("command", "cmd")),
    FieldSpec("env", "env", "Environment variables, added to those of pqrun itself. In a value, `$NAME` and `${NAME}` "
        "insert another variable; `$$` is a dollar sign.", "{LANG: C.UTF-8}"),
    FieldSpec("cwd", "path", "The directory where the job starts, relative to the directory where you started pqrun.",
        "app", word=True),
    FieldSpec("priority", "priority", "`critical`, `high`, `normal` or `low`. Of the jobs that are ready, those with "
        "the highest priority start first.", "high", default="normal", word=True),
    FieldSpec("needs", "needs", "Jobs that must end `ok` before this job starts: ids or patterns (`fetch-*`). "
        "The id of a job with `matrix` or `for` means all jobs made from it. If a needed job does not end `ok`, "
        "this job is skipped. `{ended: […]}` waits until the jobs end in any way, `{failed: […]}` until they "
        "fail.",
        "[fetch]", word=True),
    FieldSpec("matrix", "matrix", "Runs the job once for each combination of these values, each in an environment "
        "variable. `include` adds combinations, `exclude` removes some.", "{PY: [\"3.11\", \"3.12\"]}"),
    FieldSpec("for", "loop", "Runs the job once for each of several values, each in an environment variable: the files "
        "that match a pattern (`glob`), the `lines` of a file, or a list of `values`; see below.",
        '{glob: "*.png"}'),
    FieldSpec("timeout", "duration", "The time limit of one attempt; 0 is none.", "10m", default="none", word=True),
    FieldSpec("idle_timeout", "duration", "Stops an attempt that prints nothing for this time; 0 is never.", "2m",
        default="none", word=True),
    FieldSpec("grace", "duration", "The time that a job has to stop after its `signal`, before it is killed.", "10s",
        default="5s", word=True),
    FieldSpec("signal", "signal", "The signal that asks a job to stop.", "INT", default="TERM", word=True),
    FieldSpec("retries", "policy", "The maximum number of retries of a failed job; or a map that also sets which "
        "failures are retried, and when.", "2", default="0", word=True),
    FieldSpec("slots", "slots", "The number of workers that the job takes up.", "2", default="1", word=True),
    FieldSpec("pools", "wants", "How many units the job takes of each of the file's `pools`; a name alone takes one.",
        "{net: 1}", word=True),
    FieldSpec("tags", "tags", "Words to select jobs by, as in `--only tag:nightly`.", "[nightly]", word=True),
    FieldSpec("success_codes", "exits", "The exit codes that mean `ok`.", "[0, 5]", default="[0]", word=True),
    FieldSpec("allow_failure", "truth", "If true, a failure of this job does not make the run fail, and the jobs that "
        "need this job still start.", "true", default="false", word=True),
    FieldSpec("rerun", "rerun", "`never`: if pqrun dies or is stopped while the job runs, `resume` does not run the "
        "job again; it reports the job and exits with 1.", "never", default="always", word=True),
    FieldSpec("on_lost", "on_lost", "On a cluster, if the worker machine dies while it runs the job: `rerun` runs the "
        "job again on another machine; `fail` is for commands that must not run twice.", "fail",
        default="rerun", word=True),
    FieldSpec("max_lost", "retries", "On a cluster, how many times a job is run again because its machine died. Such "
        "a new attempt does not count as a retry.", "1", default="3", word=True),
    FieldSpec("creates", "path", "A file that the job makes. If the file exists before the first attempt, the job is "
        "`ok` without being run. If an attempt fails, a file that it made or changed is renamed to "
        "`FILE.failed`.", "out/data.gz", word=True),
    FieldSpec("stdin", "path", "The file that the job reads as its standard input. If the file is a FIFO, the wait for "
        "its writer counts towards the `timeout`.", "words.txt", default="/dev/null",
        word=True),
    FieldSpec("shell", "shell", "The shell that runs the command: a program and its options, as a string or a list.",
        "bash -eu -c", default="/bin/sh -c"),
    FieldSpec("leftovers", "leftovers", "What to do with processes that outlive the job. `keep` leaves them alone; "
        "`end` ends them 150 ms after the job's end, or after the last byte that they print.", "keep",
        default="end", word=True),
)  # fmt: skip

TOP_LEVEL_FIELDS: Final = (
    FieldSpec("workers", "workers", "The maximum number of jobs that run at a time, as `--jobs`: a number, a percentage "
        "of the CPUs, `+N` or `-N` (more or fewer than the CPUs), or `auto`.", "4", default="auto"),
    FieldSpec("max_queue", "max_queue", "How many jobs are read ahead from a stream, and how many jobs from `add` may "
        "wait. The jobs of a job file are all queued at once and don't count.", "1000", default="1000"),
    FieldSpec("delay", "duration", "The shortest time between two starts, as `--delay`.", "500ms", default="none"),
    FieldSpec("rate", "rate", "The maximum number of starts in any period of this length, as `--rate`.", "50/1m",
        default="unlimited"),
    FieldSpec("load", "load", "No job starts while this many processes run on the machine, as `--load`: a number, "
        "or a percentage of the CPUs.", "80%", default="unlimited"),
    FieldSpec("memfree", "size", "No job starts while less than this much memory is free, as `--memfree`.", "2G",
        default="none"),
    FieldSpec("halt", "halt", "When to stop the run early, as `--halt`.", "soon,fail=10%", default="never"),
    FieldSpec("deadline", "duration", "The time limit of the whole run, as `--deadline`.", "2h", default="none"),
    FieldSpec("defaults", "defaults", "Values for all jobs of this file that set no other value: any key of a job "
        "except `id`.", "{timeout: 30m, retries: 1}"),
    FieldSpec("env", "env", "Environment variables for all jobs of this file.", "{LANG: C.UTF-8}"),
    FieldSpec("pools", "pools", "Resources that jobs share: the number of units of each, or a list of their names.",
        "{net: 4, gpu: [0, 1]}"),
    FieldSpec("hooks", "hooks", "Commands that run when the run has ended. Their standard input is the run's summary.",
        "{on_failure: ./tell-us}"),
    FieldSpec("jobs", "jobs", "The jobs: a list, or a map from id to job. A string is a job that runs this command.",
        "[echo hello]"),
)  # fmt: skip

COMMENT_FIELDS: Final = (
    *(key for key in JOB_FIELDS if key.word),
    *(key._replace(name={"delay": "retry_delay", "on": "retry_on"}.get(key.name, key.name))
      for key in RETRY_FIELDS if key.name != "max"),
)  # fmt: skip
"""The keys allowed in a ` # pqrun:` comment: those of a job that take one word, and the retry policy's."""


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
    "prio": "priority", "nice": "priority", "label": "tags", "labels": "tags", "input": "stdin",
    "tasks": "jobs", "steps": "jobs", "concurrency": "workers", "parallel": "workers",
    "parallelism": "workers", "max_workers": "workers", "threads": "workers", "count": "max", "times": "max",
    "resources": "pools", "groups": "pools",
}  # fmt: skip
"""The names of keys in other tools, with the pqrun key that is suggested for each."""
