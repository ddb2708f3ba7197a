# SPDX-License-Identifier: LGPL-3.0-or-later
"""Makes any text safe for a screen: nothing that jobs print or are called can steer a terminal."""

from __future__ import annotations

import re
import unicodedata

_PLAIN = re.compile(r"[ -~]*")
_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")


def safe(text: str, *, keep: str = "") -> str:
    """The text with what a terminal would obey (control, format, surrogate) written out.

    `keep` names characters that may stay as they are, such as a TAB.
    """
    if _PLAIN.fullmatch(text):
        return text
    return "".join(c if c in keep else _shown(c) for c in text)


def safe_line(text: str) -> str:
    """One line of a job's output for a terminal: colours survive, nothing else steers."""
    if "\x1b" not in text:
        return safe(text, keep="\t")
    parts = []
    at = 0
    coloured = False
    for colour in _COLOURS.finditer(text):
        parts += [safe(text[at : colour.start()], keep="\t"), colour.group()]
        at = colour.end()
        coloured = True
    parts.append(safe(text[at:], keep="\t"))
    return "".join(parts) + ("\x1b[0m" if coloured else "")


def last_line(data: bytes, limit: int = 300) -> str:
    """The last line that is not blank, without colours, safe."""
    for line in reversed(data[-8192:].replace(b"\r", b"\n").split(b"\n")):
        if line.strip():
            return plain(line.decode("utf-8", "replace"))[:limit]
    return ""


def plain(text: str) -> str:
    """Safe and without colours."""
    return safe(_COLOURS.sub("", text).replace("\t", " ").strip())


def _shown(c: str) -> str:
    if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
        return c
    code = ord(c)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
