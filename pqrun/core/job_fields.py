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
    FieldSpec("max", "retries", "How many extra attempts at most.", "5", default="0"),
    FieldSpec("delay", "duration", "The wait before the first retry.", "1s", default="1s"),
    FieldSpec("backoff", "backoff", "How the wait before the n-th retry grows: `exponential` (delay × "
        "factor^(n−1)), `linear` (delay × n) or `constant`.", "exponential", default="exponential"),
    FieldSpec("factor", "factor", "With `exponential`: what each wait is multiplied by to get the next.", "2",
        default="2"),
    FieldSpec("max_delay", "duration", "No wait is longer than this.", "1m", default="1m"),
    FieldSpec("jitter", "fraction", "Spreads each wait by up to this fraction, up or down.", "0.1", default="0"),
    FieldSpec("on", "codes", "Which ends are tried again: exit codes, signal names, and the words `timeout`, "
        "`signal`, `any`.", "[5, 6, timeout]", default="any"),
    FieldSpec("permanent", "codes", "Which ends are never tried again. (126 and 127 are not either, unless `on` "
        "names them.)", "[22]", default="none"),
)  # fmt: skip

LOOP_FIELDS: Final = (
    FieldSpec("glob", "path", "Once for each file or directory of this pattern, sorted; `**` stands for any number "
        "of directories. Where the job starts is where it is looked for.", '"*.png"'),
    FieldSpec("lines", "path", "Once for each line of this file that is not blank.", "hosts.txt"),
    FieldSpec("values", "values", "Once for each of these.", "[small, large]"),
    FieldSpec("as", "variable", "The variable that holds the value.", "PICTURE",
        default="`FILE`, `LINE` or `VALUE`"),
)  # fmt: skip

HOOK_FIELDS: Final = (
    FieldSpec("on_finish", "run", "Runs at the end of every run, as `--on-finish`: a text goes through `/bin/sh -c`; a "
        "list is a program and its arguments.", "./tell-us"),
    FieldSpec("on_failure", "run", "Runs before that if the exit code of the run is not 0, as `--on-failure`.",
        "[./tell-us, --loudly]"),
    FieldSpec("timeout", "duration", "How long each of them may take; 0 is for ever.", "30s", default="1m"),
)  # fmt: skip

JOB_FIELDS: Final = (
    FieldSpec("id", "id", "A unique name, 1 to 200 printable characters. A job without one gets its number in the "
        "file.", "fetch", also=("name",), default="the job's number", word=True),
    FieldSpec("run", "run", "What to run: a text goes through the shell; a list is a program and its arguments, "
        "without a shell.", "make test", also=("command", "cmd")),
    FieldSpec("env", "env", "Environment variables, on top of those that pqrun itself has; `$NAME` and `${NAME}` in a "
        "value stand for another, `$$` for a dollar.", "{LANG: C.UTF-8}"),
    FieldSpec("cwd", "path", "The directory in which the job starts, relative to where pqrun was started.", "app",
        word=True),
    FieldSpec("priority", "priority", "Among jobs that are ready, higher goes first: `critical`, `high`, `normal` "
        "or `low`.", "high", default="normal", word=True),
    FieldSpec("needs", "needs", "Jobs that have to end `ok` before this one starts, by id or pattern (`fetch-*`); "
        "the id of a job with `matrix` or `for` stands for all that it becomes. If one of them does not, "
        "this job is skipped. `{ended: […]}` waits for their end, whatever it is; `{failed: […]}` for "
        "their failure.",
        "[fetch]", word=True),
    FieldSpec("matrix", "matrix", "Runs the job once for each combination of these axes, which become environment "
        "variables. `include` adds combinations, `exclude` takes some away.", "{PY: [\"3.11\", \"3.12\"]}"),
    FieldSpec("for", "loop", "Runs the job once for each of some values, each in a variable: the files of a "
        "pattern (`glob`), the lines of a file, or `values`; see below.", '{glob: "*.png"}'),
    FieldSpec("timeout", "duration", "The time limit of one attempt; 0 is none.", "10m", default="none", word=True),
    FieldSpec("idle_timeout", "duration", "Ends an attempt that has printed nothing for so long; 0 is never.", "2m",
        default="none", word=True),
    FieldSpec("grace", "duration", "How long a job that was asked to stop may take before it is killed.", "10s",
        default="5s", word=True),
    FieldSpec("signal", "signal", "The signal that asks a job to stop.", "INT", default="TERM", word=True),
    FieldSpec("retries", "policy", "How many extra attempts a failed job gets; or a map that also says when, and "
        "how long to wait.", "2", default="0", word=True),
    FieldSpec("slots", "slots", "How many of the workers the job takes up.", "2", default="1", word=True),
    FieldSpec("pools", "wants", "How much the job takes of each of the file's `pools`; a name alone takes one.",
        "{net: 1}", word=True),
    FieldSpec("tags", "tags", "Words to select jobs by, as in `--only tag:nightly`.", "[nightly]", word=True),
    FieldSpec("success_codes", "exits", "Exit codes that mean `ok`.", "[0, 5]", default="[0]", word=True),
    FieldSpec("allow_failure", "truth", "If it fails, the run is a success all the same, and whoever needs it "
        "runs.", "true", default="false", word=True),
    FieldSpec("rerun", "rerun", "`never`: if pqrun dies or is stopped while the job runs, `resume` reports it instead of "
        "running it again, and exits with 1.", "never", default="always", word=True),
    FieldSpec("on_lost", "on_lost", "On a cluster, when the machine dies on which the job runs, or may have begun: "
        "`rerun` runs it again elsewhere; `fail` is for commands that must not run twice.", "fail",
        default="rerun", word=True),
    FieldSpec("max_lost", "retries", "How many times the job may be lost so while it runs and is run again; no "
        "retry is used up.", "1", default="3", word=True),
    FieldSpec("creates", "path", "A file that the job makes: if it is there before the first attempt, the job is "
        "`ok` without being run. What an attempt that does not end well has made or changed of it is moved to "
        "`FILE.failed`.", "out/data.gz", word=True),
    FieldSpec("stdin", "path", "A file that the job reads as its standard input. Waiting for the writer of "
        "a FIFO is part of the job: its `timeout` counts.", "words.txt", default="/dev/null",
        word=True),
    FieldSpec("shell", "shell", "The shell that runs the command: a program and its options, a text or a list.",
        "bash -eu -c", default="/bin/sh -c"),
    FieldSpec("leftovers", "leftovers", "`keep`: processes that outlive the job are left alone. `end`: they are "
        "asked to end, 150 ms after the job's end or after the last byte that they print.", "keep",
        default="end", word=True),
)  # fmt: skip

TOP_LEVEL_FIELDS: Final = (
    FieldSpec("workers", "workers", "How many jobs run at once, as `--jobs`: a number, a percentage of the CPUs, "
        "`+N` or `-N` from them, or `auto`.", "4", default="auto"),
    FieldSpec("max_queue", "max_queue", "How many jobs are read ahead from a stream and, apart from them, how "
        "many that `add` has put in may wait; the jobs of a file are all queued at once and don't count.", "1000", default="1000"),
    FieldSpec("delay", "duration", "The least time between starts, as `--delay`.", "500ms", default="none"),
    FieldSpec("rate", "rate", "No more starts than these in any such time, as `--rate`.", "50/1m",
        default="unlimited"),
    FieldSpec("load", "load", "Nothing starts while so many processes run on the machine, as `--load`: a number, "
        "or a percentage of the CPUs.", "80%", default="unlimited"),
    FieldSpec("memfree", "size", "Nothing starts while less memory is free, as `--memfree`.", "2G", default="none"),
    FieldSpec("halt", "halt", "When to stop early, as `--halt`.", "soon,fail=10%", default="never"),
    FieldSpec("deadline", "duration", "Stops the whole run after this, as `--deadline`.", "2h", default="none"),
    FieldSpec("defaults", "defaults", "What every job of this file has that does not say otherwise: any key of a "
        "job but `id`.", "{timeout: 30m, retries: 1}"),
    FieldSpec("env", "env", "Environment variables of every job of this file.", "{LANG: C.UTF-8}"),
    FieldSpec("pools", "pools", "Resources that jobs share: a number of each, or a list of their names.",
        "{net: 4, gpu: [0, 1]}"),
    FieldSpec("hooks", "hooks", "Commands that are run when the run has ended, with its summary on their standard "
        "input.", "{on_failure: ./tell-us}"),
    FieldSpec("jobs", "jobs", "The jobs: a list, or a map keyed by id. A text alone is a job that runs it.",
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
