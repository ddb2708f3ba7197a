# SPDX-License-Identifier: LGPL-3.0-or-later
"""A directory for each job, `DIR/SEQ-ID/`.

`--results` writes the job's last output and its record there, `--extract` the output alone.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable

from pqrun.core import events as ev
from pqrun.core.errors import InternalFailure, UserError
from pqrun.core.events import Observer
from pqrun.core.job import CountedAs, OutputPlace
from pqrun.core.job_row import JobRow
from pqrun.core.unicode_json import as_json
from pqrun.journal.stored_rows import recorded_output
from pqrun.output.store import Capture, Stream
from pqrun.reports.json_document import job_entry

MAX_NAME_LENGTH = 80
_UNSAFE = re.compile(r"[^A-Za-z0-9._+=,@-]+")


def safe_name(text: str) -> str:
    """Return text for a part of a file name: ASCII, without slashes, at most 80 characters."""
    return _UNSAFE.sub("_", text)[:MAX_NAME_LENGTH]


class ResultsDirectory(Observer):
    """The writer of the job directories: the output when its last attempt has ended, then the record.

    It comes before the observers that may remove output. `failure`: why a directory could not be written, if so.
    `known`: the jobs of a resumed run. Of those that have ended, directories that a killed pqrun did not complete are
    written now.
    """

    def __init__(self, directory: str, wall: Callable[[float], float], known: Iterable[JobRow] = ()) -> None:
        self.failure = ""
        self._directory = directory
        self._wall = wall
        # Jobs whose output could not be written: they get no record, so that `resume` tries again.
        self._torn: set[int] = set()
        self.handlers = {ev.AttemptEnded: self._write, ev.JobEnded: self._describe}
        try:
            os.makedirs(directory, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot create {directory}: {error.strerror}") from None
        for row in known:
            if row.outcome is not None and not _is_complete(_path(directory, row), row):
                self._write_ended(row)

    def _write_ended(self, row: JobRow) -> None:
        try:
            if row.attempts:
                _write_streams(recorded_output(row), _path(self._directory, row))
            self._describe(None, row)
        except OSError as error:
            self._failed(error)

    def _write(self, event: ev.AttemptEnded, row: JobRow) -> None:
        if event.counted is CountedAs.RETRIED:
            return
        try:
            _write_streams(event.output, _path(self._directory, row))
            self._torn.discard(row.seq)
        except OSError as error:
            self._torn.add(row.seq)
            self._failed(error)

    def _describe(self, _: ev.JobEnded | None, row: JobRow) -> None:
        if row.seq in self._torn:
            return
        try:
            path = _path(self._directory, row)
            os.makedirs(path, exist_ok=True)
            entry = job_entry(_with_own_files(row, path), self._wall)
            with open(f"{path}/meta.json", "w", encoding="utf-8") as meta:
                meta.write(as_json(entry, indent=1) + "\n")
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        if not self.failure:
            self.failure = f"cannot write {error.filename or self._directory}: {error.strerror}"


def extract(row: JobRow, directory: str) -> JobRow:
    """Write the recorded output of an ended attempt to the directory of its job, and return a row that names the files.

    Raises InternalFailure if the output can't be read or written.
    """
    path = _path(directory, row)
    try:
        _write_streams(recorded_output(row), path)
    except OSError as error:
        raise InternalFailure(
            f"cannot extract an output: {error.filename or path}: {error.strerror}"
        ) from None
    return _with_own_files(row, path)


def _path(directory: str, row: JobRow) -> str:
    return f"{directory}/{row.seq}-{safe_name(row.spec.id)}"


def _is_complete(path: str, row: JobRow) -> bool:
    """Return whether the directory has the record of the job's last end, which is written after its output."""
    try:
        with open(f"{path}/meta.json", encoding="utf-8") as meta:
            said = json.load(meta)
        return (said["state"], said["attempts"]) == (row.state, row.attempts)
    except (OSError, ValueError, TypeError, KeyError):
        return False


def _write_streams(output: Capture | None, path: str) -> None:
    os.makedirs(path, exist_ok=True)
    for name, stream in (("stdout", output and output.out), ("stderr", output and output.err)):
        _copy(stream or None, f"{path}/{name}")


def _with_own_files(row: JobRow, path: str) -> JobRow:
    row = row.copy()
    out, err = (os.path.abspath(f"{path}/{name}") for name in ("stdout", "stderr"))
    row.stdout_at = OutputPlace(out) if os.path.exists(out) else None
    row.stderr_at = OutputPlace(err) if os.path.exists(err) else None
    return row


def _copy(stream: Stream | None, path: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        if stream is not None:
            stream.copy_to(fd)
    finally:
        os.close(fd)
