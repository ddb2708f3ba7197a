# SPDX-License-Identifier: LGPL-3.0-or-later
"""Job output cut at line ends, tagged, and made safe for a terminal.

A long line never has to fit in memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pqrun.core.text import escape_line

MAX_PIECE_BYTES = 1 << 20
_CLEAN = re.compile(rb"[ -~\t\n]*")


def pieces_of_lines(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield the same bytes in pieces that end at a line end, or after about a megabyte.

    Also yields whether a line begins with the piece.
    """
    rest, begins = b"", True
    for piece in pieces:
        rest += piece
        cut = rest.rfind(b"\n") + 1
        if not cut and len(rest) >= MAX_PIECE_BYTES:
            cut = len(rest)
        if cut:
            yield rest[:cut], begins
            begins = rest.endswith(b"\n", 0, cut)
            rest = rest[cut:]
    if rest:
        yield rest, begins


def tagged(piece: bytes, tag: bytes, *, begins: bool) -> bytes:
    """Put the tag before each line of the piece. `begins`: whether the piece begins with a new line."""
    ends = piece.endswith(b"\n")
    lines = piece[:-1] if ends else piece
    return (tag if begins else b"") + lines.replace(b"\n", b"\n" + tag) + (b"\n" if ends else b"")


def for_screen(piece: bytes) -> bytes:
    """Return the lines in a form that is safe for a terminal.

    Of a line that was overwritten with carriage returns, only the last version remains.
    """
    if _CLEAN.fullmatch(piece):
        return piece
    lines = piece.split(b"\n")
    return b"\n".join(
        [escape_line(_last_version(line).decode("utf-8", "replace")).encode() for line in lines]
    )


def _last_version(line: bytes) -> bytes:
    """Return what a terminal shows of a line that was overwritten with carriage returns."""
    return line.rstrip(b"\r").rpartition(b"\r")[2]
