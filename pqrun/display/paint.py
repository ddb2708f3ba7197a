# SPDX-License-Identifier: LGPL-3.0-or-later
"""Colours for lines of text, where they are wanted."""

from __future__ import annotations

_CODES = {
    "bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35",
    "cyan": "36",
}  # fmt: skip
OUTCOME_STYLES = {
    "ok": "green", "failed": "bold red", "timeout": "bold magenta", "cancelled": "yellow",
    "skipped": "yellow", "interrupted": "yellow",
}  # fmt: skip


class Paint:
    """`paint("bold red", text)`: the text in that style, or as it is."""

    def __init__(self, *, on: bool) -> None:
        self._on = on

    def __call__(self, style: str, text: str) -> str:
        if not self._on or not text or not style:
            return text
        codes = ";".join(_CODES[word] for word in style.split())
        return f"\x1b[{codes}m{text}\x1b[0m"
