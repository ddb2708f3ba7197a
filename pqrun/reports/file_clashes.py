# SPDX-License-Identifier: LGPL-3.0-or-later
"""Refusal of outputs that would overwrite an input or a file of a run directory, before the run starts."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from pqrun.core.errors import InternalFailure, UserError
from pqrun.core.settings import REPORT_FILES, RecordSettings, ReportSettings
from pqrun.journal.run_directory import INDEX, JOURNAL, LOG_NAME, LOGS, OUR_FILES, RunDirectory, find_run
from pqrun.reports.targets import descriptor_of

RESULTS = ("stdout", "stderr", "meta.json")
# The prefixes of files beside ours: SQLite's `-wal` and `-shm`, and the old log `.1`.
_WITH_OTHERS = (INDEX, JOURNAL, LOG_NAME)
_LEVELS = 3


def refuse_clashes(settings: ReportSettings, record: RecordSettings, reads: Iterable[str] = ()) -> None:
    """Raise `UserError` if a report, the results or stdout would overwrite an input or a run's files.

    `reads`: the files that the run reads, `-` for stdin. Run directories are found in `record` and
    above the outputs.
    """
    inputs = [(name, found) for name in dict.fromkeys(reads) if (found := _status(name, 0)) is not None]
    runs = list(_runs(record))
    for name in REPORT_FILES:
        if path := getattr(settings, name):
            _check(f"--{name}", path, inputs, runs)
    for fd, name in ((1, "standard output"), (2, "standard error")):
        found = _status(f"/dev/fd/{fd}", fd)
        if found is not None and stat.S_ISREG(found.st_mode):
            for other, read in inputs:
                if os.path.samestat(found, read):
                    raise UserError(
                        f"{name} is written to {_called(other)}, which is an input: choose another file"
                    )
    if settings.results:
        _check_results(settings.results, inputs, runs)


def _check(option: str, path: str, inputs: list[tuple[str, os.stat_result]], runs: list[str]) -> None:
    found = _status(path, 1)
    if found is not None and (stat.S_ISREG(found.st_mode) or stat.S_ISFIFO(found.st_mode)):
        for name, read in inputs:
            if os.path.samestat(found, read):
                raise UserError(
                    f"{option} {path} would overwrite {_called(name)}, which is an input: choose another file"
                )
    if descriptor_of(path) is not None:
        return
    real = os.path.realpath(path)
    for run in (*runs, *_recorded_above(real)):
        if _is_of(real, found, run):
            raise UserError(f"{option} {path} is a file of the run directory {run}: choose another file")


def _check_results(results: str, inputs: list[tuple[str, os.stat_result]], runs: list[str]) -> None:
    real = os.path.realpath(results)
    for run in (*runs, *_recorded_above(f"{real}/x")):
        if real == run or _is_of(real, None, run):
            raise UserError(f"--results {results} is in the run directory {run}: choose another directory")
    for name, _ in inputs:
        read = os.path.realpath(name)
        if os.path.dirname(os.path.dirname(read)) == real and os.path.basename(read) in RESULTS:
            raise UserError(
                f"--results {results} may overwrite {name}, which is an input: choose another directory"
            )


def _runs(record: RecordSettings) -> Iterator[str]:
    """Yield the directories of this run, as far as the settings name them."""
    if record.run_dir:
        yield os.path.realpath(record.run_dir)
    if record.resume:
        try:
            yield os.path.realpath(find_run(record.resume).path)
        except (InternalFailure, UserError):
            return  # whatever opens the run reports this failure


def _recorded_above(real: str) -> Iterator[str]:
    """Yield the directories above, up to the depth of a run's files, that have a journal."""
    for _ in range(_LEVELS):
        real = os.path.dirname(real)
        if RunDirectory(real).has_journal():
            yield real


def _is_of(real: str, found: os.stat_result | None, run: str) -> bool:
    if real.startswith(f"{run}/"):
        name = real[len(run) + 1 :].partition("/")[0]
        if name in OUR_FILES or name.startswith(_WITH_OTHERS):
            return True
    if found is None or found.st_nlink < 2:
        return False
    return any(os.path.samestat(found, other) for other in _files_of(run))


def _files_of(run: str) -> Iterator[os.stat_result]:
    """Yield the status of a run's files, which may have hard links outside of the run directory."""
    for path in (run, f"{run}/{LOGS}"):
        for where, directories, names in os.walk(path):
            if where == run:
                directories.clear()
            for name in names:
                if (other := _status(f"{where}/{name}", -1)) is not None:
                    yield other


def _status(path: str, standard: int) -> os.stat_result | None:
    """Return a file's status, or None if it has none. `standard`: the descriptor that `-` stands for."""
    try:
        if path == "-":
            return os.fstat(standard)
        fd = descriptor_of(path)
        return os.stat(path) if fd is None else os.fstat(fd)
    except (OSError, ValueError):
        return None


def _called(name: str) -> str:
    return "standard input" if name == "-" else name
