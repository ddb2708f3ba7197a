# SPDX-License-Identifier: LGPL-3.0-or-later
"""`check`, `schema` and `init`: commands for job files that run no job."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Final

from pqrun.cli.declarations import ArgumentSpec, CommandSpec
from pqrun.cli.stdout import print_text
from pqrun.core.errors import UserError

if TYPE_CHECKING:
    from pqrun.input.list_check import ListPart


SCHEMA_FILE: Final = "pqrun.schema.json"
EXAMPLE: Final = f"""\
# yaml-language-server: $schema={SCHEMA_FILE}
# That file gives completion in your editor; to write it again: pqrun schema > {SCHEMA_FILE}
#
# Check this file:  pqrun check jobs.yaml
# Run it:           pqrun run jobs.yaml

# workers: 4                    # how many jobs run at a time; default: one per CPU

defaults:                       # for every job that sets no other value
  timeout: 10m
  retries: 1

jobs:
  - echo hello                  # a string is a job: the shell runs it

  - id: fetch
    run: 'echo "fetching for $NAME"'
    env:
      NAME: you
    priority: high              # critical, high, normal or low

  - id: test
    needs: [fetch]              # starts when `fetch` is ok
    matrix:                     # runs once for each combination
      SIZE: [small, large]
    run: echo "a $SIZE test"

  - id: report
    needs: [test]
    run: |
      echo "several lines,"
      echo "one script"
"""


def check_files(paths: Sequence[str]) -> int:
    """Print all errors of job files and lists to stderr; return 2 if there are any, else 0."""
    from pqrun.cli.messages import stderr_layout, write_lines
    from pqrun.core.text import printable
    from pqrun.executors.local.environment import inherited_names
    from pqrun.input.jobfile import JobFileError, load
    from pqrun.input.jobfile.problems import closing
    from pqrun.input.sources import refuse_twice

    refuse_twice(paths)
    job_files, lists, read = _sorted_out(paths)
    errors: list[JobFileError] = []
    warnings: tuple[str, ...] = ()
    count = 0
    if job_files:
        try:
            found = load(job_files, {}, read=read, environment=inherited_names())
            warnings, count = found.warnings, len(found.jobs)
        except JobFileError as error:
            errors.append(error)
    if lists:
        from pqrun.input.command_list import CommandList
        from pqrun.input.list_check import check_list

        try:
            lines = CommandList({}, file=lists[0].name, after=count)
            count += check_list(lines, lists, everything=True)
        except JobFileError as error:
            errors.append(error)
    if errors:
        layout = stderr_layout()
        shown = [line for error in errors for line in error.shown(layout)]
        write_lines([*shown, *closing(errors, layout)], escape=False)
        return 2
    write_lines(warnings, escape=False)
    names = ", ".join("stdin" if path == "-" else printable(path) for path in paths)
    print_text(f"{names}: {count} job{'' if count == 1 else 's'}, no problems\n")
    return 0


def _sorted_out(paths: Sequence[str]) -> tuple[list[str], list[ListPart], Callable[[str], bytes] | None]:
    """Return the job files, the lists of commands, and the function that reads the job files."""
    if all(path.endswith((".yaml", ".yml", ".json")) for path in paths):
        return list(paths), [], None  # the usual case: the names tell, and no file has to be opened
    from pqrun.input.jobfile import source_text as text
    from pqrun.input.list_check import ListPart
    from pqrun.input.sources import read_whole

    job_files: list[str] = []
    lists: list[ListPart] = []
    opened: dict[str, Iterator[bytes]] = {}
    for path in paths:
        if path.endswith((".yaml", ".yml", ".json")):
            job_files.append(path)
            continue
        is_job_file, pieces = read_whole(path)
        if is_job_file:
            job_files.append(path)
            opened[path] = pieces
        else:
            lists.append(ListPart("stdin" if path == "-" else path, pieces.__iter__))

    def read(path: str) -> bytes:
        return b"".join(opened.pop(path)) if path in opened else text.read(path)

    return job_files, lists, read


def schema_text() -> str:
    """Return the JSON Schema of the job file."""
    import json

    from pqrun.input.jobfile.json_schema import schema

    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def write_example(path: str) -> str:
    """Write the commented example, and the schema that its first line names; return the path of the schema.

    Raises `UserError` if the example exists or cannot be written. A schema that exists is kept: it may be newer.
    """
    schema_path = os.path.join(os.path.dirname(path), SCHEMA_FILE)
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(EXAMPLE)
        with contextlib.suppress(FileExistsError), open(schema_path, "x", encoding="utf-8") as file:
            file.write(schema_text())
    except FileExistsError:
        raise UserError(f"{path} exists already: move it away, or name another file") from None
    except OSError as error:
        raise UserError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from None
    return schema_path


PANEL = "Job files"


def check(
    files: Annotated[list[str], ArgumentSpec("FILE...", "Job files or lists of commands; - is stdin")],
) -> int:
    """Check job files and lists of commands, and list every error with its line. Exit with 0 or 2."""
    return check_files(files)


def init(
    file: Annotated[str, ArgumentSpec("[FILE]", "Name of the new file; - prints it")] = "jobs.yaml",
) -> None:
    """Write a commented example of a job file, and its JSON Schema. Existing files are not overwritten."""
    if file == "-":
        print_text(EXAMPLE)
        return
    schema_path = write_example(file)
    from pqrun.cli.console import Console
    from pqrun.core.text import command, escape_controls

    page = Console()
    name, check, run = escape_controls(file), command("check", file), command("run", file)
    lines = page.painted(f"wrote {name}, and {escape_controls(schema_path)} for your editor", (name, "bold"))
    lines += page.painted(f"change it, then: {check}", (check, "bold"), indent="  ")
    lines += page.painted(f"and run it: {run}", (run, "bold"), indent="  ")
    page.say("\n".join(lines))
    page.end()


def schema() -> None:
    """Print the JSON Schema of job files, for editors."""
    print_text(schema_text())


EXAMPLES: Final[dict[Callable[..., int | None], tuple[str, ...]]] = {
    check: ("pqrun check jobs.yaml", "pqrun check jobs.yaml nightly.txt"),
    init: ("pqrun init", "pqrun init nightly.yaml"),
    schema: (f"pqrun schema > {SCHEMA_FILE}",),
}
COMMANDS = tuple(
    CommandSpec(function.__name__, function, PANEL, examples=examples)
    for function, examples in EXAMPLES.items()
)
