# SPDX-License-Identifier: LGPL-3.0-or-later
"""Job output cut at line ends, tagged, and made fit for a screen; a long line never has to fit in memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pqrun.core.text import escape_line

MAX_PIECE_BYTES = 1 << 20
_CLEAN = re.compile(rb"[ -~\t\n]*")


def pieces_of_lines(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """The same bytes in pieces that end at line ends (or after a megabyte); whether a line begins there."""
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
    """Each line that begins in it with the tag before it."""
    ends = piece.endswith(b"\n")
    lines = piece[:-1] if ends else piece
    return (tag if begins else b"") + lines.replace(b"\n", b"\n" + tag) + (b"\n" if ends else b"")


def for_screen(piece: bytes) -> bytes:
    """The same lines, safe; of a line that was written over, its last version."""
    if _CLEAN.fullmatch(piece):
        return piece
    lines = piece.split(b"\n")
    return b"\n".join(
        [escape_line(_last_version(line).decode("utf-8", "replace")).encode() for line in lines]
    )


def _last_version(line: bytes) -> bytes:
    """What a terminal would show of a line that was written over with carriage returns."""
    return line.rstrip(b"\r").rpartition(b"\r")[2]
