# SPDX-License-Identifier: LGPL-3.0-or-later
"""The reference page of the job file: `python docs/jobfile_page.py` writes docs/jobfile.md.

The same program writes the lists of a job's fields in docs/control.md and docs/journal.md.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pqrun.control.job_payload import CHANGEABLE
from pqrun.core.job import Command, JobSpec, RetryPolicy
from pqrun.core.job_fields import (
    COMMENT_FIELDS,
    HOOK_FIELDS,
    JOB_FIELDS,
    LOOP_FIELDS,
    RETRY_FIELDS,
    STORED_FIELDS,
    TOP_LEVEL_FIELDS,
    FieldSpec,
)
from pqrun.input.jobfile.expand import MAX_COMBINATIONS
from pqrun.input.jobfile.source_text import MAX_FILE_BYTES
from pqrun.input.jobfile.yaml_tree import MAX_DEPTH, MAX_EXPANDED_NODES

DOCUMENT: Final = Path(__file__).with_name("jobfile.md")
EXAMPLE: Final = """\
workers: 4
defaults: {timeout: 30m, retries: 1}
env: {LANG: C.UTF-8}
pools: {net: 4, gpu: [0, 1]}

jobs:
  - echo hello                      # a string is a job
  - id: fetch
    run: curl -fsS "$URL" -o data.gz
    env: {URL: "https://example.org/data.gz"}
    priority: high
    timeout: 2m
    retries: {max: 5, delay: 1s, on: [5, 6, 7, timeout], permanent: [22]}
    pools: {net: 1}
    tags: [nightly]
  - id: test
    needs: [fetch]
    matrix: {PY: ["3.11", "3.12"], DB: [sqlite, pg]}
    run: tox -e "py$PY-$DB"
    allow_failure: true
"""

_TOP_OF_PAGE: Final = """\
# The job file

<!-- Made from pqrun/core/job_fields.py by `python docs/jobfile_page.py`: change it there. -->

A job file lists the jobs of a run. The file is one YAML or JSON document in UTF-8. `pqrun run`
checks the whole file before the first job starts. `pqrun check FILE` only checks the file (or a
[list of commands](#a-list-of-commands)) and lists every error with its place and a hint.
`pqrun init` writes an example; `pqrun schema` prints a JSON Schema for editors.

At a terminal, `pqrun run` without a file runs `pqrun.yaml`, `pqrun.yml` or `pqrun.json`, of the
present directory or of the nearest one above that has such a file. The jobs start in the present
directory in each case. (A file above that belongs to another user has to be named.)

```yaml
{example}```

`jobs` is a list, or a map keyed by id:

```yaml
jobs:
  build: make
  test:
    run: make test
    needs: build
```

Top-level keys that begin with `x-` are ignored, so that you can put anchors there. Anchors, aliases
and merge keys (`<<`) work as in other YAML tools: a job's own keys override merged keys.
"""

_REST: Final = """\
## Values

- A **string** is kept as you write it: `no`, `017`, `1e3` and `12:30:45` are not converted in
  commands, ids and variables. An unquoted `null`, `~` or a missing value is an error; write `""`
  for an empty string.
- A string needs quotes if it begins with one of ``{{ }} [ ] & * ! | > % @ ` ``, or contains `: ` or
  ` #`. Write a command of several lines below `run: |`.
- A **duration** is a number of seconds (`90`, `1.5`) or has units: `250ms`, `90s`, `10m`, `1h30m`,
  `2d`.
- `true` and `false` are the only truth values; `yes` and `on` are errors.
- An **exit code** is a number from 0 to 255. Lists of failures may also contain signal names
  (`TERM`, `SIGKILL`) and the words `timeout`, `signal` and `any`.

## Which setting wins

The first of these that sets a value wins: the job, the command line, the file's `defaults` and
`env`, the built-in default. `env` is merged variable by variable, and `retries` key by key: a job
with `retries: {{delay: 5s}}` keeps the number of retries given by `--retries`. Lists are replaced,
not joined. `needs` in `defaults` does not apply to the jobs that are needed. `defaults` and `env`
apply to the jobs of their own file only.

## Ids and numbers

The id of a job without an `id` is its number: its position among all jobs of all files, where each
combination of a matrix counts as a job. Two jobs with the same id are an error, and so is an `id`
that equals the number of a job without an `id`.

## Needs

```yaml
jobs:
  - {{id: build, run: make}}
  - {{id: test, run: make test, needs: build}}
  - {{id: report, run: ./report, needs: {{ended: "test*"}}}}
  - {{id: alarm, run: ./alarm, needs: {{failed: [build]}}}}
```

A need is an id, the id of a matrix job (all of its combinations), or a pattern with `*`, `?` or
`[…]`. An exact id wins over a pattern. A job with `needs: [a]` waits until `a` has ended `ok`, or
has failed with `allow_failure`. If `a` ends in another way, the job is skipped, and so are the jobs
that need the skipped job. `ended` waits until the needed job ends in any way; `failed` waits until
it fails. A cycle of needs is an error.

## Matrix

```yaml
jobs:
  - id: test
    run: tox -e "py$PY-$DB"
    matrix:
      PY: ["3.11", "3.12"]
      DB: [sqlite, pg]
      exclude: [{{PY: "3.11", DB: pg}}]
      include: [{{PY: "3.13", DB: sqlite, EXTRA: "1"}}]
```

The job runs once for each combination, with the values in environment variables and with ids such
as `test[PY=3.11,DB=sqlite]`. `exclude` removes the combinations that contain all of its pairs;
`include` adds combinations, which may have more variables. A job has at most {most:,} combinations.
Values may be any string. In an id, characters that can't be printed are escaped (`\\n`). An id
longer than 200 characters is shortened. A shortened id, and an id that would equal another, ends
with a hash of the values.

## For each file, line or value

```yaml
jobs:
  - id: thumb
    for: {{glob: "photos/*.png", as: PHOTO}}
    run: convert "$PHOTO" -resize 200 "thumbs/${{PHOTO##*/}}"
    creates: thumbs/${{PHOTO##*/}}
  - id: ping
    for: {{lines: hosts.txt}}
    run: ping -c1 "$LINE"
  - id: report
    needs: thumb
    run: ./report
```

The job runs once for each value, with the value in an environment variable and with ids such as
`thumb[PHOTO=photos/a.png]`. In `needs`, the id `thumb` means all of these jobs. A pattern or a file
without values is a warning, and the id then means no job. If the job has a `matrix` as well, each
combination runs for each value. The values are read when pqrun reads the job file. A value that a
file or a pattern gives twice counts once.

{loop} In `creates`, `stdin` and `cwd`, the variables of `matrix` and `for` are expanded as in a
shell: `$NAME`, `${{NAME}}`, without a suffix (`${{NAME%.png}}`, `${{NAME%.*}}`) or without a prefix
(`${{NAME##*/}}`).

## Variables in the values of `env`

```yaml
env:
  PATH: "/opt/tools/bin:$PATH"
pools: {{gpu: [0, 1]}}
jobs:
  - run: ./train
    pools: gpu
    env: {{CUDA_VISIBLE_DEVICES: "$PQRUN_POOL_GPU", RUN_NAME: "${{USER}}-$PQRUN_SEQ"}}
```

In a value of `env`, `$NAME` and `${{NAME}}` insert another variable of the job: an inherited one,
one that pqrun sets (`PQRUN_POOL_GPU`, `PQRUN_ATTEMPT` and so on), one of the matrix, or another of
its `env`. A value that names its own variable gets the value from the next level: a job's
`PATH: "x:$PATH"` inserts the `PATH` of the file's `env`. A variable that is not set is empty;
`pqrun check` warns about that. `$$` is a dollar sign. Other forms, such as `$(date)` and
`${{NAME:-x}}`, are left unchanged for the command. Variables are inserted at the start of each
attempt, also after `resume`, with `add -f`, and on the workers of a cluster. Values from `--env`,
from a matrix and from the environment are literal.

## How fast

The top-level keys `delay`, `rate`, `load` and `memfree` delay the start of jobs; running jobs
continue. The live table and `pqrun ps --why` show which key delays a job. `rate: 50/1m` allows at
most 50 starts in any minute, retries included. `load` is the number of runnable processes on the
machine; on a system that doesn't report this number, it is the load average of the last minute.
Load and memory are measured once a second. A job that starts between two measurements counts as one
process, and as `memfree` of memory.

## Pools

The top-level `pools: {{net: 4}}` makes a pool `net` of four units; a job with `pools: {{net: 1}}`
starts when one unit is free. With a list of names, such as `gpu: [0, 1]`, the job finds the name of
its unit in `$PQRUN_POOL_GPU`.

## Hooks

```yaml
hooks:
  on_finish: [./record-run, --to, runs.csv]
  on_failure: mail -s "nightly, $PQRUN_HEADLINE" ops@example.org
  timeout: 30s
jobs:
  - ./backup
```

{hooks} A hook gets the run's summary as JSON on its standard input, and the main facts in
environment variables ([CI and operations](ci.md#hooks) lists them). A hook starts in the directory
where jobs start. `--on-finish` and `--on-failure` replace the command of the key; the file's
`timeout` applies to them, too. `resume` runs the hooks again. A hook that fails is reported, but
does not change the exit code of the run.

## Part of a file

`--only SELECTOR` runs the selected jobs and the jobs that they need. `--skip SELECTOR` leaves out
the selected jobs and the jobs that need them. A selector is an id, the id of a matrix job, a
pattern such as `'fetch-*'`, `all`, `priority:low` or `tag:nightly`. An exact id wins over a
pattern. You may give both options several times.

## Part of the jobs on each of several machines

```sh
pqrun run ci.yaml --shard 1/4     # and 2/4, 3/4, 4/4 on the other machines
```

The id of a job alone decides to which part the job belongs: new jobs don't move the others, and the
order does not matter. Only jobs that no other job needs are distributed; each part also contains
the jobs that its jobs need. A `build` that all tests need runs on each machine. A job that needs
all others brings all others into its part: keep such a job out of the file, or `--skip` it.
`--only` and `--skip` are applied first. A part without jobs is a success.

Instead of an id, a job without `id` is distributed by its command, and by a count if the same
command occurs several times. This is also true for lists of commands and for `pqrun each`. To
compute the part, pqrun takes the first eight bytes of the SHA-256 of the id as a number, modulo the
number of parts, plus one.

With `--by-time`, the parts take equal times instead, as far as they are known: the longest job
first, each into the part with the least time so far. Jobs that earlier runs don't know are shared
out by number. All machines must have the same past, so copy the state directory
(`$PQRUN_STATE_DIR`) to each of them before the first one starts; otherwise, a job may be in no part
or in two. All jobs must be known at the start: a list of commands can't be divided by time.

## The longest first

`--order longest-first` starts, of the ready jobs with the same priority, the one that took longest
in earlier runs, so that no long job is left alone at the end. Both options read the last 20 runs in
the state directory that have ended. A job is the same if its id (if it has one) and its command are
the same; its time is the median of the last five runs in which it was `ok`. A job without a past
counts as the median of all known jobs, and jobs of equal time start first come, first served.
With one of these options, the live table shows the time left from the beginning, if the times of
all unfinished jobs are known. Without them, nothing of the past is read.

## Several files

`pqrun run a.yaml b.yaml` runs the jobs of both files as one run: ids must be unique across the
files, jobs may need jobs of the other file, and top-level settings that differ are an error.

## Limits

A file has at most {mib} MiB and 1,000,000 jobs, and is nested at most {deepest} levels deep;
aliases may expand to {expanded:,} values (more in a large file). For more jobs, use a list of
commands.

## A list of commands

Standard input, and a file with a name other than `*.yaml`, `*.yml` or `*.json`, is a list of
commands, one per line, unless its first line is a top-level key of a job file, `---` or `{{`. Blank
lines and lines that begin with `#` are skipped. A line that ends with `\\` continues on the next
line. With `-0`, NUL characters separate the commands. Line ends may be CRLF (but not with `-0`).
Bytes that are not UTF-8 reach the shell unchanged. A comment at the end of a line sets keys of the
job, so that the list still runs under `sh`:

```sh
make docs   # pqrun: id=docs priority=high timeout=10m retries=5
make upload # pqrun: needs=docs tags=net,nightly
```

The comments of a file are checked before its first command runs. If there are errors, all of them
are listed and no command runs. `pqrun check` does the same check. On a pipe, commands run before
the rest of the list is read, so reading ends at the first error.

A comment may set these keys: {comment}. Values are words as in a shell, lists are separated by
commas, and `needs` lists ids of jobs further up.
"""


def jobfile_page() -> str:
    """The page as Markdown."""
    head = _TOP_OF_PAGE.replace("{example}", EXAMPLE)
    rest = _REST.format(
        most=MAX_COMBINATIONS,
        mib=MAX_FILE_BYTES // 1024 // 1024,
        deepest=MAX_DEPTH,
        expanded=MAX_EXPANDED_NODES,
        loop=_table(LOOP_FIELDS),
        hooks=_table(HOOK_FIELDS),
        comment=", ".join(f"`{name}`" for name in COMMENT_FIELDS),
    )
    tables = (
        f"## The file\n\n{_table(TOP_LEVEL_FIELDS)}",
        f"## A job\n\n{_table(JOB_FIELDS)}",
        f"## Retries\n\n`retries: 3` is `retries: {{max: 3}}`.\n\n{_table(RETRY_FIELDS)}",
    )
    return "\n".join((head, *tables, rest))


def _table(keys: Iterable[FieldSpec]) -> str:
    rows = ["| key | example | default | meaning |", "|---|---|---|---|"]
    for key in keys:
        names = " or ".join(f"`{name}`" for name in (key.name, *key.also))
        default = f"`{key.default}`" if key.default and " " not in key.default else key.default
        rows.append(f"| {names} | `{key.example}` | {default} | {key.about} |".replace("  ", " "))
    return "\n".join(rows) + "\n"


def pages() -> dict[Path, str]:
    """All pages that name the fields of a job, as they should be."""
    kept = (*JobSpec._fields[2:], *Command._fields[1:])
    sent = (
        "id",
        "retries",
        *(field.attribute for field in STORED_FIELDS if field not in RETRY_FIELDS),
        "expand",
    )
    return {
        DOCUMENT: jobfile_page(),
        DOCUMENT.with_name("control.md"): _with_lists("control.md", sent, RetryPolicy._fields, CHANGEABLE),
        DOCUMENT.with_name("journal.md"): _with_lists("journal.md", kept),
    }


def _with_lists(name: str, *lists: Iterable[str]) -> str:
    """The page with these lists of fields between its marks, in order."""
    found = iter(lists)
    text = DOCUMENT.with_name(name).read_text(encoding="utf-8")
    return re.sub(
        r"(<!-- fields -->\n).*?(\n<!-- end of fields -->)",
        lambda mark: mark[1] + textwrap.fill(" ".join(f"`{field}`" for field in next(found)), 100) + mark[2],
        text,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
