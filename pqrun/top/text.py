# SPDX-License-Identifier: LGPL-3.0-or-later
"""A job's output as lines to scroll through and to search. Pure; every line is safe.

What a job prints over a line with a carriage return (progress bars) replaces it, as on a terminal.
"""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from typing import NamedTuple

from pqrun.display.safe import safe_line

MOST_LINES = 20_000
LONGEST = 4_000
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")


class Said(NamedTuple):
    """One line, and which stream it came from: 1 stdout, 2 stderr, 0 a remark of ours."""

    text: str
    stream: int


class Text:
    """The lines of one attempt so far; at most 20,000, the oldest go."""

    def __init__(self) -> None:
        self.lines: list[Said] = []
        self.dropped = 0
        self._rest = {1: "", 2: ""}
        self._open: dict[int, int | None] = {1: None, 2: None}
        self._decoders = {n: getincrementaldecoder("utf-8")("replace") for n in (1, 2)}

    def feed(self, stream: int, data: bytes) -> bool:
        """Takes in what was printed next; whether that changed a line."""
        if not data:
            return False
        text = self._rest[stream] + self._decoders[stream].decode(data)
        *whole, rest = text.split("\n")
        at = self._open[stream]
        for line in whole:
            self._put(line, stream, at)
            at = None
        self._open[stream] = self._put(rest, stream, at) if rest else None
        self._rest[stream] = rest[-LONGEST * 4 :]
        if len(self.lines) > MOST_LINES:
            count = len(self.lines) - MOST_LINES
            del self.lines[:count]
            self.dropped += count
            for number, row in self._open.items():
                self._open[number] = None if row is None or row < count else row - count
        return True

    def remark(self, text: str) -> None:
        """A line of ours between those of the job."""
        self.lines.append(Said(text, 0))

    def find(self, wanted: str, start: int, *, back: bool = False) -> int | None:
        """The next line with that text, from there on and around the end; case does not matter."""
        count = len(self.lines)
        wanted = wanted.lower()
        for step in range(count):
            row = (start - step if back else start + step) % count
            if wanted in self.lines[row].text.lower():
                return row
        return None

    def count(self, wanted: str) -> int:
        """In how many lines it is."""
        wanted = wanted.lower()
        return sum(wanted in line.text.lower() for line in self.lines) if wanted else 0

    def _put(self, line: str, stream: int, at: int | None) -> int:
        line = line.rstrip("\r")
        said = Said(_shown(line[line.rfind("\r") + 1 :][:LONGEST]), stream)
        if at is None:
            self.lines.append(said)
            return len(self.lines) - 1
        self.lines[at] = said
        return at


def _shown(line: str) -> str:
    """Without colours, with blanks for tabs."""
    return _COLOUR.sub("", safe_line(line)).expandtabs(8)
