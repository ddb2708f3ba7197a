# SPDX-License-Identifier: LGPL-3.0-or-later
"""The screen of `top` without its keys: its widgets, their layout, and the dialogs.

`RunScreen` polls the run for as long as it is mounted, and draws what the `RunPoller` knows.
"""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Input, Static

from pqrun.core import text as hints
from pqrun.core.text import escape_controls, format_duration
from pqrun.ui.live.cells import StyledLine, StyledText
from pqrun.ui.top.jobs import BAD
from pqrun.ui.top.polling import OutputFollower, RunPoller
from pqrun.ui.top.rendering import dashboard, idle_keys, keys, title
from pqrun.ui.top.widgets import JobTableView, LogView, StyledLines

LOW_HEIGHT, FLAT_HEIGHT = 26, 17
"""Below these heights of the window, in lines, the less important lines are hidden."""
MAX_ATTEMPTS_SHOWN = 6

CSS = """
Screen { background: #15181c; color: #d7dae0; }
StyledLines { height: 1; }
#title { background: #22303a; }
#banner { background: #2a2620; display: none; }
#board { height: 5; }
#head { height: 2; background: #1f252b; }
#jobs { height: 1fr; min-height: 3; overflow-x: hidden; scrollbar-size-vertical: 1; }
#jobs > .jobs--odd { background: #1a1e23; }
#jobs > .jobs--cursor { background: #2b4a63; color: #ffffff; text-style: bold; }
#jobs:focus > .jobs--cursor { background: #0b69b7; color: #ffffff; text-style: bold; }
#bottom { height: 42%; min-height: 6; }
#facts { height: 3; background: #1a1e23; }
#log { height: 1fr; border: round #3b5568; border-title-color: #8fb8d8; scrollbar-size: 1 1; }
#log:focus { border: round #2f97e8; border-title-color: #d7ecff; }
#log > .log--found { background: #e0b000; color: #000000; }
#log > .log--here { background: #304050; }
#ask { display: none; height: 3; border: round #e0b000; background: #15181c; }
#keys { background: #22303a; }
.low #facts { height: 2; }
.low #board { height: 2; }
.low.full #board { height: 5; }
.flat #board, .flat #facts, .bare #board { display: none; }
.flat.full #board { display: block; height: 5; }
.flat #bottom { height: 35%; min-height: 4; }
.reading #board, .reading #head, .reading #jobs { display: none; }
.reading #facts { display: block; height: 3; }
.reading #bottom { height: 1fr; }
QuestionDialog, TextDialog { align: center middle; background: #000000 55%; }
.dialog { width: auto; max-width: 90%; height: auto; max-height: 90%; padding: 1 2;
          border: round #2f97e8; background: #1f252b; }
.dialog Static { width: auto; }
.dialog .keys { color: #e0b000; }
.wide { width: 96; max-width: 98%; }
.wide Static { width: 100%; }
Toast { background: #22303a; }
"""


class RunScreen(Screen[None]):
    """The screen of a run. `table` has the selected job; `follower` reads its output into `log_view`.

    `input_searches`: the input is, or was last, for a search in the log, not for a filter of the list.
    """

    def __init__(self, poller: RunPoller) -> None:
        super().__init__()
        self.table = JobTableView(poller.jobs, poller.last_output, poller.now, poller.usage)
        self.log_view = LogView()
        self.follower = OutputFollower(poller, self.log_view)
        self.input = Input(id="ask", select_on_focus=False)
        self.input_searches = False
        self._poller = poller
        self._title_line = StyledLines(self._draw_title, id="title")
        self._banner_line = StyledLines(self._draw_banner, id="banner")
        self._board_lines = StyledLines(self._draw_board, id="board")
        self._heading = StyledLines(self.table.heading, id="head")
        self._facts_lines = StyledLines(self._draw_facts, id="facts")
        self._keys_line = StyledLines(self._draw_keys, id="keys")

    def compose(self) -> ComposeResult:
        """Yield the widgets from top to bottom."""
        yield from (self._title_line, self._banner_line, self._board_lines, self._heading, self.table)
        with Vertical(id="bottom"):
            yield self._facts_lines
            yield self.log_view
        yield self.input
        yield self._keys_line

    def on_mount(self) -> None:
        """Start polling the run."""
        self.input.cursor_blink = False
        self.table.focus()
        self.run_worker(self._keep_polling(), name="poll")

    # Polling

    async def _keep_polling(self) -> None:
        while True:
            await self._poll()
            await self._poller.pause()

    async def _poll(self) -> None:
        """Make one round: ask what is due, and redraw the widgets whose content has changed."""
        if await self._poller.poll():
            self._show_run()
        if await self._poller.ask_last_output(self.table.visible_jobs()):
            self.table.refresh()
        if await self._poller.ask_details(self.table.job):
            self._facts_lines.refresh()
        await self.follower.read(self.table.job)

    # Changes of the screen

    def _show_run(self) -> None:
        """Redraw after the run has changed."""
        self._banner_line.display = bool(self._draw_banner(80))
        self.table.changed()
        for lines in (self._title_line, self._banner_line, self._board_lines, self._heading, self._keys_line):
            lines.refresh()

    def show_selected(self) -> None:
        """Redraw after another job was selected, and read its output."""
        self.follower.choose_last_attempt()
        self._poller.wake()
        self._facts_lines.refresh()
        self._keys_line.refresh()

    def list_again(self) -> None:
        """Redraw after a change of filter or order."""
        self.table.begin_again()
        self._heading.refresh()
        self._poller.wake()

    def fit(self, height: int) -> None:
        """Hide the less important lines in a low window."""
        self.set_class(height < LOW_HEIGHT, "low")
        self.set_class(height < FLAT_HEIGHT, "flat")

    def toggle_numbers(self) -> None:
        """Hide or show the numbers and curves."""
        self.toggle_class("full" if self.has_class("low") else "bare")

    def open_log(self) -> None:
        """Show the output of the selected job alone."""
        self.add_class("reading")
        self.log_view.focus()

    @property
    def in_log(self) -> bool:
        """Whether the log has the focus or is shown alone."""
        return bool(self.has_class("reading") or self.log_view.has_focus)

    def leave_log(self) -> None:
        """Show the table again, and end the search in the log."""
        self.remove_class("reading")
        self.log_view.search("")
        self.table.focus()

    def open_input(self) -> None:
        """Open the input: for a filter, or for a search if the log has the focus."""
        box = self.input
        self.input_searches = self.log_view.has_focus
        if self.input_searches:
            box.placeholder, box.value = "search in the log", self.log_view.searched
        else:
            box.placeholder = "words  state:failed  priority:low  tag:x"
            box.value = str(self._poller.jobs.filter)
        box.display = True
        box.cursor_position = len(box.value)
        box.focus()

    def close_input(self) -> None:
        """Close the input, and focus the widget that it was for."""
        self.input.display = False
        (self.log_view if self.input_searches else self.table).focus()

    # Drawing

    def _draw_title(self, width: int) -> list[list[StyledText]]:
        poller = self._poller
        if poller.run is None:
            return [[(" pqrun top", "strong"), ("  reading the journal …", "label")]]
        return [[(" ", ""), *title(poller.run, poller.jobs, poller.history, width - 1).pieces]]

    def _draw_banner(self, width: int) -> list[list[StyledText]]:
        run = self._poller.run
        if run is None or (run.live and not run.paused and not run.stopping):
            return []
        if run.trouble:
            text = f" {run.trouble}; the last state stays on the screen"
            return [[(" the run is gone: ", "stop"), (text, "")]]
        if run.live:
            text = "stopping: no more jobs start" if run.stopping else "paused: no job starts until p"
            return [[(f" {text} ", "state")]]
        left, bad = run.added - run.ended, count_bad(self._poller)
        line = StyledLine((f" the run has {'ended' if run.state == 'ended' else run.state} ", "state"))
        line.add(f" {bad:,} failed" if bad else "", "bold failed")
        line.add(f" {left:,} left" if left else "", "retry")
        if left or bad:
            again = hints.line_of(resume_words(self._poller))
            line.add("  again: ", "label").add(escape_controls(again), "key")
        return [line.within(width)]

    def _draw_board(self, width: int) -> list[list[StyledText]]:
        poller = self._poller
        if poller.run is None:
            return []
        return dashboard(poller.run, poller.jobs, poller.history, width)

    def _draw_facts(self, width: int) -> list[list[StyledText]]:
        job, details = self.table.job, self._poller.details
        if job is None:
            return []
        lines = [StyledLine((" $ ", "label"), (job.command, "")).within(width)]
        if details.seq != job.seq:
            return lines  # the details of this job have not been read yet
        line = StyledLine((" ", ""))
        for one in details.attempts[-MAX_ATTEMPTS_SHOWN:]:
            style = "running" if one.how == "running" else "ok" if one.how in ("", "exit 0") else "failed"
            line.add(f"try {one.number} ", "label").add(one.how, style)
            line.add("" if one.seconds is None else f" {format_duration(one.seconds)}").add("   ")
        if job.tags:
            line.add("tags ", "label").add(" ".join(job.tags))
        style = "retry" if job.unfinished else "failed"
        last = StyledLine((" ", ""), (details.why or job.message, style))
        return [*lines, line.within(width), last.within(width)]

    def _draw_keys(self, width: int) -> list[list[StyledText]]:
        return [keys(width, idle_keys(self._poller.run, self.table.job))]


def count_bad(poller: RunPoller) -> int:
    """Return the number of jobs that failed or reached their timeout."""
    return sum(poller.jobs.counts[state] for state in BAD)


def resume_words(poller: RunPoller) -> list[str]:
    """Return the words of the command that resumes the run, which has ended."""
    assert poller.run is not None
    options = "--failed" if count_bad(poller) else ""
    return hints.command_words("resume", poller.run.address or poller.run.id, options=options)


class QuestionDialog(ModalScreen[bool]):
    """A dialog with a yes-or-no question. `y` means yes; every other key that closes it means no."""

    BINDINGS = [
        Binding("y", "answer(True)", show=False),
        Binding("n,escape,q,enter", "answer(False)", show=False),
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(self._text, markup=False)
            yield Static("\ny  yes     n  no", markup=False, classes="keys")

    def action_answer(self, yes: bool) -> None:
        """Close the dialog with the answer."""
        self.dismiss(yes)


class TextDialog(ModalScreen[None]):
    """A dialog that shows a text."""

    BINDINGS = [Binding("escape,q,enter,question_mark", "close", show=False)]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog wide") as box:
            box.border_title = self._title
            box.border_subtitle = "Esc"
            yield Static(self._text, markup=False)

    def action_close(self) -> None:
        self.dismiss(None)
