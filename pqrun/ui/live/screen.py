# SPDX-License-Identifier: LGPL-3.0-or-later
"""Some lines at the bottom of a terminal that are drawn again and again, while others write above.

Between two drawings the cursor stays where the next output of a job will go, above the lines. So
whatever a terminal does to lines when its window changes, "below the cursor" is always exactly what
is to be taken away: no count of lines has to be right for that. (Counting upwards from the end of
what was drawn, as `rich.live` does, leaves debris where a narrower window wraps lines.) And since the
lines are the last ones of the window, what a terminal pushes out at its top is never theirs, unless
they take most of the window.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from threading import Lock

from pqrun.output.writer import StreamWriter

# Terminals that know it show everything up to its end at once; the others ignore it.
_TOGETHER, _AT_ONCE = "\x1b[?2026h", "\x1b[?2026l"
_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
_NO_WRAP, _WRAP = "\x1b[?7l", "\x1b[?7h"
_REST_OF_LINE = "\x1b[K"
_SAVE, _BACK = "\x1b7", "\x1b8"
# Not from the first cell of the window: tmux keeps what is erased so among the lines scrolled out.
_ERASE_BELOW = f"\r{_REST_OF_LINE}{_SAVE}\x1b[B\x1b[J{_BACK}"
# Ends whatever was being drawn, and erases the lines below; a prompt that is there already stays.
_AFTER_A_KILL = f"{_AT_ONCE}{_WRAP}\x1b[0m{_SHOW_CURSOR}\x1b[J".encode()
_KEEPING = (
    "TMUX", "STY", "TERM_PROGRAM", "VTE_VERSION", "KITTY_WINDOW_ID", "ALACRITTY_WINDOW_ID", "WEZTERM_PANE",
    "KONSOLE_VERSION", "WT_SESSION", "XTERM_VERSION", "WINDOWID", "SSH_TTY",
)  # fmt: skip
DRAW_TIMEOUT_SECONDS = 0.5
# All lines are drawn again this often, should something else have written over them.
REDRAW_INTERVAL_SECONDS = 20


class BottomLines:
    """Draws in the teller's thread; `suspend` and `close` may come from another.

    `keep_text` hears what the terminal has to be sent if pqrun is killed.
    """

    def __init__(
        self,
        writer: StreamWriter,
        came_back: Callable[[], None] = lambda: None,
        *,
        cursor_kept: bool = True,
        keep_text: Callable[[bytes], None] = lambda _text: None,
    ) -> None:
        self._keep_text = keep_text
        self._outlet = writer
        self._cursor_kept = cursor_kept
        self._came_back = came_back
        self._behind = False
        self._lock = Lock()
        self._drawn = False
        self._shape = (0, 0, 0)
        self._lines: Sequence[str] = ()
        self._frames = 0
        self._cursor_hidden = False
        self._suspended = False
        self._closed = False

    @property
    def drawn(self) -> bool:
        """Whether the lines are there now."""
        return self._drawn

    def size(self) -> tuple[int, int]:
        """Columns and rows of the window."""
        try:
            columns, rows = os.get_terminal_size(self._outlet.fd)
        except OSError:
            columns, rows = 80, 24
        return columns or 80, rows or 24

    def draw(self, lines: Sequence[str]) -> None:
        """Puts these lines in the place of the last ones; each must be shorter than the window is wide.

        In the background nothing is drawn: the terminal is somebody else's then.
        """
        with self._lock:
            if self._suspended or self._closed:
                return
            if not in_foreground(self._outlet.fd):
                self._drawn, self._behind = False, True
                return
            if self._behind:
                self._behind = False
                self._came_back()
            columns, rows = self.size()
            lines = lines[: rows - 1]
            shape = (len(lines), columns, rows)
            text = _TOGETHER
            if not self._cursor_hidden:
                text += _HIDE_CURSOR
                self._keep_text(_AFTER_A_KILL)
            first = rows - len(lines) + 1
            self._frames += 1
            if self._drawn and shape == self._shape and self._frames % REDRAW_INTERVAL_SECONDS:
                text += _SAVE + _NO_WRAP
                text += "".join(
                    f"\x1b[{first + n};1H{line}{_REST_OF_LINE}"
                    for n, (line, before) in enumerate(zip(lines, self._lines, strict=True))
                    if line != before
                )
            else:
                make_room = "\n" * len(lines) + f"\x1b[{len(lines)}A"
                if not (self._drawn and shape == self._shape):
                    text += self._all_of_the_last(rows) + _ERASE_BELOW
                text += make_room
                text += f"{_SAVE}{_NO_WRAP}\x1b[{first};1H"
                text += "\r\n".join(line + _REST_OF_LINE for line in lines)
            text += _WRAP + _BACK + _AT_ONCE
            self._lines = lines
            self._drawn = self._cursor_hidden = bool(lines)
            self._shape = shape
            self._outlet.draw(text)

    def step_aside(self) -> None:
        """Takes the lines away, so that something else can be written in their place."""
        if self._drawn:
            with self._lock:
                if self._drawn and not self._closed:
                    self._drawn = False
                    self._outlet.draw(_TOGETHER + self._all_of_the_last(self.size()[1]) + _ERASE_BELOW)

    def suspend(self) -> None:
        """Leaves the terminal as it was found, until `resume`."""
        self._leave()

    def resume(self) -> None:
        """Draws again from now on, whatever has become of what was drawn."""
        self._drawn = self._cursor_hidden = self._suspended = False

    def close(self) -> None:
        """Leaves the terminal as it was found, for good."""
        self._leave()
        self._closed = True

    def _leave(self) -> None:
        # Who holds the lock may be stuck in a terminal that takes nothing: then neither would it take this.
        held = self._lock.acquire(timeout=DRAW_TIMEOUT_SECONDS)
        try:
            self._suspended = True
            if held and not self._closed and (self._drawn or self._cursor_hidden):
                erase = self._all_of_the_last(self.size()[1]) + _ERASE_BELOW if self._drawn else ""
                self._drawn = self._cursor_hidden = False
                self._outlet.draw(erase + _SHOW_CURSOR + _AT_ONCE)
                self._keep_text(b"")
        finally:
            if held:
                self._lock.release()

    def _all_of_the_last(self, rows: int) -> str:
        """To where the last lines may begin, in a window that lost rows and left the cursor where it was."""
        height, _, before = self._shape
        if self._cursor_kept or not self._drawn or rows >= before:
            return ""
        return f"\x1b[{max(1, rows - height + 1)};1H"


def keeps_cursor(environment: Mapping[str, str]) -> bool:
    """Whether this is a terminal that is known to keep the cursor with its line in a lower window.

    All that people use do; simple emulators cut lines off at the top and leave the cursor where it was.
    """
    return environment.get("TERM") == "linux" or any(name in environment for name in _KEEPING)


def in_foreground(fd: int) -> bool:
    """Whether the terminal is ours now; one that has no job control always is."""
    try:
        return os.tcgetpgrp(fd) in (os.getpgrp(), 0)
    except OSError:
        return True
