# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the screen is made of. Each draws the lines that are seen and no others; none reads markup."""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable
from typing import NamedTuple

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding
from textual.events import Click, Resize
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from pqrun.core.text import escape_line
from pqrun.ui.live.cells import STYLES, StyledText
from pqrun.ui.top.jobs import JobList, ListedJob
from pqrun.ui.top.rendering import TopColumn, columns, heading, row, table_title

MAX_LINES = 20_000
MAX_LINE_LENGTH = 4_000
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")


class LogLine(NamedTuple):
    """One line, and which stream it came from: 1 stdout, 2 stderr, 0 a remark of ours."""

    text: str
    stream: int


class LogText:
    """The lines of one attempt so far; at most 20,000, the oldest go."""

    def __init__(self) -> None:
        self.lines: list[LogLine] = []
        self.dropped = 0
        self._rest = {1: "", 2: ""}
        self._open: dict[int, int | None] = {1: None, 2: None}
        self._decoders = {n: getincrementaldecoder("utf-8")("replace") for n in (1, 2)}

    def feed(self, stream: int, data: bytes) -> bool:
        """Takes in what was printed next; whether that changed a line."""
        if not data:
            return False
        text = self._rest[stream] + self._decoders[stream].decode(data)
        *whole, rest = text.split("\n")
        at = self._open[stream]
        for line in whole:
            self._put(line, stream, at)
            at = None
        self._open[stream] = self._put(rest, stream, at) if rest else None
        self._rest[stream] = rest[-MAX_LINE_LENGTH * 4 :]
        if len(self.lines) > MAX_LINES:
            count = len(self.lines) - MAX_LINES
            del self.lines[:count]
            self.dropped += count
            for number, row in self._open.items():
                self._open[number] = None if row is None or row < count else row - count
        return True

    def remark(self, text: str) -> None:
        """A line of ours between those of the job."""
        self.lines.append(LogLine(text, 0))

    def find(self, wanted: str, start: int, *, back: bool = False) -> int | None:
        """The next line with that text, from there on and around the end; case does not matter."""
        count = len(self.lines)
        wanted = wanted.lower()
        for step in range(count):
            row = (start - step if back else start + step) % count
            if wanted in self.lines[row].text.lower():
                return row
        return None

    def count(self, wanted: str) -> int:
        """In how many lines it is."""
        wanted = wanted.lower()
        return sum(wanted in line.text.lower() for line in self.lines) if wanted else 0

    def _put(self, line: str, stream: int, at: int | None) -> int:
        line = line.rstrip("\r")
        said = LogLine(_shown(line[line.rfind("\r") + 1 :][:MAX_LINE_LENGTH]), stream)
        if at is None:
            self.lines.append(said)
            return len(self.lines) - 1
        self.lines[at] = said
        return at


def _shown(line: str) -> str:
    """Without colours, with blanks for tabs."""
    return _COLOUR.sub("", escape_line(line)).expandtabs(8)


def strip(pieces: Iterable[StyledText], width: int, base: Style) -> Strip:
    """A line of that width."""
    made = Strip([Segment(text, base + STYLES[style]) for text, style in pieces])
    return made.adjust_cell_length(width, base)


class StyledLines(Widget):
    """A few lines, drawn by a function of the width."""

    def __init__(self, draw: Callable[[int], list[list[StyledText]]], *, id: str) -> None:
        super().__init__(id=id)
        self._draw = draw

    def render_line(self, y: int) -> Strip:
        """That line of it."""
        width = self.size.width
        lines = self._draw(width)
        return strip(lines[y] if y < len(lines) else [], width, self.rich_style)


class JobTableView(ScrollView):
    """The listed jobs, one a line; the selected one stays selected wherever it moves to."""

    can_focus = True
    COMPONENT_CLASSES = {"jobs--cursor", "jobs--odd"}
    BINDINGS = [
        Binding("up", "step(-1)", show=False),
        Binding("down", "step(1)", show=False),
        Binding("pageup", "leaf(-1)", show=False),
        Binding("pagedown,space", "leaf(1)", show=False),
        Binding("home,g", "end_at(0)", show=False),
        Binding("end,G", "end_at(1)", show=False),
        Binding("enter", "open", show=False),
    ]

    class Selected(Message):
        """Another job is selected."""

    class Opened(Message):
        """Its output is to be seen in full."""

    def __init__(self, jobs: JobList, words: dict[int, str], now: Callable[[], float]) -> None:
        super().__init__(id="jobs")
        self._jobs = jobs
        self._words = words
        self._now = now
        self.selected: int | None = None
        self._moved = False
        self._widest = 12

    @property
    def job(self) -> ListedJob | None:
        """The selected one."""
        return None if self.selected is None else self._jobs.all.get(self.selected)

    @property
    def page(self) -> int:
        """How many jobs are seen at a time."""
        return max(1, int(self.size.height))

    def visible_jobs(self) -> list[ListedJob]:
        """The jobs that are seen."""
        top = self.scroll_offset.y
        return [self._jobs.at(row) for row in range(top, min(top + self.page, len(self._jobs)))]

    def changed(self) -> None:
        """The jobs have changed: shows them, and sees to it that one is selected."""
        count = len(self._jobs)
        self.virtual_size = Size(self.size.width, count)
        widest = max((cell_len(job.name) for job in self.visible_jobs()), default=0)
        self._widest = max(self._widest, (widest + 3) // 4 * 4)
        if not self._moved or self.job is None:
            self._select(0 if count else None)
        self.refresh()

    def begin_again(self) -> None:
        """From the top: the list is another."""
        self._moved = self._moved and self.selected is not None and self._row() is not None
        self.changed()
        self._show()

    def move(self, step: int, *, to: int | None = None) -> None:
        """Selects a job further down, or the one in that row."""
        count = len(self._jobs)
        if not count:
            return
        present = self._row()
        wanted = to if to is not None else (self.scroll_offset.y if present is None else present + step)
        self._moved = True
        self._select(max(0, min(count - 1, wanted)))
        self._show()
        self.refresh()

    def action_step(self, step: int) -> None:
        """A line up or down."""
        self.move(step)

    def action_leaf(self, step: int) -> None:
        """A page up or down."""
        self.move(step * max(1, self.page - 1))

    def action_end_at(self, last: int) -> None:
        """To the first or the last one."""
        self.move(0, to=len(self._jobs) - 1 if last else 0)

    def action_open(self) -> None:
        """Its output is to be seen in full."""
        self.post_message(self.Opened())

    def _row(self) -> int | None:
        return None if self.selected is None else self._jobs.row_of(self.selected)

    def _select(self, row: int | None) -> None:
        seq = None if row is None else self._jobs.at(row).seq
        if seq != self.selected:
            self.selected = seq
            self.post_message(self.Selected())

    def _show(self) -> None:
        """Scrolls as far as needed to see the selected job."""
        row, top = self._row(), self.scroll_offset.y
        if row is None:
            self.scroll_to(y=0, animate=False, immediate=True)
        elif row < top:
            self.scroll_to(y=row, animate=False, immediate=True)
        elif row >= top + self.page:
            self.scroll_to(y=row - self.page + 1, animate=False, immediate=True)

    def on_resize(self, event: Resize) -> None:
        """The selected job is still seen."""
        self.virtual_size = Size(self.size.width, len(self._jobs))
        self.call_after_refresh(self._show)

    def on_click(self, event: Click) -> None:
        """Selects the job under the pointer; a second click opens it."""
        self.move(0, to=self.scroll_offset.y + event.y)
        if event.chain == 2:
            self.post_message(self.Opened())

    def columns(self) -> list[TopColumn]:
        """What is shown of each."""
        return columns(self.size.width, self._widest)

    def heading(self, width: int) -> list[list[StyledText]]:
        """The lines above the table."""
        return [table_title(self._jobs, width), heading(self.columns(), width, self._jobs.sort)]

    def render_line(self, y: int) -> Strip:
        """The job in that line of the window."""
        width = self.size.width
        at = self.scroll_offset.y + y
        if at >= len(self._jobs):
            text = "no job is like that" if not y and self._jobs.all else "no jobs yet" if not y else ""
            return strip([(f"   {text}", "label")], width, self.rich_style)
        job = self._jobs.at(at)
        pieces = row(job, self.columns(), width, self._now(), self._words.get(job.seq, ""))
        if job.seq == self.selected:
            base = self.get_component_rich_style("jobs--cursor")
            return strip([(text, "") for text, _ in pieces], width, base)
        base = self.get_component_rich_style("jobs--odd") if at % 2 else self.rich_style
        return strip(pieces, width, base)


class LogView(ScrollView):
    """What an attempt prints; stays at the end unless somebody scrolls up."""

    can_focus = True
    COMPONENT_CLASSES = {"log--found", "log--here"}

    def __init__(self) -> None:
        super().__init__(id="log")
        self.text = LogText()
        self.wanted = ""
        self.here: int | None = None
        self._follows = True
        self._widest = 1

    def begin(self) -> None:
        """Another text."""
        self.text = LogText()
        self.here = None
        self._follows = True
        self._widest = 1
        self.changed()

    def changed(self) -> None:
        """There is more."""
        follows = self._follows
        widest = max((cell_len(line.text) for line in self.text.lines[-2000:]), default=0)
        self._widest = max(self._widest, widest + 1)
        self.virtual_size = Size(self._widest, len(self.text.lines))
        self._follows = follows
        if follows:
            self._to_end()
            self.call_after_refresh(self._to_end)  # a scroll bar that comes or goes makes it higher or lower
        self.refresh()

    def _to_end(self) -> None:
        if self._follows:
            self.scroll_to(y=self.max_scroll_y, animate=False, immediate=True)
            self._follows = True

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Follows again when somebody comes back to the end."""
        super().watch_scroll_y(old_value, new_value)
        if new_value < old_value and self.max_scroll_y > new_value:
            self._follows = False
        elif new_value >= self.max_scroll_y:
            self._follows = True

    def on_resize(self, event: Resize) -> None:
        """Stays at the end."""
        self.call_after_refresh(self._to_end)

    def look_for(self, wanted: str, *, back: bool = False, again: bool = False) -> bool:
        """Goes to the next line with that text; whether there is one."""
        self.wanted = wanted
        begin = self.here if self.here is not None else self.scroll_offset.y
        found = (
            self.text.find(wanted, begin + ((-1 if back else 1) if again else 0), back=back)
            if wanted
            else None
        )
        self.here = found
        if found is not None:
            self._follows = False
            self.scroll_to(y=max(0, found - self.size.height // 2), animate=False, immediate=True)
        self.refresh()
        return found is not None

    def render_line(self, y: int) -> Strip:
        """That line of the window."""
        width = self.size.width
        x, top = self.scroll_offset
        if top + y >= len(self.text.lines):
            return Strip.blank(width, self.rich_style)
        said = self.text.lines[top + y]
        base = self.rich_style
        style = (
            base + STYLES["high"] if said.stream == 2 else base + STYLES["label"] if not said.stream else base
        )
        if top + y == self.here:
            style = base + self.get_component_rich_style("log--here")
        segments = []
        at = 0
        lower, wanted = said.text.lower(), self.wanted.lower()
        while wanted and len(lower) == len(said.text) and (found := lower.find(wanted, at)) >= 0:
            segments.append(Segment(said.text[at:found], style))
            end = found + len(wanted)
            segments.append(Segment(said.text[found:end], self.get_component_rich_style("log--found")))
            at = end
        segments.append(Segment(said.text[at:], style))
        return Strip(segments).crop_extend(x, x + width, base)
