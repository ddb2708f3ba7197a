# SPDX-License-Identifier: LGPL-3.0-or-later
"""Makes any text safe for a screen: nothing that jobs print or are called can steer a terminal.

Colours of job output stay. Whole sequences of other kinds (cursor movements, titles, links) are left
out, since what they do can't be shown; anything else that a terminal would obey is written out.
"""

from __future__ import annotations

import re
import unicodedata

_PLAIN = re.compile(r"[ -~]*")
_SEQUENCE = re.compile(
    r"(?P<colour>\x1b\[[0-9;:]{0,64}m)"
    r"|\x1b\[[0-?]{0,64}(?:[A-Za-z@`~]|[ !\"$'*][A-Za-z~])"  # cursor movements, modes, erasing
    r"|\x1b[\]PX^_][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)"  # titles, links, other strings
    r"|\x1b[ -/]{1,4}[0-~]"  # character sets
    r"|\x1b[78=>NOM]"
)


def safe(text: str, *, keep: str = "") -> str:
    """The text with what a terminal would obey (control, format, surrogate) written out.

    `keep` names characters that may stay as they are, such as a TAB.
    """
    if _PLAIN.fullmatch(text):
        return text
    shown = "".join(c if c in keep else _shown(c) for c in text)
    if unicodedata.category(shown[0])[0] == "M":  # it would sit on what stands before this text
        shown = _code(shown[0]) + shown[1:]
    return shown


def safe_line(text: str) -> str:
    """One line of a job's output for a terminal: colours survive, nothing else steers."""
    if "\x1b" not in text:
        return safe(text, keep="\t")
    parts = []
    at = 0
    coloured = False
    for sequence in _SEQUENCE.finditer(text):
        parts.append(safe(text[at : sequence.start()], keep="\t"))
        if colour := sequence["colour"]:
            parts.append(colour)
            coloured = True
        at = sequence.end()
    parts.append(safe(text[at:], keep="\t"))
    return "".join(parts) + ("\x1b[0m" if coloured else "")


def last_line(data: bytes, limit: int = 300) -> str:
    """The last line that is not blank, without colours, safe."""
    for line in reversed(data[-8192:].replace(b"\r", b"\n").split(b"\n")):
        if line.strip() and (text := plain(line.decode("utf-8", "replace"))):
            return text[:limit]
    return ""


def plain(text: str) -> str:
    """Safe and without colours."""
    if _PLAIN.fullmatch(text):
        return text.strip()
    return safe(_SEQUENCE.sub("", text).replace("\t", " ").strip())


def _shown(c: str) -> str:
    if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
        return c
    return _code(c)


def _code(c: str) -> str:
    code = ord(c)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
