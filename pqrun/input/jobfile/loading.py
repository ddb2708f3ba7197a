# SPDX-License-Identifier: LGPL-3.0-or-later
"""The loading of job files, from their paths to the jobs of a run."""

from __future__ import annotations

import gc
from collections.abc import Callable, Container, Sequence
from typing import Any, Final

from pqrun.core.job import JobSpec, Pool
from pqrun.input.defaults import Values
from pqrun.input.jobfile import JobFile
from pqrun.input.jobfile.document import Document
from pqrun.input.jobfile.merge import MergedFiles
from pqrun.input.jobfile.problems import Problem, Problems
from pqrun.input.jobfile.source_text import SourceText

_SETTINGS: Final = ("delay", "rate", "load", "memfree", "halt", "deadline", "hooks")


def load(
    paths: Sequence[str],
    given: Values,
    read: Callable[[str], bytes],
    pools: Sequence[Pool],
    environment: Container[str] | None = None,
) -> JobFile:
    """Load files like `pqrun.input.jobfile.load`, with the garbage collector switched off.

    A growing tree produces no garbage. Searching it again and again doubles the time for 100,000 jobs.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        return _load(paths, given, read, pools, environment)
    finally:
        if enabled:
            gc.enable()


def _load(
    paths: Sequence[str],
    given: Values,
    read: Callable[[str], bytes],
    pools: Sequence[Pool],
    environment: Container[str] | None,
) -> JobFile:
    """Read and join the files. Raises JobFileError with every problem in any of them."""
    problems = Problems()
    texts = [_text(rank, path, read, problems) for rank, path in enumerate(paths)]
    joined = _joined(texts, problems, pools)
    if problems.count:
        raise problems.error(dict(enumerate(texts)))
    jobs = joined.specs(given, environment)
    return _made(joined, jobs, problems.warnings(dict(enumerate(texts))))


def _joined(texts: Sequence[SourceText], problems: Problems, pools: Sequence[Pool]) -> MergedFiles:
    """Return the files joined; problems are added."""
    sheets = [Document(text, problems) for text in texts if text.is_there and text.is_sound(problems)]
    joined = MergedFiles(sheets, problems)
    joined.settle(pools)
    if len(sheets) == len(texts) and all(sheet.sound for sheet in sheets):
        joined.check_pools()
        if joined.name():
            joined.connect()
    return joined


def _made(joined: MergedFiles, jobs: list[JobSpec], warnings: tuple[str, ...] = ()) -> JobFile:
    settings = joined.settings
    pools = tuple(joined.pools.values())
    said: dict[str, Any] = {str(name): settings[name] for name in _SETTINGS if name in settings}
    return JobFile(
        jobs,
        settings.get("workers"),
        settings.get("max_queue"),
        pools,
        warnings,
        said,
        joined.reads,
    )


def _text(rank: int, path: str, read: Callable[[str], bytes], problems: Problems) -> SourceText:
    name = "stdin" if path == "-" else path
    try:
        return SourceText(name, read(path), rank)
    except OSError as wrong:
        problems.add(Problem(rank, 0, 0, (wrong.strerror or str(wrong)).lower()))
    except ValueError:
        problems.add(Problem(rank, 0, 0, "not a path"))
    return SourceText(name, b"", rank, is_there=False)
