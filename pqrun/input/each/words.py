# SPDX-License-Identifier: LGPL-3.0-or-later
"""The splitting of sources at blanks and quotes, as xargs does (`--words`).

Loaded only if this option is given.
"""

from __future__ import annotations

import re

from pqrun.core.errors import UserError
from pqrun.input.command_list import MAX_LINE_BYTES, LineTooLong, RecordSplitter

_LONG_BYTES = 64 * 1024
_BLANKS = re.compile(rb"[ \t\n]*+")
# Possessive, so that a long word with an open quote at its end is not tried again from each of its bytes.
_WORD = re.compile(rb"""(?:[^ \t\n'"\\]++|'[^'\n]*+'|"[^"\n]*+"|\\.)++""", re.DOTALL)
_QUOTED = re.compile(rb"""'([^'\n]*+)'|"([^"\n]*+)"|\\(.)""", re.DOTALL)


class WordSplitter(RecordSplitter):
    """Splitter of bytes into words: at blanks and newlines, unless they are quoted or follow a backslash.

    `name` is the source's, for messages.
    """

    def __init__(self, name: str) -> None:
        super().__init__(b"\n")
        self._name = name
        self._line = 1
        self._unfinished = 0

    def next(self) -> bytes | None:
        """Return the next word without its quotes, or None if its end has not been fed yet.

        Returns None after the last word too. Raises LineTooLong, and UserError for a quote that is not closed.
        """
        if self._unfinished and not self._ended and sum(map(len, self._waiting)) < self._unfinished:
            return None
        self._unfinished = 0
        while True:
            self._skip(_BLANKS)
            begin = self._at
            self._skip(_WORD)
            end = self._at
            if end < len(self._chunk) and self._chunk[end : end + 1] in b" \t\n":
                return self._word(begin, end)
            self._at = begin
            if self._open_quote(end) and (b"\n" in self._chunk[end:] or self._at_last()):
                raise UserError(
                    f"{self._name}:{self._line}: a quote that is not closed (--words reads quotes as xargs does)"
                )
            if self._waiting:
                self._take_more(self._chunk[begin:])
            elif self._ended and begin < end:
                return self._word(begin, end)
            else:  # a backslash at the very end quotes nothing
                if self._ended or begin == len(self._chunk):
                    self._chunk, self._at = b"", 0
                rest = len(self._chunk) - self._at
                self._unfinished = rest if rest > _LONG_BYTES else 0
                return None

    def _take_more(self, rest: bytes) -> None:
        """Put at least as many bytes behind the `rest` as it has, if they are there.

        The rest is searched again from its beginning, so this keeps the time linear. Raises LineTooLong.
        """
        if len(rest) > 2 * MAX_LINE_BYTES:
            raise LineTooLong
        pieces, size = [rest], 0
        while self._waiting and size <= len(rest):
            pieces.append(self._waiting.popleft())
            size += len(pieces[-1])
        self._chunk, self._at = b"".join(pieces), 0

    def _skip(self, pattern: re.Pattern[bytes]) -> None:
        found = pattern.match(self._chunk, self._at)
        if found is not None:
            if pattern is _BLANKS:
                self._line += found.group().count(b"\n")
            self._at = found.end()

    def _open_quote(self, at: int) -> bool:
        return self._chunk[at : at + 1] in (b"'", b'"')

    def _at_last(self) -> bool:
        return self._ended and not self._waiting

    def _word(self, begin: int, end: int) -> bytes:
        text, self._at = self._chunk[begin:end], end
        self._line += text.count(b"\n")
        if end + 1 >= len(self._chunk) and self._at_last():  # a backslash may be left, which quotes nothing
            self._chunk, self._at = b"", 0
        return self._measured(_QUOTED.sub(_unquoted, text))


def _unquoted(found: re.Match[bytes]) -> bytes:
    return found[found.lastindex or 0]
