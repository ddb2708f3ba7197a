# SPDX-License-Identifier: LGPL-3.0-or-later
"""Text of jobs for files and pages: without escape sequences and control characters, and cut to a length."""

from __future__ import annotations

import re

from pqrun.core.text import strip_ansi

_ESCAPES = re.compile(
    r"\x1b\[[0-?]{0,64}[ -/]{0,8}[@-~]"  # colours, cursor movements
    r"|\x1b[\]PX^_][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)"  # titles, links
    r"|\x1b[ -/]{0,4}[0-~]"
)
# XML 1.0 forbids most of these characters. It allows U+007F to U+009F, but terminals obey them.
_NOT_TEXT = re.compile("[^\t\n -~\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def printed(data: bytes) -> str:
    """Return output as text: without colours and control characters, with `\n` as line end."""
    text = _ESCAPES.sub("", data.decode("utf-8", "replace"))
    return _NOT_TEXT.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def last_lines(data: bytes, most: int, longest: int = 1000) -> list[str]:
    """Return the last `most` lines before trailing blank ones, each cut to `longest` characters."""
    lines = printed(data).rstrip().split("\n")[-most:]
    return [line[:longest] for line in lines] if any(lines) else []


def one_line(text: str, longest: int = 500) -> str:
    """Return text on one line, without escape sequences and control characters, cut to `longest`."""
    if not text:
        return ""
    text = _NOT_TEXT.sub("\ufffd", strip_ansi(" ".join(text[: 4 * longest].split())))
    return text if len(text) <= longest else text[: longest - 1] + "…"
