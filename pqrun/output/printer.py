# SPDX-License-Identifier: LGPL-3.0-or-later
"""The printer of jobs' output: grouped or by line, in order or as the jobs end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from pqrun.core import events as ev
from pqrun.core.errors import InternalFailure
from pqrun.core.events import Handler, Observer
from pqrun.core.job import CountedAs, JobSpec
from pqrun.core.job_row import JobRow
from pqrun.core.text import describe_exit, escape_controls, format_duration, job_label, try_of
from pqrun.output.ci_markers import CIFence, CIFences
from pqrun.output.store import Capture, Stream
from pqrun.output.writer import (
    CAN_SPLICE,
    MAX_PIECE_BYTES,
    StreamWriter,
    for_screen,
    pieces_of_lines,
    tagged,
)

MAX_HELD_BYTES = 16 * 1024 * 1024
HeldOutput = tuple[ev.AttemptEnded, JobRow]
GrownOutput = tuple[ev.OutputGrew, JobRow | None]


class OrderedOutput:
    """The output that waits for its turn when output is printed in the order of the jobs.

    Jobs are numbered from 1. Holds the output of jobs that have ended too early, and how many lines of each
    running job could be shown.
    """

    def __init__(self) -> None:
        self._turn = 1
        self._ended: set[int] = set()
        self._held: dict[int, HeldOutput] = {}
        self._held_bytes = 0
        self._growth: dict[int, dict[int, GrownOutput]] = {}

    def begin_with(self, seqs: Sequence[int]) -> None:
        """Of the jobs known so far, expect only these."""
        last = max(seqs, default=0)
        self._turn = min(seqs, default=1)
        self._ended = set(range(self._turn, last)) - set(seqs)

    def is_turn_of(self, seq: int) -> bool:
        """Return whether the job's output may be printed now: its turn is now, or is over (a restarted job)."""
        return seq <= self._turn

    def grew(self, event: ev.OutputGrew, row: JobRow | None) -> None:
        """Note that a running job has lines to show when its turn comes."""
        self._growth.setdefault(event.seq, {})[event.stream] = (event, row)

    def forget_growth(self, seq: int) -> None:
        """Drop the noted lines of an attempt that has ended."""
        self._growth.pop(seq, None)

    def hold(self, event: ev.AttemptEnded, row: JobRow) -> None:
        """Keep the output of an ended attempt until its turn.

        Once all held output exceeds MAX_HELD_BYTES, it is moved from memory to files.
        """
        self._held[event.seq] = (event, row)
        self._held_bytes += event.output.in_memory
        if self._held_bytes > MAX_HELD_BYTES:
            self._held_bytes = 0
            for held, _ in self._held.values():
                if not _moved_to_file(held):
                    return

    def ended(self, seq: int) -> Iterator[tuple[HeldOutput | None, list[GrownOutput]]]:
        """Note that a job has ended, and advance the turn.

        For each job whose turn is over, yields the held output and noted lines of the next job.
        """
        self._ended.add(seq)
        while self._turn in self._ended:
            self._ended.discard(self._turn)
            self._turn += 1
            held = self._held.pop(self._turn, None)
            if held is not None:
                self._held_bytes -= min(self._held_bytes, held[0].output.in_memory)
            yield held, list(self._growth.pop(self._turn, {}).values())

    def rest(self) -> list[HeldOutput]:
        """Return and drop all output that is still held, in order."""
        held, self._held = self._held, {}
        return [held[seq] for seq in sorted(held)]


FAILED = {CountedAs.FAILED, CountedAs.TIMEOUT}


class OutputStyle(NamedTuple):
    """The style of shown output. `mode`: `group`, `line` or `raw`. `show`: `all` or `failed` jobs."""

    mode: str = "group"
    keep_order: bool = False
    tag: bool = False
    show: str = "all"

    @property
    def streams(self) -> bool:
        """Whether lines are shown while their job runs."""
        return self.mode == "line" and self.show == "all"


Heading = Callable[[ev.AttemptEnded, JobRow], str]


class OutputPrinter(Observer):
    """An observer that prints the output of jobs.

    `hidden` returns true while the user has turned off output on the terminal. `is_alone` returns true if only
    one job of the run has not ended and no more jobs are read. `heading` returns a line to print on the terminal
    before the output of an attempt. `last_shown` is the number of the job whose output is the last on the
    terminal, 0 if none is or if a part of it went elsewhere.
    """

    def __init__(
        self,
        style: OutputStyle,
        out: StreamWriter,
        err: StreamWriter,
        fences: CIFences,
        heading: Heading | None = None,
    ) -> None:
        self.hidden: Callable[[], bool] = lambda: False
        self.last_shown = 0
        self._heading = heading
        self._style = style
        self._outlets = {1: out, 2: err}
        self._screen = {1: out.is_terminal, 2: err.is_terminal}
        self._on_screen = any(self._screen.values())
        self._fences = fences
        self._order = OrderedOutput() if style.keep_order else None
        self.is_alone: Callable[[], bool] = lambda: False
        self._passed = self._too_slow_for = 0
        self._behind: list[HeldOutput] = []
        self._shown: dict[tuple[int, int], int] = {}
        self.handlers: dict[type, Handler] = {ev.AttemptEnded: self._attempt_ended}
        if style.streams:
            self.handlers[ev.OutputGrew] = self._grew
        elif self._may_pass():
            self.handlers[ev.OutputGrew] = self._pass_on
        if style.keep_order:
            self.handlers[ev.JobEnded] = self._job_ended

    def begin_with(self, seqs: Sequence[int]) -> None:
        """Of the jobs known so far, expect only these."""
        if self._order is not None:
            self._order.begin_with(seqs)

    def close(self) -> None:
        """Print the output that is still held for the sake of order."""
        if self._order is not None:
            for held in self._order.rest():
                self._print(*held)
        self._print_behind()

    def _may_pass(self) -> bool:
        """Return whether a large stdout may be passed on while its job runs: into a pipe that gets nothing else."""
        style, out, err = self._style, self._outlets[1], self._outlets[2]
        plain = style.mode == "group" and style.show == "all" and not style.tag
        unmarked = not (self._fences.needed or self._fences.whole_lines)
        return plain and unmarked and CAN_SPLICE and out.is_pipe and not out.is_same_file(err)

    def stop_passing(self) -> None:
        """Pass nothing on, because reports go to the same pipe."""
        if not self._style.streams:
            self.handlers.pop(ev.OutputGrew, None)

    def _pass_on(self, event: ev.OutputGrew, row: JobRow | None) -> None:
        """Print what a running job has on stdout, if nothing else may be printed before its end.

        In order, that holds for the job whose turn it is, else for the last job. The output of an attempt that is
        retried is not printed, so a job with retries is not passed on. A slow reader gets the rest at the end.
        """
        seq = event.seq
        if self._order is not None and not self._order.is_turn_of(seq):
            self._order.grew(event, row)
            return
        if row is None or row.spec.retry.max or seq == self._too_slow_for or self._passed not in (0, seq):
            return
        if self._order is None and not self._passed and not self.is_alone():
            return
        key, writer = (seq, event.stream), self._outlets[event.stream]
        shown = self._shown.get(key, 0)
        try:
            with event.output.opened() as (source, first):
                upto = writer.copy_while_read(source, first + shown, first + event.upto) - first
        except OSError:
            upto = shown  # the file is gone: the end of the attempt tells it
        if upto:
            self._shown[key], self._passed = upto, seq
        if upto < event.upto:
            self._too_slow_for = seq

    def _print_or_hold(self, event: ev.AttemptEnded, row: JobRow) -> None:
        """Print the output of an ended attempt, or hold it if that of another job is being passed on."""
        if self._passed and self._passed != event.seq:
            self._hold_behind(event, row)
            return
        self._print(event, row)
        if self._passed:
            self._print_behind()

    def _hold_behind(self, event: ev.AttemptEnded, row: JobRow) -> None:
        """Keep an output, in a file, until the job whose output is being passed on has ended."""
        self._behind.append((event, row))
        _moved_to_file(event)

    def _print_behind(self) -> None:
        self._passed = self._too_slow_for = 0
        behind, self._behind = self._behind, []
        for held in behind:
            self._print(*held)

    def _grew(self, event: ev.OutputGrew, row: JobRow | None) -> None:
        if self._order is not None and not self._order.is_turn_of(event.seq):
            self._order.grew(event, row)
            return
        shown = self._shown.get((event.seq, event.stream), 0)
        if event.upto > shown:
            self._shown[(event.seq, event.stream)] = event.upto
            self._write(event.seq, row, event.output, shown, event.upto)

    def _attempt_ended(self, event: ev.AttemptEnded, row: JobRow) -> None:
        output: Capture | None = event.output
        if output is None or not (output.out.size or output.err.size):
            if self._order is not None:
                self._order.forget_growth(event.seq)
            if self._passed == event.seq:
                self._print_behind()
            return
        order = self._order
        its_turn = order is None or order.is_turn_of(event.seq)
        if event.counted is CountedAs.RETRIED:
            # If its lines were shown while it ran, show the rest of its last line too.
            wanted = (self._style.streams and its_turn) or self._passed == event.seq
        else:
            wanted = self._style.show == "all" or event.counted in FAILED
        if order is not None:
            order.forget_growth(event.seq)
        if not wanted:
            self._drop(event.seq, output)
        elif order is None or its_turn:
            self._print_or_hold(event, row)
        else:
            order.hold(event, row)

    def _job_ended(self, event: ev.JobEnded, _: JobRow) -> None:
        assert self._order is not None
        for held, growth in self._order.ended(event.seq):
            if held is not None:
                self._print_or_hold(*held)
            for grown in growth:
                (self._grew if self._style.streams else self._pass_on)(*grown)

    def _print(self, event: ev.AttemptEnded, row: JobRow) -> None:
        output: Capture = event.output
        if self._on_screen and not self.hidden():
            self._head(event, row, output)
        for stream in (output.out, output.err):
            if stream.size:
                shown = self._shown.pop((event.seq, stream.number), 0)
                self._write(event.seq, row, stream, shown, stream.size, ended=event)
        output.drop()

    def _head(self, event: ev.AttemptEnded, row: JobRow, output: Capture) -> None:
        """Print the heading of an attempt's output, unless its lines were shown while it ran."""
        on_screen = [self._screen[stream.number] for stream in (output.out, output.err) if stream.size]
        if not any(on_screen):
            return
        grouped = not self._style.streams
        if grouped and self._heading is not None:
            self._outlets[2].say(self._heading(event, row))
        self.last_shown = event.seq if grouped and all(on_screen) else 0

    def _drop(self, seq: int, output: Capture) -> None:
        self._shown.pop((seq, 1), None)
        self._shown.pop((seq, 2), None)
        output.drop()

    def _write(
        self,
        seq: int,
        row: JobRow | None,
        stream: Stream,
        start: int,
        end: int,
        *,
        ended: ev.AttemptEnded | None = None,
    ) -> None:
        """Write a range of one stream to its place.

        From a file to a file or pipe, the kernel copies the bytes.
        """
        writer, screen = self._outlets[stream.number], self._screen[stream.number]
        if start >= end or writer.gone or (screen and self.hidden()):
            return
        tag = self._tag(seq, row)
        fence = self._fence(row, stream, start, end, tag, ended)
        if fence.before:
            writer.write(fence.before)
        if not tag and not screen:
            writer.copy_from(lambda fd: stream.copy_to(fd, start, end))
        else:
            for piece, begins in pieces_of_lines(stream.pieces(start, end)):
                lines = for_screen(piece) if screen else piece
                writer.write(tagged(lines, tag, begins=begins) if tag else lines)
        # End the last line, or the next job's output would continue it.
        must_end = tag or screen or fence.after or self._fences.whole_lines
        if must_end and b"".join(stream.pieces(end - 1, end)) != b"\n":
            writer.write(b"\n")
        if fence.after:
            writer.write(fence.after)

    def _tag(self, seq: int, row: JobRow | None) -> bytes:
        if not self._style.tag:
            return b""
        text = str(seq) if row is None else row.spec.id if row.spec.label is None else row.spec.label
        return escape_controls(text).encode("utf-8", "replace") + b"\t"

    def _fence(
        self,
        row: JobRow | None,
        stream: Stream,
        start: int,
        end: int,
        tag: bytes,
        ended: ev.AttemptEnded | None,
    ) -> CIFence:
        if not self._fences.needed:
            return CIFence()
        fold = ended is not None and ended.counted in FAILED and start == 0
        title = _title(ended, row.spec) if fold and ended is not None and row is not None else ""
        short = end - start <= MAX_PIECE_BYTES
        return self._fences.around(title, tag + b"".join(stream.pieces(start, end)) if short else None)


def _title(event: ev.AttemptEnded, spec: JobSpec) -> str:
    """Return the title of a fold: `test[py3.12] failed: exit 1, try 1/1, 22s`."""
    how = describe_exit(event.exit, event.asked, spec.timeout)
    took = format_duration(event.ended - event.began)
    return f"{job_label(spec)} failed: {how}, {try_of(event.attempt, spec)}, {took}"


def _moved_to_file(event: ev.AttemptEnded) -> bool:
    """Move an attempt's output from memory to files. Return False if the disk has no room: the output then stays."""
    for stream in (event.output.out, event.output.err):
        if stream.in_memory:
            try:
                if stream.place is None:
                    stream.to_file()
                stream.forget()
            except InternalFailure:
                return False
    return True
