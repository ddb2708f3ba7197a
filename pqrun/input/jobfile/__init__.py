# SPDX-License-Identifier: LGPL-3.0-or-later
"""Job files and lists of commands to JobSpecs. Loads neither yaml nor a model until it has to."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from pqrun.core.job import JobSpec, Pool
from pqrun.input.jobfile.problems import JobFileError, Problem

__all__ = ["JobFile", "JobFileError", "Problem", "load"]


class JobFile(NamedTuple):
    """What one or more job files say. `workers` as written (`4`, `50%`, `auto`); None: not said.

    `settings` holds `delay`, `rate` and what else an option of that name could say, if they do;
    `reads` are the files beside the job files that were read.
    """

    jobs: list[JobSpec]
    workers: str | None = None
    max_queue: int | None = None
    pools: tuple[Pool, ...] = ()
    warnings: tuple[str, ...] = ()
    settings: Mapping[str, Any] = MappingProxyType({})
    reads: tuple[str, ...] = ()


def load(
    paths: Sequence[str],
    given: Mapping[str, Any],
    *,
    read: Callable[[str], bytes] | None = None,
    format: Literal["yaml", "json"] | None = None,
    pools: Sequence[Pool] = (),
    environment: Container[str] | None = None,
) -> JobFile:
    """Reads job files (`-` is stdin). Raises JobFileError with all that is wrong in any of them.

    `given` are the command line's settings, converted: they go over the files' `defaults` and under
    what a job says. `pools` of the command line go over those of the files. YAML and JSON are read
    the same way, so `format` decides nothing: it is there for whoever has to name one. With `environment`,
    the names of variables that jobs inherit, there is a warning for each other that a value of `env` needs.
    """
    from pqrun.input.jobfile import loading
    from pqrun.input.jobfile import source_text as text

    return loading.load(paths, given, read or text.read, pools, environment)
