# SPDX-License-Identifier: LGPL-3.0-or-later
"""The cutting of bytes into blocks of whole records, for `--pipe` and `--pipe-part`. Nothing is read or written here.

A block ends at a record end: behind a match of `--recend` that a match of `--recstart` follows. Blocks are cut
where GNU parallel cuts them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from math import ceil
from typing import Final, NamedTuple

from pqrun.core.errors import UserError

MAX_RECORD_BYTES: Final = 1 << 31
_FIRST_WINDOW_BYTES: Final = 4096
_GROWTH: Final = 1.3
_ESCAPE = re.compile(rb"\\([0rnt'\"\\])")
_ESCAPED: Final = {b"0": b"\0", b"r": b"\r", b"n": b"\n", b"t": b"\t"}


class RecordRules(NamedTuple):
    """The rules that tell where a record ends: `recend` ends it, or `recstart` begins the next one, or both.

    With `regexp`, both are regular expressions. `records`: how many a block has; None for as many as fit.
    `lines`: the lines of a record, if that is given instead of its end. `removes`: blocks are without the texts
    between their records.
    """

    recstart: bytes = b""
    recend: bytes = b"\n"
    regexp: bool = False
    records: int | None = None
    lines: int = 1
    removes: bool = False

    @property
    def ends_anywhere(self) -> bool:
        """Whether a block may end behind any byte."""
        return not (self.recend or self.recstart)

    @property
    def between(self) -> bytes:
        """The regular expression of what stands between two records; group 1 is the end of the first one."""
        end, start = self.recend, self.recstart
        if not self.regexp:
            end, start = re.escape(end), re.escape(start)
        elif not (end or start):
            end = b"(?s:.)"
        return b"((?:%b))(?=(?:%b))" % (end, start)


def record_rules(
    recstart: str | None,
    recend: str | None,
    *,
    regexp: bool = False,
    records: int | None = None,
    lines: int | None = None,
    removes: bool = False,
) -> RecordRules:
    """Return the rules of these options. Raises UserError for a wrong regular expression.

    Without `--regexp`, `\\n`, `\\t`, `\\r` and `\\0` stand for characters.
    """
    if recstart is None and recend is None:
        recend = "\n"
    start, end = (text.encode("utf-8", "surrogateescape") for text in (recstart or "", recend or ""))
    if not regexp:
        start, end = (
            _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), text) for text in (start, end)
        )
    rules = RecordRules(start, end, regexp, records, lines or 1, removes)
    try:
        re.compile(rules.between, re.MULTILINE)
    except re.error as error:
        raise UserError(f"--recstart, --recend: invalid regular expression: {error}") from None
    return rules


class RecordEnds:
    """Finder of record ends in bytes."""

    def __init__(self, rules: RecordRules) -> None:
        self._rules = rules
        self._text = rules.recend + rules.recstart
        self._between = re.compile(rules.between, re.MULTILINE)
        self._last = re.compile(b"(?s:.*)" + rules.between, re.MULTILINE)

    def last(self, data: bytes | bytearray, begin: int) -> int:
        """Return where the last block of whole records that begins at `begin` can end; `begin` if there is none."""
        rules = self._rules
        if rules.regexp:
            found = self._last.match(data, begin)
            return begin if found is None else found.end(1)
        place = data.rfind(self._text, begin)
        if rules.lines > 1:
            for _ in range(data.count(b"\n", begin) % rules.lines):
                place = data.rfind(b"\n", begin, place)
        return begin if place < 0 else max(begin, place + len(rules.recend))

    def next(self, data: bytes | bytearray, begin: int) -> int:
        """Return where the record that begins at `begin` ends; `begin` if its end is not there."""
        rules = self._rules
        if rules.ends_anywhere:
            return min(begin + 1, len(data))
        if rules.regexp:
            ends = (found.end(1) for found in self._between.finditer(data, begin))
            return next((end for end in ends if end > begin), begin)
        place = data.find(self._text, begin if rules.recend else begin + 1)
        return begin if place < 0 else place + len(rules.recend)

    def without(self, block: bytes) -> bytes:
        """Return the block without the texts that end and begin its records."""
        rules = self._rules
        start, end = rules.recstart, rules.recend
        if not rules.regexp:
            start, end = re.escape(start), re.escape(end)
        block = re.sub(b"(?:%b)(?:%b)" % (end, start), b"", block)
        block = re.sub(b"\\A(?:%b)" % start, b"", block)
        return re.sub(b"(?:%b)\\Z" % end, b"", block)


class Block(NamedTuple):
    """A block: its bytes, without the header, and the place of its first byte in the input."""

    offset: int
    data: bytes


class BlockCutter:
    """Cutter of a stream: `feed` it up to `room` bytes, then `take` blocks while one is `due`.

    `size`: the bytes of a block; a record that is longer makes a longer block. If the rules say how many records a
    block has, a block can be taken as soon as these are there. With `header`, the first line, if it ends in a newline,
    is not part of any block; it is `header` then.
    """

    def __init__(self, rules: RecordRules, size: int, *, header: bool = False) -> None:
        self.header = b""
        self._rules = rules
        self._ends = RecordEnds(rules)
        self._wanted = (rules.records or 0) * rules.lines
        self._size = size
        self._enough = 1 if self._wanted else size
        self._wants_header = header
        self._buffer = bytearray()
        self._begin = self._before = 0
        self._scanned = self._found = 0
        self._taken = self._ended = False

    @property
    def room(self) -> int:
        """How many bytes to feed at most before blocks are taken."""
        return self._size if self._wanted else max(1, self._enough - self._rest)

    @property
    def due(self) -> bool:
        """Whether there may be a block to take."""
        return self._ended or self._rest >= self._enough

    @property
    def finished(self) -> bool:
        """Whether no block can follow."""
        return self._ended and not self._rest

    @property
    def _rest(self) -> int:
        return len(self._buffer) - self._begin

    def feed(self, data: bytes) -> None:
        """Take in bytes that were read; none at the end of the stream."""
        self._ended = not data
        if self._begin:
            del self._buffer[: self._begin]
            self._before += self._begin
            self._scanned -= self._begin
            self._begin = 0
        self._buffer += data
        self._taken = False

    def take(self) -> Block | None:
        """Return the next block, or None if more bytes are needed or no block is left.

        Raises UserError for a record that is too long.
        """
        if not self.due or (self._wants_header and not self._take_header()):
            return None
        end = self._counted_end() if self._wanted else self._last_end()
        if end == self._begin and self._ended:
            end = len(self._buffer)
        if end == self._begin:
            self._want_more()
            return None
        data = bytes(memoryview(self._buffer)[self._begin : end])
        block = Block(self._before + self._begin, self._ends.without(data) if self._rules.removes else data)
        self._begin = self._scanned = end
        self._found, self._taken = 0, True
        if not self._wanted:
            self._want_more()
        return block

    def _last_end(self) -> int:
        """Return the end of the last record; the beginning if there is none."""
        if self._ended and self._rules.lines == 1:
            return len(self._buffer)
        return self._ends.last(self._buffer, self._begin)

    def _counted_end(self) -> int:
        """Return the end of the record that completes a block; the beginning if it is not there yet."""
        while self._found < self._wanted:
            end = self._ends.next(self._buffer, self._scanned)
            if end == self._scanned:
                return self._begin
            self._scanned = end
            self._found += 1
        return self._scanned

    def _take_header(self) -> bool:
        """Return whether the header is known, and a block may be there.

        The header is the first line. A line without a newline is no header but a record, as for GNU parallel.
        """
        end = self._buffer.find(b"\n") + 1
        if not end and not self._ended:
            self._want_more()
            return False
        self._begin = self._scanned = end
        self.header = bytes(self._buffer[:end])
        self._wants_header = False
        self._enough = 1 if self._wanted else self._size
        return self.due

    def _want_more(self) -> None:
        """Wait for more bytes: up to a multiple of the size, which grows if the last bytes held no record end."""
        if self._wanted:
            unscanned = len(self._buffer) - self._scanned
            # A long record is searched again only when it is twice as long.
            self._enough = self._rest + (unscanned if unscanned > self._size else 1)
        else:
            if not self._taken:
                self._size = ceil(self._size * _GROWTH) + 1
            self._enough = self._rest + self._size - self._rest % self._size
        if self._enough > MAX_RECORD_BYTES and not self._taken:
            raise UserError("a record of the input is longer than 2 GiB: see --recstart and --recend")


def split_positions(
    read_at: Callable[[int, int], bytes], begin: int, size: int, step: int, rules: RecordRules
) -> Iterator[int]:
    """Yield where the blocks of a file end: at the first record end behind each `step` bytes, and at its end.

    `read_at(size, offset)` reads; `begin` is where the first block begins, and `size` the bytes of the file.
    """
    ends = RecordEnds(rules)
    at = begin + step
    while at < size:
        if not rules.ends_anywhere:
            at = _record_end(read_at, at, size, ends)
        if at >= size:
            break
        yield at
        at += step
    if begin < size:
        yield size


def _record_end(read_at: Callable[[int, int], bytes], at: int, size: int, ends: RecordEnds) -> int:
    """Return the first record end behind an offset; `size` if there is none."""
    window = _FIRST_WINDOW_BYTES
    while True:
        data = read_at(window, at)
        end = ends.next(data, 0)
        if end:
            return at + end
        if at + len(data) >= size or len(data) < window:
            return size
        if window > MAX_RECORD_BYTES:
            raise UserError("a record of the input is longer than 2 GiB: see --recstart and --recend")
        window *= 4
