# SPDX-License-Identifier: LGPL-3.0-or-later
"""What jobs have printed, byte for byte; on a terminal made safe, with a heading for each job."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pqrun.capture import PIECE, Logs, copy_range
from pqrun.cli.liveoutput import LiveOutput
from pqrun.cli.looking import Page
from pqrun.control.selectors import Subject, chosen
from pqrun.display.choose import ci_service
from pqrun.display.fences import Fences
from pqrun.display.lines import for_screen, pieces_of_lines
from pqrun.display.outlet import Outlet
from pqrun.display.safe import safe
from pqrun.errors import OwnFailure, UserError
from pqrun.journal.index import Index
from pqrun.journal.rundir import RunDirectory
from pqrun.model import Key, Priority

_KINDS = ("state:", "priority:", "tag:")


class Output(NamedTuple):
    """An attempt's output; its `sizes` (of stdout and stderr) are known when it has ended."""

    key: Key
    id: str
    sizes: tuple[int, int] | None


def jobs_meant(index: Index, selectors: Sequence[str], *, live: bool) -> list[int]:
    """Their numbers, in order of submission; `UserError` for an id that no job has."""
    if not selectors:
        return [seq for (seq,) in index.rows("seq")]
    if len(selectors) == 1 and (found := index.rows("seq", "id = ?", selectors[0])):
        return [found[0][0]]
    subjects = []
    for seq, job_id, state, priority, tags in index.rows("seq, id, state, priority, tags"):
        state = "interrupted" if state == "running" and not live else state
        tag_names = tuple(json.loads(tags)) if tags != "[]" else ()
        subjects.append((seq, Subject(job_id, state, Priority(priority).name.lower(), tag_names)))
    meant = set(chosen(subjects, selectors))
    ids = {subject.id for _, subject in subjects}
    for selector in selectors:
        if selector in ids or selector == "all" or selector.startswith(_KINDS) or set("*?[") & set(selector):
            continue
        if not selector.isdecimal() or not index.rows("seq", "seq = ?", int(selector)):
            raise UserError(f"no job `{safe(selector)}` in that run (`pqrun show` lists them)")
        meant.add(int(selector))
    return sorted(meant)


def output_of(index: Index, seq: int, attempt: int | None) -> Output | None:
    """Of that attempt, or of the last one; None if there was none."""
    found = index.rows("id, state, attempts, last, out, err", "seq = ?", seq)
    if not found:
        return None
    job_id, state, attempts, last, out, err = found[0]
    if attempt is None:
        attempt = attempts if state == "running" else last
    if attempt == last and last:
        return Output(Key(seq, attempt), job_id, (out, err))
    for earlier in index.earlier_attempts(seq):
        if earlier["last"] == attempt:
            return Output(Key(seq, attempt), job_id, (earlier["out"], earlier["err"]))
    if state == "running" and attempt == attempts:
        return Output(Key(seq, attempt), job_id, None)
    return None


class Printer:
    """Writes outputs; remembers how much of each it has written."""

    def __init__(
        self, page: Page, run: RunDirectory, *, live: bool, stderr_only: bool, headings: bool
    ) -> None:
        self.page = page
        self._live = LiveOutput(run) if live else None
        self._logs = Logs(run.logs, keep=True)
        self._outlets = {2: page.out} if stderr_only else {1: page.out, 2: page.err}
        self._headings = headings
        self._fences = Fences(ci_service("auto", os.environ), lambda: os.urandom(12).hex(), lambda: 0.0)
        if self._fences.whole_lines:
            self._outlets = dict.fromkeys(self._outlets, page.out)
        self._written: dict[tuple[Key, int], int] = {}

    @property
    def gone(self) -> bool:
        """Whether nobody reads any more."""
        return self.page.out.gone

    def print(self, output: Output) -> None:
        """What there is of it and was not written yet."""
        for stream, outlet in self._outlets.items():
            if output.sizes is None:
                self._print_so_far(output, stream, outlet)
            elif size := output.sizes[stream - 1]:
                self._print_file(output, stream, size, outlet)

    def _print_so_far(self, output: Output, stream: int, outlet: Outlet) -> None:
        """Of an attempt that runs, or was cut short: from its file, or else from who runs it."""
        with contextlib.suppress(FileNotFoundError):
            self._print_file(output, stream, os.stat(self._logs.path(output.key, stream)).st_size, outlet)
            return
        if self._live is None:
            return
        start = self._written.get((output.key, stream), 0)
        for piece in self._live.pieces(output.key, stream, start):
            self._head(output, start)
            with self._fenced(outlet, piece[-1:]):
                outlet.write(for_screen(piece) if outlet.is_terminal else piece)
            start += len(piece)
            self._written[output.key, stream] = start

    def _print_file(self, output: Output, stream: int, size: int, outlet: Outlet) -> None:
        start = self._written.get((output.key, stream), 0)
        if start >= size:
            return
        path = self._logs.path(output.key, stream)
        try:
            source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise OwnFailure(f"cannot read {path}: {error.strerror}") from error
        try:
            self._head(output, start)
            with self._fenced(outlet, os.pread(source, 1, size - 1)):
                self._copy(source, start, size, outlet)
        finally:
            os.close(source)
        self._written[output.key, stream] = size

    @contextlib.contextmanager
    def _fenced(self, outlet: Outlet, last: bytes) -> Iterator[None]:
        """In a step of a CI service what jobs have printed tells it nothing; `last`: the last byte of it."""
        fence = self._fences.around("", None)
        if fence.before:
            outlet.write(fence.before)
        yield
        if fence.after:
            outlet.write(fence.after if last == b"\n" else b"\n" + fence.after)

    def _copy(self, source: int, start: int, end: int, outlet: Outlet) -> None:
        if not outlet.is_terminal:
            outlet.pour(lambda fd: copy_range(source, fd, start, end))
            return
        for piece, _ in pieces_of_lines(_pieces(source, start, end)):
            outlet.write(for_screen(piece))

    def _head(self, output: Output, start: int) -> None:
        if start or not self._headings:
            return
        seq, attempt = output.key
        name = safe(output.id) if output.id != str(seq) else ""
        words = " ".join(word for word in (str(seq), name, f"try {attempt}" if attempt > 1 else "") if word)
        self.page.say(self.page.paint("bold", f"==> {words} <=="))


def _pieces(source: int, start: int, end: int) -> Iterator[bytes]:
    while start < end and (piece := os.pread(source, min(PIECE, end - start), start)):
        start += len(piece)
        yield piece
