# SPDX-License-Identifier: LGPL-3.0-or-later
"""The reference page of the job file: `python docs/jobfile_page.py` writes docs/jobfile.md."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pqrun.core.job_fields import (
    COMMENT_FIELDS,
    HOOK_FIELDS,
    JOB_FIELDS,
    LOOP_FIELDS,
    RETRY_FIELDS,
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
  - echo hello                      # a text alone is a job
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

A job file says what `pqrun run` is to run. It is YAML or JSON: one document, UTF-8, read whole and checked
whole before anything starts. `pqrun check FILE` only checks it (and [lists of commands](#a-list-of-commands) too); every mistake is shown at once, each with
its place and a hint. `pqrun init` writes an example, `pqrun schema` prints a JSON Schema for editors.

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

Top-level keys that begin with `x-` are ignored: a place for anchors. Anchors, aliases and merge keys (`<<`)
work as in other YAML tools; what a job says itself goes over what it merges in.
"""

_REST: Final = """\
## Values

- A **text** is what it looks like: `no`, `017`, `1e3`, `12:30:45` stay as they are in commands, ids and
  variables. An unquoted `null`, `~` or nothing at all is an error; write `""` for an empty text.
- Text needs quotes if it begins with one of ``{{ }} [ ] & * ! | > % @ ` ``, or holds `: ` or ` #`. A
  command of several lines goes below `run: |`.
- A **duration** is seconds (`90`, `1.5`) or has units: `250ms`, `90s`, `10m`, `1h30m`, `2d`.
- `true` and `false` are the only truth values; `yes` and `on` are refused.
- An **exit code** is 0 to 255. Where ends are listed, signal names (`TERM`, `SIGKILL`) and the words
  `timeout`, `signal` and `any` are possible too.

## Which setting wins

What the job says itself, then the command line, then the file's `defaults` and its `env`, then the
default. `env` is put together variable by variable, and `retries` part by part: a job that says `retries:
{{delay: 5s}}` keeps the number of attempts given by `--retries`. Lists are replaced, not joined. A need
in `defaults` does not hold for the jobs that are needed. `defaults` and `env` hold for the jobs of their
own file.

## Ids and numbers

A job without an id is called by its number: its position among all jobs of all files, combinations of a
matrix counted. An id that is the number of such a job is an error, and so is an id that is there twice.

## Needs

```yaml
jobs:
  - {{id: build, run: make}}
  - {{id: test, run: make test, needs: build}}
  - {{id: report, run: ./report, needs: {{ended: "test*"}}}}
  - {{id: alarm, run: ./alarm, needs: {{failed: [build]}}}}
```

A need is an id, the id of a matrix job (all of its combinations), or a pattern with `*`, `?` or `[…]`; an
exact id goes first. `needs: [a]` waits until `a` has ended `ok` (or failed with `allow_failure`); if it
ends otherwise, the job is skipped, and so is what needs that. `ended` waits for the end, whatever it is;
`failed` for a failure. Jobs that wait for one another are an error.

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

The job runs once for each combination, with the axes as environment variables and ids such as
`test[PY=3.11,DB=sqlite]`. `exclude` takes away the combinations that hold all of its pairs; `include`
adds combinations as they are written, which may have more variables. A job has at most {most:,}
combinations. Values may be any text. In an id what can't be printed is written as an escape (`\\n`), one that would be
longer than 200 characters is cut, and where it was cut or would equal another a digest of the values ends it.

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

The job runs once for each value, which it finds in a variable; ids are such as
`thumb[PHOTO=photos/a.png]`, and the id alone stands for all of them, also if there are none: a pattern or
a file without values is a warning. With a `matrix` too, each combination runs for each value. Values are
found when the file is read; those of a file or pattern that are there twice count once.

{loop}
In `creates`, `stdin` and `cwd` the variables of `matrix` and `for` are put in as a shell would do it:
`$NAME`, `${{NAME}}`, without an ending (`${{NAME%.png}}`, `${{NAME%.*}}`) or a beginning (`${{NAME##*/}}`).

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

`$NAME` and `${{NAME}}` in a value of `env` stand for a variable that the job would otherwise get: one of those that
it inherits, those that pqrun adds (`PQRUN_POOL_GPU`, `PQRUN_ATTEMPT` and so on), those of its matrix, the others of
its `env`. In a value of the same name it is the one below: a job's `PATH: "x:$PATH"` goes over the file's. A variable
that is not set is empty, of which `pqrun check` warns. `$$` is a dollar. All else stays as it is, as `$(date)`
and `${{NAME:-x}}`: those are for the command. It happens when the job starts, anew for each attempt, also after
`resume`, `add -f` and on the workers of a cluster. Values that come from elsewhere are literal: those of `--env`, of a
matrix, and what is inherited.

## How fast

`delay`, `rate`, `load` and `memfree` at the top hold back starts, and only those; what runs goes on. While
they do, the live table and `pqrun ps --why` say so. `rate: 50/1m` means that no minute ever sees more than
50 starts, retries among them. `load` counts the processes on the machine that run or could; on a system that
does not tell, it is the mean of the last minute. What starts between two looks, a second apart, is counted
as if it took its part of the load, or `memfree` of the memory, at once.

## Pools

`pools: {{net: 4}}` at the top says that there are four of `net`; a job with `pools: {{net: 1}}` runs only
while one of them is free. A list names them: with `gpu: [0, 1]` a job that takes one finds which in
`$PQRUN_POOL_GPU`.

## Hooks

```yaml
hooks:
  on_finish: [./record-run, --to, runs.csv]
  on_failure: mail -s "nightly, $PQRUN_HEADLINE" ops@example.org
  timeout: 30s
jobs:
  - ./backup
```

{hooks}
A hook reads the run's summary as JSON on its standard input and finds the most important of it in variables
([CI and operations](ci.md#hooks) has them all). It starts where jobs start. `--on-finish` and
`--on-failure` replace the command of their key; the time limit of the file holds for them too. `resume` runs
the same hooks again. Whatever becomes of a hook, the run's outcome stays as it is, and what went wrong is told.

## Part of a file

`--only SELECTOR` runs the selected jobs and what they need. `--skip SELECTOR` leaves out the selected
jobs and what needs them. A selector is an id (an exact one goes before a pattern), the id of a matrix
job, a pattern such as `'fetch-*'`, `all`, `priority:low` or `tag:nightly`. Both options may be given
several times.

## Part of the jobs on each of several machines

```sh
pqrun run ci.yaml --shard 1/4     # and 2/4, 3/4, 4/4 on the other machines
```

Each job belongs to one of the parts, by its id alone: new jobs don't move the others, and the order does not
matter. Only jobs that no other job needs are dealt out; what a job needs comes along with it, so a `build`
that all tests need runs on each machine, and a job that needs all others brings all others along: keep
that out of the file, or `--skip` it. `--only` and `--skip` choose first. A part without jobs is a success.

A job without an id is known by what it runs, and from the second time on by how often it was there. This
holds for lists of commands and for `pqrun each` too, but there no job can need another. The part is the
SHA-256 of the id, its first eight bytes as a number, modulo the number of parts, plus one.

## Several files

`pqrun run a.yaml b.yaml` runs the jobs of both as if they were one file: ids are unique across them,
needs may point from one to the other, and settings at the top that differ are an error.

## Limits

A file has at most {mib} MiB and 1,000,000 jobs, and is nested at most {deepest} levels deep; aliases may
expand to {expanded:,} values, and to more in a large file. For more jobs than that, use a list of
commands.

## A list of commands

A file that is not called `*.yaml`, `*.yml` or `*.json`, and what comes in on stdin, is a list of
commands, one a line, unless its first line is a key of the table above, `---` or `{{`. Blank lines and
lines that begin with `#` are skipped, a `\\` at the end of a line goes on in the next, and with `-0` NUL
characters separate the commands. The CR of a line end CRLF is no part of a command, nor of an argument
of `each` (with `-0` it is). Bytes that are no UTF-8 reach the shell as they are. A comment at the end of
a line sets keys of that job, so that the list still runs under `sh`:

```sh
make docs   # pqrun: id=docs priority=high timeout=10m retries=5
make upload # pqrun: needs=docs tags=net,nightly
```

The comments of a file are looked through before its first command runs: if one is wrong, all that are wrong are told with
their places, and nothing runs. `pqrun check` does the same. On a pipe, where a command runs before the next is read, reading
ends at the first that is wrong.

Keys that such a comment may have: {comment}. Values are words as in a shell, lists are separated by
commas, and needs are ids of jobs further up.
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
        comment=", ".join(f"`{key.name}`" for key in COMMENT_FIELDS),
    )
    tables = (
        f"## The file\n\n{_table(TOP_LEVEL_FIELDS)}",
        f"## A job\n\n{_table(JOB_FIELDS)}",
        f"## Retries\n\n`retries: 3` is `retries: {{max: 3}}`.\n\n{_table(RETRY_FIELDS)}",
    )
    return "\n".join((head, *tables, rest))


def _table(keys: Iterable[FieldSpec]) -> str:
    rows = ["| key | for example | without it | what it is for |", "|---|---|---|---|"]
    for key in keys:
        names = " or ".join(f"`{name}`" for name in (key.name, *key.also))
        default = f"`{key.default}`" if key.default and " " not in key.default else key.default
        rows.append(f"| {names} | `{key.example}` | {default} | {key.about} |".replace("  ", " "))
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(jobfile_page(), encoding="utf-8")
