# SPDX-License-Identifier: LGPL-3.0-or-later
"""A watchdog that restores the terminal if `top` is killed."""

from __future__ import annotations

import contextlib
import termios
from collections.abc import Iterator
from typing import Any

from textual.app import App

from pqrun.executors.local.watchdog import guard_terminal

# Turns off: keyboard protocol; paste, size, mouse and focus reports; synchronized output; alternate screen.
# Restores: line wrap, cursor, colours.
AFTER_A_KILL = (
    b"\x1b[<u\x1b[?2004l\x1b[?2048l\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?1016l\x1b[?1004l"
    b"\x1b[?2026l\x1b[?7h\x1b[?1049l\x1b[?25h\x1b[0m"
)


@contextlib.contextmanager
def guarded(app: App[Any]) -> Iterator[None]:
    """Have a watchdog restore the terminal if the process dies while the app runs, inside the `with` block.

    The guard is off while the app is suspended.
    """
    before = termios.tcgetattr(0)
    watchdogs = guard_terminal()

    def begin(_: object = None) -> None:
        watchdogs.keep_terminal(before=before, ours=termios.tcgetattr(0), text=AFTER_A_KILL)

    def end(_: object = None) -> None:
        watchdogs.keep_terminal(before=None, ours=None, text=b"")

    def ready() -> None:
        begin()
        app.app_suspend_signal.subscribe(app, end)
        app.app_resume_signal.subscribe(app, begin)

    app.call_later(ready)
    try:
        yield
    finally:
        watchdogs.close()
