# SPDX-License-Identifier: LGPL-3.0-or-later
"""Lines at the bottom of a terminal that are redrawn while jobs print above them.

Between two drawings the cursor stays where the next output of a job will go, above the lines. When
the window is resized, everything below the cursor is therefore ours to erase, and no count of lines
has to be right. (`rich.live` counts upwards from the end of its lines and leaves parts of them where a
narrower window wraps them.) The lines are the last ones of the window, so what a terminal scrolls
out at the top is output of jobs, unless the lines take most of the window.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from threading import Lock

from pqrun.engine.executor import TerminalGuard
from pqrun.output.writer import StreamWriter

# Synchronized output: terminals that support it show the whole update at once; others ignore it.
_TOGETHER, _AT_ONCE = "\x1b[?2026h", "\x1b[?2026l"
_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
_NO_WRAP, _WRAP = "\x1b[?7l", "\x1b[?7h"
_REST_OF_LINE = "\x1b[K"
_SAVE, _BACK = "\x1b7", "\x1b8"
# Two steps, because tmux adds the screen to its history when it is erased from the window's first cell.
_ERASE_BELOW = f"\r{_REST_OF_LINE}{_SAVE}\x1b[B\x1b[J{_BACK}"
# Ends an unfinished drawing and erases the lines below the cursor; a prompt printed meanwhile stays.
_AFTER_A_KILL = f"{_AT_ONCE}{_WRAP}\x1b[0m{_SHOW_CURSOR}\x1b[J".encode()
_KEEPING = (
    "TMUX", "STY", "TERM_PROGRAM", "VTE_VERSION", "KITTY_WINDOW_ID", "ALACRITTY_WINDOW_ID", "WEZTERM_PANE",
    "KONSOLE_VERSION", "WT_SESSION", "XTERM_VERSION", "WINDOWID", "SSH_TTY",
)  # fmt: skip
DRAW_TIMEOUT_SECONDS = 0.5
# Every 20th frame draws all lines again, in case another program has written over them.
FRAMES_PER_FULL_DRAW = 20


class BottomLines:
    """The lines at the bottom of a terminal.

    `draw` runs on the dispatcher thread; `suspend` and `close` may run on another. `guard` gets
    the bytes that restore the terminal, to send them if pqrun is killed. `came_back` is
    called when pqrun is in the foreground again.
    """

    def __init__(
        self,
        writer: StreamWriter,
        came_back: Callable[[], None],
        guard: TerminalGuard,
        *,
        cursor_kept: bool,
    ) -> None:
        self._guard = guard
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
        """Whether the lines are on the screen now."""
        return self._drawn

    def size(self) -> tuple[int, int]:
        """Return the columns and rows of the window."""
        try:
            columns, rows = os.get_terminal_size(self._outlet.fd)
        except OSError:
            columns, rows = 80, 24
        return columns or 80, rows or 24

    def draw(self, lines: Sequence[str]) -> None:
        """Replace the lines. Each must be shorter than the window is wide.

        In the background nothing is drawn, because the terminal then belongs to another program.
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
                self._guard.keep_terminal(text=_AFTER_A_KILL)
            first = rows - len(lines) + 1
            in_place = self._drawn and shape == self._shape
            self._frames += 1
            if in_place and self._frames % FRAMES_PER_FULL_DRAW:
                text += _SAVE + _NO_WRAP + self._changed(lines, first)
            else:
                if not in_place:
                    text += self._all_of_the_last(rows) + _ERASE_BELOW
                text += "\n" * len(lines) + f"\x1b[{len(lines)}A"  # make room
                text += f"{_SAVE}{_NO_WRAP}\x1b[{first};1H"
                text += "\r\n".join(line + _REST_OF_LINE for line in lines)
            text += _WRAP + _BACK + _AT_ONCE
            self._lines = lines
            self._drawn = self._cursor_hidden = bool(lines)
            self._shape = shape
            self._outlet.draw(text)

    def _changed(self, lines: Sequence[str], first: int) -> str:
        """Return the text that replaces the lines that differ from the last frame. `first`: their first row."""
        pairs = enumerate(zip(lines, self._lines, strict=True), first)
        return "".join(f"\x1b[{n};1H{new}{_REST_OF_LINE}" for n, (new, old) in pairs if new != old)

    def step_aside(self) -> None:
        """Erase the lines, so that output can be written in their place."""
        if self._drawn:
            with self._lock:
                if self._drawn and not self._closed:
                    self._drawn = False
                    self._outlet.draw(_TOGETHER + self._all_of_the_last(self.size()[1]) + _ERASE_BELOW)

    def suspend(self) -> None:
        """Erase the lines and show the cursor, until `resume`."""
        self._leave()

    def resume(self) -> None:
        """Allow drawing again; the lines on the screen are taken to be lost."""
        self._drawn = self._cursor_hidden = self._suspended = False

    def close(self) -> None:
        """Erase the lines and show the cursor, for good."""
        self._leave()
        self._closed = True

    def _leave(self) -> None:
        # The thread that holds the lock may hang in a write to a blocked terminal, which would take no text
        # of ours either. Without a timeout, pqrun could then not be stopped.
        held = self._lock.acquire(timeout=DRAW_TIMEOUT_SECONDS)
        try:
            self._suspended = True
            if held and not self._closed and (self._drawn or self._cursor_hidden):
                erase = self._all_of_the_last(self.size()[1]) + _ERASE_BELOW if self._drawn else ""
                self._drawn = self._cursor_hidden = False
                self._outlet.draw(erase + _SHOW_CURSOR + _AT_ONCE)
                self._guard.keep_terminal(text=b"")
        finally:
            if held:
                self._lock.release()

    def _all_of_the_last(self, rows: int) -> str:
        """Return the sequence that moves the cursor to the first row that the last lines may be in.

        It is needed in a window that lost rows, on a terminal that then left the cursor where it was.
        """
        height, _, before = self._shape
        if self._cursor_kept or not self._drawn or rows >= before:
            return ""
        return f"\x1b[{max(1, rows - height + 1)};1H"


def keeps_cursor(environment: Mapping[str, str]) -> bool:
    """Return whether the terminal is known to keep the cursor on its line in a lower window.

    All terminals in common use do. Simple emulators cut lines off at the top and leave the cursor
    where it was.
    """
    return environment.get("TERM") == "linux" or any(name in environment for name in _KEEPING)


def in_foreground(fd: int) -> bool:
    """Return whether the terminal is ours now; always true for one without job control."""
    try:
        return os.tcgetpgrp(fd) in (os.getpgrp(), 0)
    except OSError:
        return True
