# SPDX-License-Identifier: LGPL-3.0-or-later
"""`logs`: selects jobs and prints their output byte for byte, or follows it."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pqrun.cli.console import Console
from pqrun.control.client import ControlClient
from pqrun.core.errors import InternalFailure, UserError
from pqrun.core.job import AttemptId, Priority
from pqrun.core.selectors import SelectableJob, chosen
from pqrun.core.text import escape_controls
from pqrun.engine.signals import die_by_signal
from pqrun.journal.index import Index, StaleIndex, query_index, watch
from pqrun.journal.run_directory import RunDirectory, find_run, only_live_run
from pqrun.output.ci_markers import CIFences, ci_service
from pqrun.output.lines import for_screen, pieces_of_lines
from pqrun.output.store import COPY_CHUNK_BYTES, Logs, copy_range
from pqrun.output.writer import StreamWriter


class LiveOutput:
    """The output that a live run still holds in memory, read over its socket."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._talk: ControlClient | None = None
        self._silent = False

    def pieces(self, key: AttemptId, stream: int, offset: int) -> Iterator[bytes]:
        """Yield output from a byte on; end if that attempt is over or the run does not answer."""
        while data := self._ask(key, stream, offset):
            offset += len(data)
            yield data

    def _ask(self, key: AttemptId, stream: int, offset: int) -> bytes:
        if self._silent:
            return b""
        try:
            self._talk = self._talk or ControlClient(self._run.path)
            answer = self._talk.request("output", seq=key.seq, stream=stream, offset=offset)
        except (InternalFailure, UserError):
            self._silent = True  # the run has just ended, and its files have the rest
            return b""
        if answer.get("attempt") != key.attempt:
            return b""
        return base64.b64decode(answer.get("data", ""))


_KINDS = ("state:", "priority:", "tag:")


class JobOutput(NamedTuple):
    """The output of an attempt. `sizes`: bytes of stdout and stderr, None without a recorded end."""

    key: AttemptId
    id: str
    sizes: tuple[int, int] | None


def resolve_jobs(index: Index, selectors: Sequence[str], *, live: bool) -> list[int]:
    """Return the sequence numbers of the selected jobs, in order.

    `live`: whether the run is live; else running jobs count as interrupted. Raises `UserError` for an
    id that no job has.
    """
    if not selectors:
        return [seq for (seq,) in index.rows("seq")]
    if len(selectors) == 1 and (found := index.rows("seq", "id = ?", selectors[0])):
        return [found[0][0]]
    subjects = []
    for seq, job_id, state, priority, tags in index.rows("seq, id, state, priority, tags"):
        state = "interrupted" if state == "running" and not live else state
        tag_names = tuple(json.loads(tags)) if tags != "[]" else ()
        subjects.append((seq, SelectableJob(job_id, state, Priority(priority).name.lower(), tag_names)))
    meant = set(chosen(subjects, selectors))
    ids = {subject.id for _, subject in subjects}
    for selector in selectors:
        if selector in ids or selector == "all" or selector.startswith(_KINDS) or set("*?[") & set(selector):
            continue
        if not selector.isdecimal() or not index.rows("seq", "seq = ?", int(selector)):
            raise UserError(f"no job `{escape_controls(selector)}` in that run (`pqrun show` lists them)")
        meant.add(int(selector))
    return sorted(meant)


def output_of(index: Index, seq: int, attempt: int | None) -> JobOutput | None:
    """Return the output of that attempt, or of the last one; None if there was no such attempt."""
    found = index.jobs("seq = ?", seq)
    if not found:
        return None
    row = found[0]
    running = row.state == "running"
    if attempt is None:
        attempt = row.attempts if running else row.last
    for ended in [row] if attempt == row.last else index.attempts(seq):
        if ended.last == attempt and attempt:
            sizes = (ended.stdout_bytes, ended.stderr_bytes)
            return JobOutput(AttemptId(seq, attempt), row.spec.id, sizes)
    if running and attempt == row.attempts:
        return JobOutput(AttemptId(seq, attempt), row.spec.id, None)
    return None


class LogPrinter:
    """The printer of outputs. It remembers how much of each it has printed, for `--follow`."""

    def __init__(
        self, page: Console, run: RunDirectory, *, live: bool, stderr_only: bool, headings: bool
    ) -> None:
        self.page = page
        self._live = LiveOutput(run) if live else None
        self._logs = Logs(run.logs, keep=True)
        self._outlets = {2: page.out} if stderr_only else {1: page.out, 2: page.err}
        self._headings = headings
        self._fences = CIFences(ci_service("auto", os.environ), lambda: os.urandom(12).hex(), lambda: 0.0)
        if self._fences.whole_lines:
            self._outlets = dict.fromkeys(self._outlets, page.out)
        self._written: dict[tuple[AttemptId, int], int] = {}

    @property
    def gone(self) -> bool:
        """Whether the reader of stdout has closed the pipe."""
        return self.page.out.gone

    def print(self, output: JobOutput) -> None:
        """Print the part of the output that was not printed yet."""
        for stream, writer in self._outlets.items():
            if output.sizes is None:
                self._print_so_far(output, stream, writer)
            elif size := output.sizes[stream - 1]:
                self._print_file(output, stream, size, writer)

    def _print_so_far(self, output: JobOutput, stream: int, writer: StreamWriter) -> None:
        """Print the output of an attempt that runs or was cut short: from its file, or from the live run."""
        with contextlib.suppress(FileNotFoundError):
            self._print_file(output, stream, os.stat(self._logs.path(output.key, stream)).st_size, writer)
            return
        if self._live is None:
            return
        start = self._written.get((output.key, stream), 0)
        for piece in self._live.pieces(output.key, stream, start):
            self._head(output, start)
            with self._fenced(writer, piece[-1:]):
                writer.write(for_screen(piece) if writer.is_terminal else piece)
            start += len(piece)
            self._written[output.key, stream] = start

    def _print_file(self, output: JobOutput, stream: int, size: int, writer: StreamWriter) -> None:
        start = self._written.get((output.key, stream), 0)
        if start >= size:
            return
        path = self._logs.path(output.key, stream)
        try:
            source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise InternalFailure(f"cannot read {path}: {error.strerror}") from error
        try:
            self._head(output, start)
            with self._fenced(writer, os.pread(source, 1, size - 1)):
                self._copy(source, start, size, writer)
        finally:
            os.close(source)
        self._written[output.key, stream] = size

    @contextlib.contextmanager
    def _fenced(self, writer: StreamWriter, last: bytes) -> Iterator[None]:
        """Write marks around the output of the `with` block, so that a CI service obeys no command in it.

        `last`: the last byte of the output.
        """
        fence = self._fences.around("", None)
        if fence.before:
            writer.write(fence.before)
        yield
        if fence.after:
            writer.write(fence.after if last == b"\n" else b"\n" + fence.after)

    def _copy(self, source: int, start: int, end: int, writer: StreamWriter) -> None:
        if not writer.is_terminal:
            writer.copy_from(lambda fd: copy_range(source, fd, start, end))
            return
        for piece, _ in pieces_of_lines(_pieces(source, start, end)):
            writer.write(for_screen(piece))

    def _head(self, output: JobOutput, start: int) -> None:
        if start or not self._headings:
            return
        seq, attempt = output.key
        name = escape_controls(output.id) if output.id != str(seq) else ""
        words = " ".join(word for word in (str(seq), name, f"try {attempt}" if attempt > 1 else "") if word)
        self.page.say(self.page.paint("bold", f"==> {words} <=="))


def _pieces(source: int, start: int, end: int) -> Iterator[bytes]:
    while start < end and (piece := os.pread(source, min(COPY_CHUNK_BYTES, end - start), start)):
        start += len(piece)
        yield piece


NOTHING_CHOSEN = 1


def print_logs(
    name: str, selectors: Sequence[str], *, attempt: int | None, stderr_only: bool, follow: bool
) -> int:
    """Print the output of the selected jobs; return the exit code, 1 if the selectors match no job."""
    page = Console()
    run, selectors = _run_and_jobs(name, selectors)
    live = run.in_use()
    seqs = query_index(run, lambda index: resolve_jobs(index, selectors, live=live))
    if not seqs and selectors:
        page.note(f"no job matches {' or '.join(escape_controls(text) for text in selectors)}")
        return NOTHING_CHOSEN
    headings = len(seqs) != 1 and page.is_terminal
    printer = LogPrinter(page, run, live=live, stderr_only=stderr_only, headings=headings)
    if follow and live:
        follow_run(printer, run, selectors, seqs, attempt)
    else:
        for output in query_index(run, lambda index: _outputs(index, seqs, attempt)):
            printer.print(output)
    page.end()
    return 0


def _run_and_jobs(name: str, selectors: Sequence[str]) -> tuple[RunDirectory, Sequence[str]]:
    """Return the run with this name, and the selectors; or the only live run, if the name is that of its job.

    Raises UserError if there is neither.
    """
    try:
        return find_run(name), selectors
    except UserError:
        run = only_live_run()
        if run is None or not _has_job(run, name):
            raise
        return run, [name, *selectors]


def _has_job(run: RunDirectory, selector: str) -> bool:
    try:
        return bool(query_index(run, lambda index: resolve_jobs(index, [selector], live=True)))
    except UserError:
        return False


def _outputs(index: Index, seqs: Sequence[int], attempt: int | None) -> list[JobOutput]:
    outputs = [output for seq in seqs if (output := output_of(index, seq, attempt)) is not None]
    if attempt is not None and not outputs:
        raise UserError(f"no job has an attempt {attempt}")
    return outputs


POLL_INTERVAL_SECONDS = 0.1


def follow_run(
    printer: LogPrinter, run: RunDirectory, selectors: Sequence[str], seqs: Sequence[int], attempt: int | None
) -> None:
    """Print the output of the selected jobs, and go on until they or the run have ended."""
    told = dict.fromkeys(seqs, 0)
    try:
        with watch(run) as index:
            _print_ended(printer, index, told, attempt, since_last=False)
        while not _follow(printer, run, selectors, told, attempt):
            pass  # the journal of a queue was compacted: read it again, but print nothing twice
    except KeyboardInterrupt:
        die_by_signal(signal.SIGINT)


def _follow(
    printer: LogPrinter,
    run: RunDirectory,
    selectors: Sequence[str],
    told: dict[int, int],
    attempt: int | None,
) -> bool:
    """Follow the run; return False if its journal was replaced and has to be read from the beginning.

    `told`: for each job the last attempt that was printed.
    """
    with watch(run) as index, contextlib.suppress(StaleIndex):
        touched = set(told)
        while not printer.gone:
            live = run.in_use()
            touched |= index.catch_up()
            if touched:
                meant = set(resolve_jobs(index, selectors, live=True)) if selectors else touched
                news = {seq: told.get(seq, 0) for seq in sorted(touched & meant)}
                _print_ended(printer, index, news, attempt, since_last=True)
                told.update(news)
                touched = set()
            if len(told) == 1 and selectors and (output := output_of(index, next(iter(told)), attempt)):
                printer.print(output)
            if not live or (selectors and not index.unfinished() & told.keys()):
                return True
            time.sleep(POLL_INTERVAL_SECONDS)
        return True
    return False


def _print_ended(
    printer: LogPrinter, index: Index, told: dict[int, int], attempt: int | None, *, since_last: bool
) -> None:
    """Print the attempts that have ended: with `since_last` all since the last call, else the last one."""
    for seq, last_told in told.items():
        ended = [row.last for row in index.attempts(seq)]
        wanted = [attempt] if attempt is not None else ended if since_last else ended[-1:]
        for number in wanted:
            if last_told < number and number in ended and (output := output_of(index, seq, number)):
                printer.print(output)
        told[seq] = max(ended, default=last_told)
