# SPDX-License-Identifier: LGPL-3.0-or-later
"""Job files in YAML or JSON, read into JobSpecs. YAML is imported only when a file is loaded.

From outside, call `load`.

  source_text  a file's bytes and nodes with places     problems     errors and warnings to show
  yaml_tree    builds nodes from libyaml's events       yaml_errors  rewrites libyaml's messages
  node_reader  reads texts and entries from nodes       fields       converts the values of keys
  expand       expands matrices and loops               needs        resolves needs, finds cycles
  document     reads one file                           loading      loads and joins files
  json_schema  the schema for editors
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pqrun.core.job import Pool
from pqrun.input.jobfile.problems import JobFileError, Problem

if TYPE_CHECKING:
    from pqrun.input.jobfile.loading import JobFile

__all__ = ["JobFileError", "Problem", "load"]


def load(
    paths: Sequence[str],
    given: Mapping[str, Any],
    *,
    read: Callable[[str], bytes] | None = None,
    format: Literal["yaml", "json"] | None = None,
    pools: Sequence[Pool] = (),
    environment: Container[str] | None = None,
) -> JobFile:
    """Read job files (`-` is stdin). Raises JobFileError with every problem in any of the files.

    `given` are the command line's settings, converted: they override the files' `defaults`, and a job's own
    fields override them. `pools` of the command line override those of the files. `format` has no effect,
    since YAML and JSON are read the same way; callers may still pass it. `environment` names the variables
    that jobs inherit: with it, there is a warning for every other variable that a value of `env` refers to.
    """
    from pqrun.input.jobfile import loading
    from pqrun.input.jobfile import source_text as text

    return loading.load(paths, given, read or text.read, pools, environment)
