# SPDX-License-Identifier: LGPL-3.0-or-later
"""Text of a fixed width in terminal cells, and bars. Needs rich, so import this only for a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.cells import cell_len, set_cell_size
from rich.color import ColorSystem
from rich.console import Console
from rich.style import Style

STYLES = {
    name: Style.parse(definition)
    for name, definition in {
        "": "none", "label": "dim", "head": "dim underline", "strong": "bold", "name": "none",
        "ok": "green", "failed": "red", "timeout": "magenta", "retry": "yellow", "running": "blue",
        "track": "dim", "file": "bold cyan", "run": "cyan", "key": "bold",
        "state": "bold reverse yellow", "prompt": "reverse yellow", "stop": "bold reverse red",
        "output": "dim", "status": "cyan",
        "bold ok": "bold green", "bold failed": "bold red", "bold timeout": "bold magenta",
        "bold retry": "bold yellow", "bold running": "bold blue",
        "critical": "bold red", "high": "yellow", "normal": "none", "low": "dim",
    }.items()
}  # fmt: skip

# The widths of a line, in cells, from which more columns are shown. The window is one cell wider.
WIDE, MIDDLE, NARROW = 109, 79, 55

_SYSTEMS = {
    "standard": ColorSystem.STANDARD,
    "256": ColorSystem.EIGHT_BIT,
    "truecolor": ColorSystem.TRUECOLOR,
}

StyledText = tuple[str, str]


def width_of(text: str) -> int:
    """Return the width of a text in terminal cells."""
    return len(text) if text.isascii() else cell_len(text)


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Return the text in exactly `width` cells: padded, or cut with an ellipsis."""
    if width <= 0:
        return ""
    size = width_of(text)
    if size > width:
        return text[: width - 1] + "…" if text.isascii() else set_cell_size(text, width - 1) + "…"
    return " " * (width - size) + text if right else text + " " * (width - size)


def fit_words(text: str, width: int) -> str:
    """Return a sentence in exactly `width` cells, cut between two words."""
    if width_of(text) > width:
        before, blank, _ = fit(text, width).rpartition(" ")
        text = f"{before} …" if blank and before.strip() else text
    return fit(text, width)


def fit_name(text: str, width: int) -> str:
    """Return the text in exactly `width` cells, cut in the middle: names of a matrix differ at their ends."""
    if width_of(text) <= width or width < 8:
        return fit(text, width)
    end = (width - 1) // 3
    tail = text[-end:]
    while width_of(tail) > end:
        tail = tail[1:]
    return fit(text, width - width_of(tail)) + tail


def cpu_text(cpus: float | None) -> str:
    """Return the share of a CPU in at most five cells: `183%`; an empty text if it was not measured."""
    return "" if cpus is None else f"{100 * cpus:.0f}%"


def memory_text(size: int | None) -> str:
    """Return a size in at most five cells: `812K`, `57M`, `1.2G`; an empty text if it was not measured."""
    if size is None:
        return ""
    if size < 1000 << 20:
        return f"{size >> 20}M" if size >= 1 << 20 else f"{size >> 10}K"
    return f"{size / (1 << 30):.1f}G" if size < 99 << 30 else f"{size >> 30}G"


def bar(share: float, width: int) -> tuple[str, str]:
    """Return a bar of `width` cells as two parts, done and rest, rounded to half a cell."""
    halves = round(min(max(share, 0.0), 1.0) * width * 2)
    done = "━" * (halves // 2) + "╸" * (halves % 2)
    return done, "─" * (width - len(done))


def urgency(share: float) -> str:
    """Return the style of a running job that has used this share of its time limit."""
    return "failed" if share >= 0.9 else "retry" if share >= 0.6 else "running"


class StyledLine:
    """A line under construction: pieces of text, each with a style of `STYLES`."""

    def __init__(self, *pieces: StyledText) -> None:
        self.pieces: list[StyledText] = list(pieces)

    def add(self, text: str, style: str = "") -> StyledLine:
        """Append a piece of text; return the line itself."""
        if text:
            self.pieces.append((text, style))
        return self

    @property
    def width(self) -> int:
        """The width so far, in cells."""
        return sum([len(text) if text.isascii() else cell_len(text) for text, _ in self.pieces])

    def pad_to(self, width: int, style: str = "") -> StyledLine:
        """Append blanks up to a width of `width` cells."""
        return self.add(" " * (width - self.width), style)

    def within(self, width: int) -> list[StyledText]:
        """Return the pieces, cut after `width` cells."""
        if self.width <= width:
            return self.pieces
        pieces = []
        for text, style in self.pieces:
            if (size := width_of(text)) > width:
                pieces.append((set_cell_size(text, width), style))
                break
            width -= size
            pieces.append((text, style))
        return pieces


class AnsiPainter:
    """A painter that turns pieces into text with escape sequences, for the colours of `console`."""

    def __init__(self, console: Console) -> None:
        self._around: dict[str, tuple[str, str]] = {}
        for name, style in STYLES.items():
            shown = style.without_color if console.no_color else style
            system = _SYSTEMS.get(console.color_system or "")
            before, _, after = shown.render("\0", color_system=system).partition("\0")
            self._around[name] = (before, after)

    def text(self, pieces: Iterable[StyledText]) -> str:
        """Return the painted pieces as one text."""
        around = self._around
        parts = []
        for text, style in pieces:
            before, after = around[style]
            parts.append(before + text + after)
        return "".join(parts)


def join(parts: Iterable[list[StyledText]], gap: int, width: int) -> StyledLine:
    """Return a line of as many whole parts as fit into `width` cells, with gaps between them."""
    line = StyledLine()
    for pieces in parts:
        part = StyledLine(*pieces)
        space = gap if line.pieces else 0
        if line.width + space + part.width > width:
            break
        line.add(" " * space)
        line.pieces += part.pieces
    return line


def join_all(parts: Sequence[list[StyledText]], gap: int, width: int) -> StyledLine | None:
    """Return a line of all parts with gaps between them, or None if it is wider than `width` cells."""
    needed = sum(StyledLine(*part).width for part in parts) + gap * (len(parts) - 1)
    return join(parts, gap, width) if needed <= width else None
