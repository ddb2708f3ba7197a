# SPDX-License-Identifier: LGPL-3.0-or-later
"""What lies over the screen for a moment: a question, something to read."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

HELP = """\
Moving     ↑ ↓  PgUp PgDn  Home End    select a job (Tab: between table and log)
           Enter                       its output in full; Esc: back
Listing    /      filter: words, state:failed, priority:low, tag:x; in the log: search
           f      next state            t   next tag             l   next priority
           s      next order            S   the other way round  Esc all jobs again
Log        a      another attempt       o   both streams, stdout, stderr
           n N    next, previous line that was searched for      End follows again
The job    k      cancel (asks first)   + - raise, lower its priority
           r      run it again          u   before all others of its priority
The run    p      pause, go on          > < more, fewer workers at a time
           X      stop (asks first)     r   when it has ended: leave, and go on with it
Screen     m      numbers on, off       ?   this help            q   leave; the run goes on

A live run is not disturbed by being looked at, and goes on when you leave. When it ends
the screen stays: all of it can still be read, nothing can be changed any more.
The time of a queued job is how long it has waited. Output of stderr is yellow."""


class Question(ModalScreen[bool]):
    """Yes or no; whatever isn't a yes is a no."""

    BINDINGS = [
        Binding("y", "answer(True)", show=False),
        Binding("n,escape,q,enter", "answer(False)", show=False),
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """The question, and the keys."""
        with Vertical(classes="dialog"):
            yield Static(self._text, markup=False)
            yield Static("\ny  yes     n  no", markup=False, classes="keys")

    def action_answer(self, yes: bool) -> None:
        """It is decided."""
        self.dismiss(yes)


class Sheet(ModalScreen[None]):
    """Something to read."""

    BINDINGS = [Binding("escape,q,enter,question_mark", "close", show=False)]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        """The text, as much as fits."""
        with VerticalScroll(classes="dialog wide") as box:
            box.border_title = self._title
            box.border_subtitle = "Esc"
            yield Static(self._text, markup=False)

    def action_close(self) -> None:
        """It was read."""
        self.dismiss(None)
