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
from pqrun.core.job_row import JobRow
from pqrun.core.selectors import SelectableJob, chosen
from pqrun.core.text import escape_controls
from pqrun.engine.signals import die_by_signal
from pqrun.journal.index import Index, StaleIndex, query_index, watch
from pqrun.journal.run_directory import RunDirectory, find_run, only_live_run
from pqrun.journal.stored_rows import recorded_output
from pqrun.output.ci_markers import CIFences, ci_service
from pqrun.output.store import Capture, Logs, Stream
from pqrun.output.writer import StreamWriter, for_screen, pieces_of_lines


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
    """The output of an attempt. `recorded` is None without a recorded end."""

    key: AttemptId
    id: str
    recorded: Capture | None


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
    if ended := ended_attempt(index, row, attempt):
        return JobOutput(AttemptId(seq, attempt), row.spec.id, recorded_output(ended))
    if running and attempt == row.attempts:
        return JobOutput(AttemptId(seq, attempt), row.spec.id, None)
    return None


def ended_attempt(index: Index, row: JobRow, attempt: int) -> JobRow | None:
    """Return the row of a job as that attempt left it, or None if it has not ended."""
    rows = [row] if attempt == row.last else index.attempts(row.seq)
    return next((ended for ended in rows if ended.last == attempt and attempt), None)


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
            if output.recorded is None:
                self._print_so_far(output, stream, writer)
            elif output.recorded.stream(stream).size:
                self._print_recorded(output, output.recorded.stream(stream), writer)

    def _print_so_far(self, output: JobOutput, stream: int, writer: StreamWriter) -> None:
        """Print the output of an attempt that runs or was cut short: from its file, or from the live run."""
        with contextlib.suppress(FileNotFoundError):
            file = Stream(self._logs, output.key, stream)
            file.place = self._logs.place(output.key, stream, None)
            file.size = os.stat(file.place.file).st_size
            self._print_recorded(output, file, writer)
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

    def _print_recorded(self, output: JobOutput, stream: Stream, writer: StreamWriter) -> None:
        size, start = stream.size, self._written.get((output.key, stream.number), 0)
        if start >= size:
            return
        try:
            last = b"".join(stream.pieces(size - 1))
        except OSError as error:
            raise InternalFailure(f"cannot read {error.filename}: {error.strerror}") from error
        self._head(output, start)
        with self._fenced(writer, last):
            if writer.is_terminal:
                for piece, _ in pieces_of_lines(stream.pieces(start, size)):
                    writer.write(for_screen(piece))
            else:
                writer.copy_from(lambda fd: stream.copy_to(fd, start, size))
        self._written[output.key, stream.number] = size

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

    def _head(self, output: JobOutput, start: int) -> None:
        if start or not self._headings:
            return
        seq, attempt = output.key
        name = escape_controls(output.id) if output.id != str(seq) else ""
        words = " ".join(word for word in (str(seq), name, f"try {attempt}" if attempt > 1 else "") if word)
        self.page.say(self.page.paint("bold", f"==> {words} <=="))


NOTHING_CHOSEN = 1


def print_logs(
    name: str,
    selectors: Sequence[str],
    *,
    attempt: int | None,
    stderr_only: bool,
    follow: bool,
    extract: str | None = None,
) -> int:
    """Print the output of the selected jobs; return the exit code, 1 if the selectors match no job.

    `extract`: a directory to write the output to instead.
    """
    page = Console()
    run, selectors = _run_and_jobs(name, selectors)
    live = run.in_use()
    seqs = query_index(run, lambda index: resolve_jobs(index, selectors, live=live))
    if not seqs and selectors:
        page.note(f"no job matches {' or '.join(escape_controls(text) for text in selectors)}")
        return NOTHING_CHOSEN
    if extract is not None:
        write_logs(page, run, seqs, attempt, extract)
        return 0
    headings = len(seqs) != 1 and page.is_terminal
    printer = LogPrinter(page, run, live=live, stderr_only=stderr_only, headings=headings)
    if follow and live:
        follow_run(printer, run, selectors, seqs, attempt)
    else:
        for output in query_index(run, lambda index: _outputs(index, seqs, attempt)):
            printer.print(output)
    page.end()
    return 0


def write_logs(
    page: Console, run: RunDirectory, seqs: Sequence[int], attempt: int | None, directory: str
) -> None:
    """Write the recorded output of jobs to files, with a directory for each job."""
    from pqrun.reports.results_dir import extract

    def ended_rows(index: Index) -> list[JobRow]:
        jobs = [row for seq in seqs for row in index.jobs("seq = ?", seq)]
        rows = [ended_attempt(index, row, row.last if attempt is None else attempt) for row in jobs]
        return [row for row in rows if row is not None]

    rows = query_index(run, ended_rows)
    if attempt is not None and not rows:
        raise UserError(f"no job has an ended attempt {attempt}")
    for row in rows:
        extract(row, directory)
    page.note(
        f"wrote the output of {len(rows)} job{'s' if len(rows) != 1 else ''} to {escape_controls(directory)}"
    )


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
