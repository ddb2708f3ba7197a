# SPDX-License-Identifier: LGPL-3.0-or-later
"""The jobs' output on pqrun's stdout and stderr: grouped or by line, in order or as they end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pqrun import events as ev
from pqrun.capture import Capture, Stream
from pqrun.display.outlet import Outlet
from pqrun.display.safe import safe, safe_line
from pqrun.model import Count

MOST_HELD = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class OutputStyle:
    """How to show output. `stop` is what may be told of a job: `all` or `failed`."""

    mode: str = "group"
    keep_order: bool = False
    tag: bool = False
    show: str = "all"


class OutputPrinter:
    """Prints what jobs printed; of retried attempts nothing. `above` lets a live table step aside."""

    def __init__(self, style: OutputStyle, out: Outlet, err: Outlet) -> None:
        self._style = style
        self._outlets = {1: out, 2: err}
        self._safe = {1: out.is_terminal, 2: err.is_terminal}
        self._ids: dict[int, str] = {}
        self._held: dict[int, Capture] = {}
        self._held_bytes = 0
        self._ended: set[int] = set()
        self._next = 1
        self._shown: dict[tuple[int, int], int] = {}
        self.around: Callable[[Callable[[], None]], None] = lambda write: write()

    def begin_with(self, seqs: Sequence[int]) -> None:
        """Only these jobs are still to come, of those that are known already."""
        last = max(seqs, default=0)
        self._next = min(seqs, default=1)
        self._ended = set(range(self._next, last)) - set(seqs)

    def hear(self, events: Sequence[ev.Event]) -> None:
        """Prints what may be printed now."""
        for event in events:
            match event:
                case ev.JobAdded(_, seq, spec) if self._style.tag:
                    self._ids[seq] = spec.id
                case ev.OutputGrew():
                    self._grew(event)
                case ev.AttemptEnded(output=output) if output is not None:
                    self._attempt_ended(event, output)
                case ev.JobEnded(_, seq):
                    self._job_ended(seq)
                case _:
                    pass

    def close(self) -> None:
        """What was held back for the sake of order is printed, in order."""
        for seq in sorted(self._held):
            self._print(seq, self._held[seq])
        self._held.clear()

    def _grew(self, event: ev.OutputGrew) -> None:
        if self._style.mode == "line" and (not self._style.keep_order or event.seq == self._next):
            shown = self._shown.get((event.seq, event.stream), 0)
            self._shown[(event.seq, event.stream)] = event.upto
            self.around(lambda: self._write(event.seq, event.output, shown, event.upto))

    def _attempt_ended(self, event: ev.AttemptEnded, output: Capture) -> None:
        tell = event.counted is not Count.RETRIED and (
            self._style.show == "all" or event.counted in (Count.FAILED, Count.TIMEOUT)
        )
        if self._style.mode == "line" and event.counted is Count.RETRIED:
            tell = True  # its lines were shown as they came; so is the rest of the last one
        if self._style.mode == "none" or not tell:
            output.drop()
        elif self._style.keep_order and event.seq != self._next:
            self._hold(event.seq, output)
        else:
            self._print(event.seq, output)

    def _hold(self, seq: int, output: Capture) -> None:
        if not output.out.size and not output.err.size:
            return
        self._held[seq] = output
        self._held_bytes += output.in_memory
        if self._held_bytes > MOST_HELD:
            for held in self._held.values():
                for stream in (held.out, held.err):
                    if stream.in_memory:
                        if stream.path is None:
                            stream.to_file()
                        stream.forget()
            self._held_bytes = 0

    def _job_ended(self, seq: int) -> None:
        self._ids.pop(seq, None) if not self._style.keep_order else None
        if not self._style.keep_order:
            return
        self._ended.add(seq)
        while self._next in self._ended:
            self._ended.discard(self._next)
            if held := self._held.pop(self._next, None):
                self._held_bytes -= min(self._held_bytes, held.in_memory)
                self._print(self._next, held)
            self._ids.pop(self._next, None)
            self._next += 1

    def _print(self, seq: int, output: Capture) -> None:
        def write() -> None:
            for stream in (output.out, output.err):
                if stream.size:
                    self._write(seq, stream, self._shown.pop((seq, stream.number), 0), stream.size)

        if output.out.size or output.err.size:
            self.around(write)
        output.drop()

    def _write(self, seq: int, stream: Stream, start: int, end: int) -> None:
        outlet = self._outlets[stream.number]
        if start >= end or outlet.gone:
            return
        if not self._style.tag and not self._safe[stream.number]:
            outlet.pour(lambda fd: stream.copy_to(fd, start, end))
            return
        tag = safe(self._ids.get(seq, str(seq))).encode() + b"\t" if self._style.tag else b""
        for piece in _whole_lines(stream.pieces(start, end)):
            outlet.write(self._dressed(piece, tag, screen=self._safe[stream.number]))

    def _dressed(self, lines: bytes, tag: bytes, *, screen: bool) -> bytes:
        ends = lines.endswith(b"\n")
        parts = lines.removesuffix(b"\n").split(b"\n")
        if screen:
            parts = [safe_line(_last_version(part).decode("utf-8", "replace")).encode() for part in parts]
        return b"\n".join(tag + part for part in parts) + (b"\n" if ends or screen else b"")


def _last_version(line: bytes) -> bytes:
    """What a terminal would show of a line that was written over with carriage returns."""
    return line.rstrip(b"\r").rpartition(b"\r")[2]


def _whole_lines(pieces: Iterable[bytes]) -> Iterable[bytes]:
    """The same bytes, cut at line ends (or at a megabyte)."""
    rest = b""
    for piece in pieces:
        rest += piece
        cut = rest.rfind(b"\n") + 1 or (len(rest) if len(rest) > 1 << 20 else 0)
        if cut:
            yield rest[:cut]
            rest = rest[cut:]
    if rest:
        yield rest
