# SPDX-License-Identifier: LGPL-3.0-or-later
"""`check`, `schema` and `init`: what is done with job files without running them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from pqrun.errors import UserError

SCHEMA_FILE: Final = "pqrun.schema.json"
EXAMPLE: Final = f"""\
# yaml-language-server: $schema={SCHEMA_FILE}
# For help in an editor: pqrun schema > {SCHEMA_FILE}
#
# Check this file:  pqrun check jobs.yaml
# Run it:           pqrun run jobs.yaml

# workers: 4                    # how many at once; without it, one for each CPU

defaults:                       # for every job that does not say otherwise
  timeout: 10m
  retries: 1

jobs:
  - echo hello                  # a text alone is a job: it goes through the shell

  - id: fetch
    run: 'echo "fetching for $NAME"'
    env:
      NAME: you
    priority: high              # critical, high, normal or low

  - id: test
    needs: [fetch]              # starts when that has ended well
    matrix:                     # runs once for each combination
      SIZE: [small, large]
    run: echo "a $SIZE test"

  - id: report
    needs: [test]
    run: |
      echo "several lines,"
      echo "one script"
"""


def check(paths: Sequence[str]) -> int:
    """Says what is wrong with job files, on stderr; 0 if nothing is, else 2."""
    from pqrun.executors.inherited import inherited_names
    from pqrun.jobfile import JobFileError, load
    from pqrun.jobfile.values import printable

    try:
        found = load(paths, {}, environment=inherited_names())
    except JobFileError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for warning in found.warnings:
        sys.stderr.write(f"{warning}\n")
    count = len(found.jobs)
    names = ", ".join("stdin" if path == "-" else printable(path) for path in paths)
    sys.stdout.write(f"{names}: {count} job{'' if count == 1 else 's'}, no problems\n")
    return 0


def schema_text() -> str:
    """The JSON Schema of the job file."""
    import json

    from pqrun.jobfile.schema import schema

    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def init(path: str) -> None:
    """Writes a commented example; never over something that is there."""
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(EXAMPLE)
    except FileExistsError:
        raise UserError(f"{path} is there already: move it away, or name another file") from None
    except OSError as error:
        raise UserError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from None
