# SPDX-License-Identifier: LGPL-3.0-or-later
"""Text laid out for a terminal: its width in cells, cut at the end or in the middle, wrapped at words. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

Paint = Callable[[str, str], str]
"""A function that colours text: `paint("bold red", text)`."""


class Layout(NamedTuple):
    """The terminal that a text is laid out for: its width in cells, and how text is coloured."""

    width: int
    paint: Paint


def cells_of(character: str) -> int:
    """Return the number of cells that a character takes on a terminal: 0, 1 or 2."""
    if character.isascii():
        return 1
    import unicodedata

    if unicodedata.category(character) in ("Mn", "Me", "Cf") and character != "\u00ad":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cells(text: str) -> int:
    """Return the width of a text in terminal cells."""
    return len(text) if text.isascii() else sum(map(cells_of, text))


def _head(text: str, width: int) -> str:
    """Return the longest beginning of the text that fits into `width` cells."""
    for at, character in enumerate(text):
        width -= cells_of(character)
        if width < 0:
            return text[:at]
    return text


def _tail(text: str, width: int) -> str:
    """Return the longest end of the text that fits into `width` cells."""
    for at in range(len(text) - 1, -1, -1):
        width -= cells_of(text[at])
        if width < 0:
            return text[at + 1 :]
    return text


def cut(text: str, width: int) -> str:
    """Return the text in at most `width` cells, with `…` for an end that was cut off."""
    if cells(text) <= width:
        return text
    return _head(text, width - 1) + "…" if width > 0 else ""


def cut_middle(text: str, width: int) -> str:
    """Return the text in at most `width` cells, with `…` for a middle that was cut out: ends often differ."""
    if cells(text) <= width:
        return text
    if width < 3:
        return cut(text, width)
    end = _tail(text, width // 2)
    return _head(text, width - 1 - cells(end)) + "…" + end


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Return the text with blanks up to `width` cells, before it if `right`."""
    blanks = " " * (width - cells(text))
    return blanks + text if right else text + blanks


def wrap(text: str, width: int, indent: str = "") -> list[str]:
    """Return the text as lines of at most `width` cells, broken at blanks; `indent` begins each but the first.

    Only a word that is longer than a line is broken inside.
    """
    lines: list[str] = []
    line, joint = "", ""
    for word in text.split(" "):
        longer = line + joint + word
        joint = " "
        if cells(longer) <= width:
            line = longer
            continue
        if line.strip():
            lines.append(line.rstrip())
            line = indent + word
            joint = " " if word else ""
        else:  # only blanks so far: they go rather than break the word
            whole = (indent if lines else "") + word
            line = whole if cells(whole) <= width else longer
        while cells(line) > width > cells(indent) + 1:
            head = _head(line, width)
            lines.append(head)
            line = indent + line[len(head) :]
    return [*lines, line] if line.strip() or not lines else lines


def cut_around(text: str, begin: int, end: int, width: int) -> tuple[str, int, int]:
    """Return a part of a line that fits into `width` cells, and where `text[begin:end]` stands in the part.

    What is cut off at either side is shown as `…`. The part shows the beginning of the line if it can.
    """
    if cells(text) <= width:
        return text, begin, end
    if cells(text[:end]) < width:  # one cell is for the ellipsis
        return cut(text, width), begin, end
    word = _head(text[begin:end], width - 2)
    rest = width - 2 - cells(word)
    after = _head(text[begin + len(word) :], rest // 3)
    if begin + len(word) + len(after) == len(text):
        before = _tail(text[:begin], width - 1 - cells(word + after))
        return f"…{before}{word}{after}", len(before) + 1, len(before) + 1 + len(word)
    before = _tail(text[:begin], rest - cells(after))
    return f"…{before}{word}{after}…", len(before) + 1, len(before) + 1 + len(word)
