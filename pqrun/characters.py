# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which characters are text: what may be in an id or a tag, and what Unicode can hold.

Bytes that are no UTF-8 are kept in a text as lone surrogates (PEP 383), which no strict reader of JSON takes.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_FORMAT: Final = frozenset(
    # Joiners, breaks of words and direction marks, without which some languages can't be written; but not
    # what turns the order of other text around (U+202A to U+202E, U+2066 to U+2069), nor hidden tags.
    "\u00ad\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u2060"
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
)
_LONE: Final = re.compile("[\ud800-\udfff]")


def is_printable(text: str) -> bool:
    """Whether it is text on one line, of any language: no control characters, no broken Unicode."""
    return text.isprintable() or all(map(_is_printable, text))


def _is_printable(character: str) -> bool:
    if character.isprintable() or character in _FORMAT:
        return True
    category = unicodedata.category(character)
    if category == "Cn":  # newer than this Python, unless it never will be a character
        code = ord(character)
        return code & 0xFFFE != 0xFFFE and not 0xFDD0 <= code <= 0xFDEF
    return category == "Zs"


def escaped(text: str) -> str:
    """The text with what can't be in an id written as an escape."""
    if text.isprintable():
        return text
    return "".join(c if _is_printable(c) else c.encode("unicode_escape").decode() for c in text)


def valid(text: str) -> str:
    """The text as any reader of Unicode takes it: U+FFFD for each byte that was no text."""
    return text if text.isascii() else _LONE.sub("\ufffd", text)


def is_valid(text: str) -> bool:
    """Whether nothing has to be replaced for that."""
    return text.isascii() or not _LONE.search(text)


def exact(text: str) -> bytes:
    """The bytes that the text was made of."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a pair that stands for no byte
        return text.encode("utf-8", "surrogatepass")
