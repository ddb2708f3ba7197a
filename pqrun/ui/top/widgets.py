# SPDX-License-Identifier: LGPL-3.0-or-later
"""The widgets of the screen. Each draws only its visible lines, and none reads markup."""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable, Mapping
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

from pqrun.control.run_view import MeasuredUsage
from pqrun.core.text import escape_line
from pqrun.ui.live.cells import STYLES, StyledText
from pqrun.ui.top.jobs import JobList, ListedJob
from pqrun.ui.top.rendering import TopColumn, columns, heading, row, table_title

MAX_LINES = 20_000
MAX_LINE_LENGTH = 4_000
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")


class LogLine(NamedTuple):
    """A line of the log. `stream`: 1 for stdout, 2 for stderr, 0 for a remark of pqrun."""

    text: str
    stream: int


class LogText:
    """The lines of one attempt so far. Beyond `MAX_LINES` the oldest are dropped."""

    def __init__(self) -> None:
        self.lines: list[LogLine] = []
        self.dropped = 0
        # Of each stream: the line whose end has not been read yet, and its row in `lines`.
        self._rest = {1: "", 2: ""}
        self._open: dict[int, int | None] = {1: None, 2: None}
        self._decoders = {n: getincrementaldecoder("utf-8")("replace") for n in (1, 2)}

    def feed(self, stream: int, data: bytes) -> bool:
        """Append output; return whether a line changed."""
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
        """Append a line that is not output of the job."""
        self.lines.append(LogLine(text, 0))

    def find(self, wanted: str, start: int, *, back: bool = False) -> int | None:
        """Return the next line that contains a text, from `start` around the end, ignoring case."""
        count = len(self.lines)
        wanted = wanted.lower()
        for step in range(count):
            row = (start - step if back else start + step) % count
            if wanted in self.lines[row].text.lower():
                return row
        return None

    def count(self, wanted: str) -> int:
        """Return the number of lines that contain a text, ignoring case."""
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
    """Return a line without colours and with blanks for tabs."""
    return _COLOUR.sub("", escape_line(line)).expandtabs(8)


def strip(pieces: Iterable[StyledText], width: int, base: Style) -> Strip:
    """Return a strip of `width` cells."""
    made = Strip([Segment(text, base + STYLES[style]) for text, style in pieces])
    return made.adjust_cell_length(width, base)


class StyledLines(Widget):
    """A widget of a few lines, drawn by a function of the width."""

    def __init__(self, draw: Callable[[int], list[list[StyledText]]], *, id: str) -> None:
        super().__init__(id=id)
        self._draw = draw

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        lines = self._draw(width)
        return strip(lines[y] if y < len(lines) else [], width, self.rich_style)


class JobTableView(ScrollView):
    """The listed jobs, one per line. The selected job stays selected when it moves in the list."""

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
        """Sent when another job is selected."""

    class Opened(Message):
        """Sent when the user wants to read the selected job's output."""

    def __init__(
        self,
        jobs: JobList,
        last_output: dict[int, str],
        now: Callable[[], float],
        usage: Callable[[], Mapping[int, MeasuredUsage]],
    ) -> None:
        super().__init__(id="jobs")
        self._usage = usage
        self._jobs = jobs
        self._last_output = last_output
        self._now = now
        self.selected: int | None = None
        self._user_moved = False
        self._widest = 12

    @property
    def job(self) -> ListedJob | None:
        """The selected job."""
        return None if self.selected is None else self._jobs.all.get(self.selected)

    @property
    def page(self) -> int:
        """The number of visible rows."""
        return max(1, int(self.size.height))

    def visible_jobs(self) -> list[ListedJob]:
        """Return the jobs in the visible rows."""
        top = self.scroll_offset.y
        return [self._jobs.at(row) for row in range(top, min(top + self.page, len(self._jobs)))]

    def changed(self) -> None:
        """Redraw after a change of the list, and select the first job if no job is selected."""
        count = len(self._jobs)
        self.virtual_size = Size(self.size.width, count)
        widest = max((cell_len(job.name) for job in self.visible_jobs()), default=0)
        self._widest = max(self._widest, (widest + 3) // 4 * 4)
        if not self._user_moved or self.job is None:
            self._select(0 if count else None)
        self.refresh()

    def begin_again(self) -> None:
        """Redraw after a change of filter or order, and scroll to the selected job."""
        self._user_moved = self._user_moved and self.selected is not None and self._row() is not None
        self.changed()
        self._show()

    def move(self, step: int, *, to: int | None = None) -> None:
        """Move the selection by `step` rows, or to the row `to`."""
        count = len(self._jobs)
        if not count:
            return
        present = self._row()
        wanted = to if to is not None else (self.scroll_offset.y if present is None else present + step)
        self._user_moved = True
        self._select(max(0, min(count - 1, wanted)))
        self._show()
        self.refresh()

    def action_step(self, step: int) -> None:
        """Move the selection up or down a row."""
        self.move(step)

    def action_leaf(self, step: int) -> None:
        """Move the selection up or down a page."""
        self.move(step * max(1, self.page - 1))

    def action_end_at(self, last: int) -> None:
        """Select the first or the last job."""
        self.move(0, to=len(self._jobs) - 1 if last else 0)

    def action_open(self) -> None:
        self.post_message(self.Opened())

    def _row(self) -> int | None:
        return None if self.selected is None else self._jobs.row_of(self.selected)

    def _select(self, row: int | None) -> None:
        seq = None if row is None else self._jobs.at(row).seq
        if seq != self.selected:
            self.selected = seq
            self.post_message(self.Selected())

    def _show(self) -> None:
        """Scroll until the selected job is visible."""
        row, top = self._row(), self.scroll_offset.y
        if row is None:
            self.scroll_to(y=0, animate=False, immediate=True)
        elif row < top:
            self.scroll_to(y=row, animate=False, immediate=True)
        elif row >= top + self.page:
            self.scroll_to(y=row - self.page + 1, animate=False, immediate=True)

    def on_resize(self, event: Resize) -> None:
        """Keep the selected job visible."""
        self.virtual_size = Size(self.size.width, len(self._jobs))
        self.call_after_refresh(self._show)

    def on_click(self, event: Click) -> None:
        """Select the job under the pointer; a double click opens it."""
        self.move(0, to=self.scroll_offset.y + event.y)
        if event.chain == 2:
            self.post_message(self.Opened())

    def columns(self) -> list[TopColumn]:
        """Return the columns for the present width."""
        return columns(self.size.width, self._widest)

    def heading(self, width: int) -> list[list[StyledText]]:
        """Return the lines above the table."""
        return [table_title(self._jobs, width), heading(self.columns(), width, self._jobs.sort)]

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        at = self.scroll_offset.y + y
        if at >= len(self._jobs):
            text = "no job matches" if not y and self._jobs.all else "no jobs yet" if not y else ""
            return strip([(f"   {text}", "label")], width, self.rich_style)
        job = self._jobs.at(at)
        pieces = row(
            job, self.columns(), width, self._now(), self._last_output.get(job.seq, ""), self._usage()
        )
        if job.seq == self.selected:
            base = self.get_component_rich_style("jobs--cursor")
            return strip([(text, "") for text, _ in pieces], width, base)
        base = self.get_component_rich_style("jobs--odd") if at % 2 else self.rich_style
        return strip(pieces, width, base)


class LogView(ScrollView):
    """The output of an attempt. It stays at the end until the user scrolls up.

    `searched`: the text that the user searched for last. `found_row`: the line where it was found.
    """

    can_focus = True
    COMPONENT_CLASSES = {"log--found", "log--here"}

    def __init__(self) -> None:
        super().__init__(id="log")
        self.text = LogText()
        self.searched = ""
        self.found_row: int | None = None
        self._stays_at_end = True
        self._widest = 1

    def begin(self) -> None:
        """Clear the text for another attempt or stream."""
        self.text = LogText()
        self.found_row = None
        self._stays_at_end = True
        self._widest = 1
        self.changed()

    def changed(self) -> None:
        """Redraw after lines were added."""
        at_end = self._stays_at_end
        widest = max((cell_len(line.text) for line in self.text.lines[-2000:]), default=0)
        self._widest = max(self._widest, widest + 1)
        self.virtual_size = Size(self._widest, len(self.text.lines))
        self._stays_at_end = at_end
        if at_end:
            self._to_end()
            # Again after the layout: a scroll bar that appears or disappears changes the height.
            self.call_after_refresh(self._to_end)
        self.refresh()

    def _to_end(self) -> None:
        if self._stays_at_end:
            self.scroll_to(y=self.max_scroll_y, animate=False, immediate=True)
            self._stays_at_end = True

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Follow the end again when the user scrolls back to it."""
        super().watch_scroll_y(old_value, new_value)
        if new_value < old_value and self.max_scroll_y > new_value:
            self._stays_at_end = False
        elif new_value >= self.max_scroll_y:
            self._stays_at_end = True

    def on_resize(self, event: Resize) -> None:
        """Stay at the end."""
        self.call_after_refresh(self._to_end)

    def search(self, wanted: str, *, back: bool = False, again: bool = False) -> bool:
        """Go to the next line that contains a text; return whether there is one."""
        self.searched = wanted
        begin = self.found_row if self.found_row is not None else self.scroll_offset.y
        found = (
            self.text.find(wanted, begin + ((-1 if back else 1) if again else 0), back=back)
            if wanted
            else None
        )
        self.found_row = found
        if found is not None:
            self._stays_at_end = False
            self.scroll_to(y=max(0, found - self.size.height // 2), animate=False, immediate=True)
        self.refresh()
        return found is not None

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        x, top = self.scroll_offset
        if top + y >= len(self.text.lines):
            return Strip.blank(width, self.rich_style)
        said = self.text.lines[top + y]
        base = self.rich_style
        style = (
            base + STYLES["high"] if said.stream == 2 else base + STYLES["label"] if not said.stream else base
        )
        if top + y == self.found_row:
            style = base + self.get_component_rich_style("log--here")
        segments = []
        at = 0
        lower, wanted = said.text.lower(), self.searched.lower()
        while wanted and len(lower) == len(said.text) and (found := lower.find(wanted, at)) >= 0:
            segments.append(Segment(said.text[at:found], style))
            end = found + len(wanted)
            segments.append(Segment(said.text[found:end], self.get_component_rich_style("log--found")))
            at = end
        segments.append(Segment(said.text[at:], style))
        return Strip(segments).crop_extend(x, x + width, base)
