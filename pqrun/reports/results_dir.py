# SPDX-License-Identifier: LGPL-3.0-or-later
"""`--results`: a directory for each job, with its last output and its record: `DIR/SEQ-ID/`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from pqrun.core import events as ev
from pqrun.core.errors import UserError
from pqrun.core.job import CountedAs
from pqrun.core.job_table import JobRow
from pqrun.core.observer import Observer
from pqrun.core.unicode_json import as_json
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
    """

    def __init__(self, directory: str, wall: Callable[[float], float]) -> None:
        self.failure = ""
        self._directory = directory
        self._wall = wall
        self.handlers = {ev.AttemptEnded: self._write, ev.JobEnded: self._describe}
        try:
            os.makedirs(directory, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot create {directory}: {error.strerror}") from None

    def _path(self, row: JobRow) -> str:
        return f"{self._directory}/{row.seq}-{safe_name(row.spec.id)}"

    def _write(self, event: ev.AttemptEnded, row: JobRow) -> None:
        if event.counted is CountedAs.RETRIED:
            return
        output: Capture | None = event.output
        try:
            path = self._path(row)
            os.makedirs(path, exist_ok=True)
            for name, stream in (("stdout", output and output.out), ("stderr", output and output.err)):
                _copy(stream or None, f"{path}/{name}")
        except OSError as error:
            self._failed(error)

    def _describe(self, _: ev.JobEnded, row: JobRow) -> None:
        try:
            path = self._path(row)
            os.makedirs(path, exist_ok=True)
            entry = job_entry(row, self._wall)
            for name in ("stdout", "stderr"):
                file = f"{path}/{name}"
                entry[name] = os.path.abspath(file) if os.path.exists(file) else None
            with open(f"{path}/meta.json", "w", encoding="utf-8") as meta:
                meta.write(as_json(entry, indent=1) + "\n")
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        if not self.failure:
            self.failure = f"cannot write {error.filename or self._directory}: {error.strerror}"


def _copy(stream: Stream | None, path: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        if stream is not None:
            stream.copy_to(fd)
    finally:
        os.close(fd)
